"""When silence counts: only if heartbeats were read for long enough without a gap."""

from __future__ import annotations

import pytest

from controller.triggers.heartbeats import ReadGaps


@pytest.mark.parametrize(
    ("reads", "counts"),
    [
        ([0], False),
        ([0, 40, 80], False),
        ([0, 40, 80, 90], True),
        ([0, 40, 90], False),
        ([0, 40, 80, 120, 200], False),
        ([0, 40, 80, 120, 200, 240, 280], False),
        ([0, 40, 80, 120, 200, 240, 280, 290], True),
    ],
)
def test_silence_counts_once_heartbeats_were_read_without_a_gap(reads: list[float], counts: bool) -> None:
    gaps = ReadGaps(90)
    assert [gaps.read("calls", seconds) for seconds in reads][-1] is counts


def test_a_gap_in_one_pool_does_not_affect_another() -> None:
    gaps = ReadGaps(90)
    for seconds in range(0, 120, 10):
        gaps.read("calls", seconds)
        if not 20 < seconds < 100:
            gaps.read("other", seconds)
    assert gaps.read("calls", 120)
    assert not gaps.read("other", 120)
