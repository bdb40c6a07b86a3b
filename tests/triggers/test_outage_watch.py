"""An outage of Redis that lasts wakes the keys that need nothing of it, so that they say so: once, and in time."""

from __future__ import annotations

import asyncio

from controller.clients.breaker import RULES, Breaker, Ticket
from controller.errors import Backend, BackendUnavailable
from controller.rules.stale import STALE_AFTER
from controller.triggers.outages import OutageWatch
from tests.virtual_time import VirtualTime, run

AWAY = BackendUnavailable(Backend.REDIS, "HGETALL", "no answer")
AFTER_SECONDS = STALE_AFTER.total_seconds()


class Rig:
    """A watch over the breaker of Redis; `woken` has the moments at which it woke all keys."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.breaker = Breaker(RULES[Backend.REDIS])
        self.woken: list[float] = []
        self.watch = OutageWatch(self.breaker, lambda: self.woken.append(round(time.seconds, 3)))

    def goes(self) -> None:
        now = self.time.monotonic()
        for sent_at in (now - 100, now - 50, now):
            self.breaker.failed(AWAY, Ticket.ORDINARY, sent_at=sent_at, now=sent_at)

    def answers(self) -> None:
        self.breaker.answered(self.time.monotonic())


def test_all_keys_are_woken_once_when_redis_has_been_silent_for_long() -> None:
    async def story(time: VirtualTime) -> None:
        rig = Rig(time)
        rig.watch.start()
        rig.goes()
        rig.goes()
        await asyncio.sleep(10 * AFTER_SECONDS)
        assert rig.woken == [AFTER_SECONDS]

    run(story)


def test_an_outage_that_is_over_in_time_wakes_no_key_and_the_next_one_counts_from_its_own_begin() -> None:
    async def story(time: VirtualTime) -> None:
        rig = Rig(time)
        rig.watch.start()
        rig.goes()
        await asyncio.sleep(AFTER_SECONDS - 1)
        rig.answers()
        await asyncio.sleep(10)
        began = time.seconds
        rig.goes()
        await asyncio.sleep(10 * AFTER_SECONDS)
        assert rig.woken == [round(began + AFTER_SECONDS, 3)]

    run(story)


def test_a_term_that_begins_in_an_outage_counts_from_its_begin_and_one_that_is_over_wakes_no_key() -> None:
    async def story(time: VirtualTime) -> None:
        rig = Rig(time)
        rig.goes()
        await asyncio.sleep(100)
        end = rig.watch.start()
        await asyncio.sleep(AFTER_SECONDS - 1)
        assert rig.woken == []
        end()
        await asyncio.sleep(10 * AFTER_SECONDS)
        assert rig.woken == []
        rig.watch.start()
        await asyncio.sleep(AFTER_SECONDS + 1)
        assert len(rig.woken) == 1

    run(story)
