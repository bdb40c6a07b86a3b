"""Keys that wait for a backend that does not answer: which of them is woken when, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from controller.api import names
from controller.backends.bundle import Backends
from controller.clients.breaker import Breaker, BreakerRule, Ticket
from controller.errors import Backend, BackendUnavailable, Conflict
from controller.loop.key import Key
from controller.loop.lanes import Lane
from controller.loop.waiting import AT_ONCE, PAUSE_SECONDS, Waiting, breaker_of
from tests import values as b
from tests.virtual_time import VirtualTime, run

RULE = BreakerRule(silent_seconds=2.0, longest_pause_seconds=1.0)
AWAY = BackendUnavailable(Backend.REDIS, "claim", "no answer")
KEYS = [Key(names.MATCH, "calls", f"m{number:03}") for number in range(100)]
A, B, C, *_ = KEYS
LOST, PEOPLE, BULK = Lane


class Rig:
    """A breaker, the keys that wait for it, and those that were woken, with the time."""

    def __init__(self, time: VirtualTime) -> None:
        self.time = time
        self.breaker = Breaker(RULE, random.Random(1))
        self.waiting = Waiting(lambda _key, _backend: self.breaker, self._wake)
        self.woken: list[tuple[Key, Lane, float]] = []

    @property
    def keys(self) -> list[Key]:
        return [key for key, _, _ in self.woken]

    def _wake(self, key: Key, lane: Lane) -> None:
        self.woken.append((key, lane, self.time.seconds))

    def open(self) -> None:
        """Let the backend be away."""
        now = self.time.monotonic()
        for sent_at in (now - 3, now - 2, now):
            self.breaker.failed(AWAY, Ticket.ORDINARY, sent_at=sent_at, now=sent_at)
        assert not self.breaker.is_closed

    def answer(self) -> None:
        """Let the backend answer, long enough before it may be away again."""
        self.breaker.answered(self.time.monotonic() - 5)

    def add(self, key: Key, lane: Lane = PEOPLE) -> bool:
        return self.waiting.add(key, AWAY, lane)


def in_virtual_time(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> Rig:
    async def main(time: VirtualTime) -> Rig:
        rig = Rig(time)
        await scenario(rig)
        return rig

    return run(main)


def test_a_key_does_not_wait_for_a_backend_that_answers() -> None:
    async def scenario(rig: Rig) -> None:
        assert not rig.add(A)
        assert not rig.waiting.holds(A)

    in_virtual_time(scenario)


def test_keys_are_woken_when_the_backend_answers_people_first_and_then_the_longest_waiting() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        for key, lane in zip(KEYS[:5], (BULK, PEOPLE, BULK, LOST, PEOPLE), strict=True):
            assert rig.add(key, lane)
        rig.answer()

    rig = in_virtual_time(scenario)
    assert [(key.name, lane) for key, lane, _ in rig.woken] == [
        ("m003", LOST),
        ("m001", PEOPLE),
        ("m004", PEOPLE),
        ("m000", BULK),
        ("m002", BULK),
    ]


def test_many_keys_are_woken_at_a_bounded_rate() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        for key in KEYS:
            rig.add(key)
        rig.answer()
        assert len(rig.woken) == AT_ONCE
        await asyncio.sleep(20 * PAUSE_SECONDS)

    rig = in_virtual_time(scenario)
    assert rig.keys == KEYS
    assert rig.woken[-1][2] == pytest.approx((len(KEYS) / AT_ONCE - 1) * PAUSE_SECONDS)


def test_if_the_backend_falls_silent_again_the_others_stay() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        for key in KEYS:
            rig.add(key)
        rig.answer()
        rig.open()
        now = rig.time.monotonic()
        await asyncio.sleep(0.01)
        assert len(rig.woken) == AT_ONCE
        assert rig.waiting.holds(KEYS[AT_ONCE])
        assert rig.time.monotonic() >= now
        rig.waiting.clear()

    in_virtual_time(scenario)


def test_a_key_that_fails_again_keeps_its_place_and_its_lane() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        rig.add(A, BULK)
        rig.add(B, BULK)
        rig.answer()
        rig.open()
        for key in (C, B, A):
            rig.add(key, BULK)
        rig.add(A, BULK)
        rig.woken.clear()
        rig.answer()

    assert in_virtual_time(scenario).keys == [A, B, C]


def test_keys_that_were_woken_and_never_reconciled_are_forgotten_after_a_while() -> None:
    """Another installation serves their namespace by now, so the queue drops them."""

    async def scenario(rig: Rig) -> None:
        for _ in range(2):
            rig.open()
            for key in (A, B, C):
                rig.add(key)
            rig.answer()
            await asyncio.sleep(1)
        assert set(rig.waiting._places) == {A, B, C}, "they keep their places while they may be in hand"
        await asyncio.sleep(120)
        assert rig.waiting._places == {}

    in_virtual_time(scenario)


def test_a_key_that_a_user_waits_for_meanwhile_moves_up() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        for key, lane in ((A, BULK), (B, BULK), (B, PEOPLE), (B, BULK)):
            rig.add(key, lane)
        rig.answer()

    assert in_virtual_time(scenario).keys == [B, A]


def test_a_key_that_was_reconciled_waits_no_longer() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        rig.add(A)
        rig.add(B)
        rig.waiting.remove(A)
        rig.waiting.remove(C)
        assert not rig.waiting.holds(A)
        rig.answer()

    assert in_virtual_time(scenario).keys == [B]


def test_during_an_outage_one_key_after_another_is_woken_as_a_probe() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        for key in (A, B):
            rig.add(key)
        while len(rig.woken) < 4:
            await asyncio.sleep(0.001)
            if rig.woken and rig.breaker.enter(rig.time.monotonic()) is Ticket.PROBE:
                now = rig.time.monotonic()
                rig.breaker.failed(AWAY, Ticket.PROBE, sent_at=now, now=now)
        assert all(rig.waiting.holds(key) for key in (A, B))
        rig.waiting.clear()

    rig = in_virtual_time(scenario)
    assert rig.keys == [A, B, A, B]
    moments = [at for _, _, at in rig.woken]
    assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(moments))


def test_a_key_that_sends_no_request_does_not_hold_up_the_probes() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        for key in (A, B):
            rig.add(key)
        await asyncio.sleep(2)
        rig.waiting.clear()

    keys = in_virtual_time(scenario).keys
    assert keys[:2] == [A, B]
    assert len(keys) <= 4


def test_after_the_lease_is_lost_no_key_is_woken() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        rig.add(A)
        rig.waiting.clear()
        rig.answer()
        await asyncio.sleep(5)

    assert in_virtual_time(scenario).woken == []


def test_the_keys_that_wait_are_counted_over_all_servers_of_a_backend() -> None:
    def count() -> float | None:
        return REGISTRY.get_sample_value("roomkeeper_keys_waiting", {"backend": "Redis"})

    async def scenario(rig: Rig) -> None:
        other = Rig(rig.time)
        rig.waiting = Waiting(lambda key, _backend: rig.breaker if key is A else other.breaker, rig._wake)
        rig.open()
        other.open()
        for key in (A, B, C):
            rig.add(key)
        assert count() == 3
        other.answer()
        assert count() == 1
        rig.waiting.clear()
        assert count() == 0

    in_virtual_time(scenario)


# Which breaker a key waits for


def of_backends() -> tuple[Any, dict[str, Breaker]]:
    """Return backends with two LiveKit servers, and the breaker of each."""
    breakers = {name: Breaker(RULE) for name in ("kubernetes", "redis", "default", "eu-1")}
    rooms = {"here": b.a_room(), "there": b.a_room(status={"server": "eu-1"}), "unreadable": None}
    backends = SimpleNamespace(
        kubernetes=SimpleNamespace(breaker=breakers["kubernetes"]),
        redis=SimpleNamespace(breaker=breakers["redis"]),
        rooms=SimpleNamespace(get=lambda _namespace, name: rooms.get(name)),
        servers=SimpleNamespace(
            find=lambda room: SimpleNamespace(client=SimpleNamespace(breaker=breakers[room.status.server or "default"]))
        ),
    )
    return backends, breakers


@pytest.mark.parametrize(
    ("kind", "name", "backend", "breaker"),
    [
        (names.MATCH, "match", Backend.REDIS, "redis"),
        (names.ROOM, "here", Backend.REDIS, "redis"),
        (names.MATCH, "match", Backend.KUBERNETES, "kubernetes"),
        (names.ROOM, "here", Backend.LIVEKIT, "default"),
        (names.ROOM, "there", Backend.LIVEKIT, "eu-1"),
        (names.ROOM, "gone", Backend.LIVEKIT, None),
        (names.MATCH, "here", Backend.LIVEKIT, None),
    ],
)
def test_a_key_waits_for_the_backend_that_its_error_names_and_a_room_for_its_own_server(
    kind: names.ResourceKind, name: str, backend: Backend, breaker: str | None
) -> None:
    backends, breakers = of_backends()
    found = breaker_of(Key(kind, "calls", name), backend, cast("Backends", backends))
    assert found is (breakers[breaker] if breaker is not None else None)


def test_a_key_does_not_wait_after_an_answer_that_refuses_it() -> None:
    async def scenario(rig: Rig) -> None:
        rig.open()
        assert not rig.waiting.add(A, Conflict(Backend.KUBERNETES, "patch", "moved on"), PEOPLE)

    in_virtual_time(scenario)
