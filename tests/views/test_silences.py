"""The record of silences: what counts as one, what a clock that is set does to it, and its bounds."""

from __future__ import annotations

from controller.facts.silences import SetBack, Silence
from controller.views.silences import MAX_SILENCES, SilenceRecord
from tests import values as b


def spans(record: SilenceRecord, now: float) -> list[tuple[float, float]]:
    """Return the silences in seconds."""
    known = record.at(b.at(now)).known
    return [((one.start - b.T0).total_seconds(), (one.end - b.T0).total_seconds()) for one in known]


def test_only_a_silence_longer_than_a_server_may_be_silent_counts() -> None:
    record = SilenceRecord()
    record.add(b.at(0), b.at(9.9))
    assert spans(record, 10) == []
    record.add(b.at(20), b.at(30))
    assert spans(record, 30) == [(20, 30)]


def test_silences_that_overlap_are_one() -> None:
    record = SilenceRecord()
    record.add(b.at(0), b.at(30))
    record.inherit((Silence(b.at(-20), b.at(5)), Silence(b.at(100), b.at(120))), b.at(130))
    assert spans(record, 130) == [(-20, 30), (100, 120)]


def test_the_record_keeps_a_bounded_number_the_latest_and_none_of_yesterday() -> None:
    record = SilenceRecord()
    for number in range(3 * MAX_SILENCES):
        record.add(b.at(20 * number), b.at(20 * number + 12))
    kept = spans(record, 60 * MAX_SILENCES)
    assert (len(kept), kept[-1]) == (MAX_SILENCES, (60 * MAX_SILENCES - 20, 60 * MAX_SILENCES - 8))
    record.add(b.at(200_000), b.at(200_020))
    assert spans(record, 200_020) == [(200_000, 200_020)]


def test_a_clock_that_leaps_makes_a_silence_of_the_leap() -> None:
    record = SilenceRecord()
    record.clock_was_set(b.at(100), b.at(700))
    assert spans(record, 700) == [(100, 700)]


def test_a_clock_that_is_set_back_leaves_moments_of_the_earlier_clock_until_it_has_passed_them() -> None:
    record = SilenceRecord()
    record.add(b.at(0), b.at(20))
    record.add(b.at(500), b.at(520))
    record.clock_was_set(b.at(700), b.at(100))
    assert spans(record, 100) == [(0, 20)]
    assert record.at(b.at(110)).set_back == SetBack(latest=b.at(115), as_of=b.at(100))
    assert record.at(b.at(700)).set_back is None


def test_a_clock_that_is_set_and_corrected_leaves_no_end_out_of_reach() -> None:
    record = SilenceRecord()
    record.clock_was_set(b.at(100), b.at(700))
    record.clock_was_set(b.at(702), b.at(102))
    assert spans(record, 103) == []
    assert record.at(b.at(103)).set_back == SetBack(latest=b.at(108), as_of=b.at(102))
