"""How often the status of one object may be written."""

from __future__ import annotations

from datetime import timedelta

from controller.loop.status_limit import BURST, INTERVAL, StatusLimit
from tests import values as b


def test_a_burst_is_written_at_once_and_then_one_status_per_interval() -> None:
    limit, now, written = StatusLimit(), b.at(0), []
    while now < b.at(60):
        due = limit.next_at("uid", now)
        if due <= now:
            limit.written("uid", now)
            written.append(now)
        now = max(now + timedelta(milliseconds=100), due)
    in_burst = [at for at in written if at < b.at(1)]
    assert len(in_burst) == BURST
    assert len(written) <= BURST + 60 / INTERVAL.total_seconds() + 1


def test_a_quiet_object_gets_its_burst_again() -> None:
    limit = StatusLimit()
    for _ in range(BURST):
        limit.written("uid", b.at(0))
    assert limit.next_at("uid", b.at(0)) == b.at(0) + INTERVAL
    later = b.at(0) + BURST * INTERVAL
    for _ in range(BURST):
        assert limit.next_at("uid", later) == later
        limit.written("uid", later)


def test_one_object_does_not_delay_another() -> None:
    limit = StatusLimit()
    for _ in range(50):
        limit.written("flapping", b.at(0))
    assert limit.next_at("quiet", b.at(0)) == b.at(0)


def test_an_object_that_is_gone_is_forgotten() -> None:
    limit = StatusLimit()
    for _ in range(50):
        limit.written("uid", b.at(0))
    limit.forget("uid")
    assert limit.next_at("uid", b.at(0)) == b.at(0)


def test_a_clock_that_is_set_leaves_what_is_left_of_the_burst() -> None:
    for by in (timedelta(hours=1), timedelta(hours=-1)):
        limit = StatusLimit()
        for _ in range(BURST):
            limit.written("uid", b.at(0))
        limit.clock_was_set(by)
        assert limit.next_at("uid", b.at(0) + by) == b.at(0) + by + INTERVAL
        assert limit.next_at("quiet", b.at(0) + by) == b.at(0) + by
