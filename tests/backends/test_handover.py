"""What a leader leaves to its successor: the silences, and since when no replica has asked LiveKit."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.backends.handover import Handover
from controller.backends.lease import Predecessor
from controller.facts.silences import LONG_AGO, Silence
from controller.views.livekit import LiveKitView
from controller.views.silences import SilenceRecord
from tests import values as b


class Leader:
    """One replica at second 100: its view of LiveKit, its record of Redis, and what it hands over."""

    def __init__(self, seconds: float = 100) -> None:
        self.view, self.redis = LiveKitView(), SilenceRecord()
        self.handover = Handover(self.redis, SimpleNamespace(now=lambda: b.at(seconds)))
        self.begin(Predecessor())

    def begin(self, predecessor: Predecessor) -> None:
        """Take over from this one."""
        self.handover.begin(b.servers(self.view), predecessor)

    def silences(self, seconds: float) -> tuple[Silence, ...]:
        """What counts after LiveKit's first answer."""
        self.view.snapshot([], b.at(seconds))
        return self.view.silences.at(b.at(seconds)).known


def test_the_successor_knows_the_outage_that_the_predecessor_saw_and_how_long_no_replica_asked() -> None:
    old, new = Leader(), Leader(130)
    old.view.succeed(b.at(0))
    old.silences(2)
    old.view.failed(b.at(4), "no answer")
    assert old.silences(90) == (Silence(b.at(2), b.at(90)),)
    old.redis.add(b.at(10), b.at(30))
    new.begin(Predecessor(old.handover.write(), b.at(99)))
    assert new.silences(131) == (Silence(b.at(2), b.at(131)),), "it was away when the outage had just ended"
    assert new.redis.at(b.at(131)).known == (Silence(b.at(10), b.at(30)),)


def test_an_outage_that_goes_on_across_a_restart_is_one_silence() -> None:
    old, new = Leader(50), Leader(53)
    old.view.succeed(b.at(0))
    old.silences(2)
    old.view.failed(b.at(4), "no answer")
    new.begin(Predecessor(old.handover.write(), b.at(50)))
    new.view.failed(b.at(53), "no answer")
    assert new.silences(80) == (Silence(b.at(2), b.at(80)),)


def test_quick_restarts_one_after_another_are_no_silence() -> None:
    text = ""
    for start in range(0, 600, 20):
        leader = Leader(start + 15)
        leader.begin(Predecessor(text, b.at(start - 5) if start else None))
        known = leader.silences(start)
        leader.silences(start + 15)
        text = leader.handover.write()
    assert known == (Silence(LONG_AGO, b.at(0)),)


@pytest.mark.parametrize(
    ("case", "predecessor", "expected"),
    [
        ("none", Predecessor(), LONG_AGO),
        ("one of an earlier version", Predecessor("", b.at(70)), b.at(70)),
        ("one whose text another client replaced", Predecessor("yes", b.at(70)), b.at(70)),
        ("one of the future", Predecessor("", b.at(700)), b.at(100)),
    ],
)
def test_of_a_predecessor_without_a_readable_text_the_last_renewal_counts(
    case: str, predecessor: Predecessor, expected: Any
) -> None:
    leader = Leader()
    leader.begin(predecessor)
    assert leader.view.answered_at == expected, case


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["answered", "silences", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=st.dictionaries(st.sampled_from(["redis", "livekit/default", "else"]), _JSON) | _JSON)
def test_whatever_stands_there_can_be_read(value: Any) -> None:
    leader = Leader()
    leader.begin(Predecessor(json.dumps(value), b.at(70)))
    assert leader.view.answered_at <= b.at(100)
    leader.silences(101)
