"""Sixty calls at once, twice with the same users, with real clients, each with a random ending."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from livekit import api

from controller.api.match import Match
from controller.api.names import room_name
from tests import manifests
from tests.support.crowd import Crowd
from tests.support.gateways import raise_flag, send
from tests.support.invariants import (
    assert_one_match_per_user,
    assert_transitions_are_legal,
    assert_users_are_free,
)
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_CALLS = 60
_ROUNDS = 2
_SEED = 20261124
_FINISH_SECONDS = 90.0


@dataclass(frozen=True)
class Ending:
    """What ends a call of `first` and `second`, the reason in its status, and which of them waits afterwards."""

    reason: str
    first_waits: bool
    second_waits: bool
    act: Callable[[Rig, Crowd, Match, str, str], Awaitable[object]]
    spec: dict[str, Any] = field(default_factory=dict)


def _patch(action: str, *, second: bool) -> Callable[[Rig, Crowd, Match, str, str], Awaitable[object]]:
    async def act(rig: Rig, _crowd: Crowd, match: Match, a: str, b: str) -> None:
        await rig.kube.patch("Match", match.metadata.name, manifests.termination(action, b if second else a))

    return act


def _signal(kind: str) -> Callable[[Rig, Crowd, Match, str, str], Awaitable[object]]:
    return lambda rig, _crowd, match, a, _b: send(rig, kind, a, match=match.metadata.uid)


async def _both_skip(rig: Rig, _crowd: Crowd, match: Match, a: str, b: str) -> None:
    await asyncio.gather(*(send(rig, "skip", who, match=match.metadata.uid) for who in (a, b)))


async def _skip_twice_by_flag(rig: Rig, _crowd: Crowd, _match: Match, a: str, b: str) -> None:
    await asyncio.gather(raise_flag(rig, "skip-in-progress", a), raise_flag(rig, "skip-in-progress", b))


async def _delete(rig: Rig, _crowd: Crowd, match: Match, _a: str, _b: str) -> None:
    await rig.kube.delete("Match", match.metadata.name)


async def _delete_room(rig: Rig, _crowd: Crowd, match: Match, _a: str, _b: str) -> None:
    await rig.kube.delete("Room", room_name(match.metadata.uid))


async def _say_goodbye(_rig: Rig, crowd: Crowd, match: Match, a: str, _b: str) -> None:
    await crowd.leave(_client(match, a))


async def _wait(_rig: Rig, _crowd: Crowd, _match: Match, _a: str, _b: str) -> None:
    """Do nothing: the call ends by itself."""


_QUICK_LEAVE = {"leaveSeconds": 1}
ENDINGS = (
    Ending("Skipped", True, True, _signal("skip")),
    Ending("Skipped", True, True, _both_skip),
    Ending("Skipped", True, True, _skip_twice_by_flag),
    Ending("Skipped", True, True, _patch("Skip", second=True)),
    Ending("Ended", False, True, _signal("end")),
    Ending("Ended", True, False, _patch("End", second=True)),
    Ending("Disconnected", False, True, _signal("disconnect")),
    Ending("Disconnected", True, False, _patch("Disconnect", second=True)),
    Ending("Deleted", True, True, _delete),
    Ending("RoomLost", True, True, _delete_room),
    Ending("Left", False, True, _say_goodbye, spec={"timeouts": _QUICK_LEAVE}),
    Ending("MaxDuration", False, False, _wait, spec={"timeouts": {"maxDurationSeconds": 8}}),
)
_LONG_CONNECT = {"connectSeconds": 120}
_LONG_ROOM = {"emptyTimeoutSeconds": 130}


async def test_sixty_calls_at_once_twice_over_the_same_people(rig: Rig) -> None:
    lot = random.Random(_SEED)
    users = [f"user-{number:03}" for number in range(2 * _CALLS)]
    foreign = f"foreign-{rig.kube.namespace}"
    await rig.livekit.room.create_room(api.CreateRoomRequest(name=foreign, empty_timeout=600))
    changes = Counter[str]()
    uids: list[str] = []
    async with Crowd() as crowd:
        for number in range(_ROUNDS):
            waiting = await rig.queue()
            await asyncio.gather(*(_enqueue(rig, who, changes) for who in users if who not in waiting))
            pairs = _pairs(lot, users)
            calls = [await _create(rig, f"round-{number}-{n}", pair, lot) for n, pair in enumerate(pairs)]
            await asyncio.gather(*(call.come(rig, crowd) for call in calls))
            await assert_one_match_per_user(rig)
            await asyncio.gather(*(call.end(rig, crowd) for call in calls))
            await eventually(partial(_all_are_where_they_belong, rig, calls), _FINISH_SECONDS)
            await assert_users_are_free(rig)
            for call in calls:
                call.count(changes)
                uids.append(call.match.metadata.uid)
    await _each_was_let_go_once(rig, uids)
    await assert_transitions_are_legal(rig)
    for who in users:
        assert (await rig.hash(rig.keys.user(who)))["epoch"] == str(changes[who]), who
    rooms = await rig.livekit.room.list_rooms(api.ListRoomsRequest(names=[foreign]))
    assert [room.name for room in rooms.rooms] == [foreign]
    await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=foreign))


@dataclass
class Call:
    """One Match of a round."""

    name: str
    pair: tuple[str, str]
    ending: Ending
    match: Match

    async def come(self, rig: Rig, crowd: Crowd) -> None:
        """Wait until it is Ready, and let both join."""
        self.match = await rig.kube.match_until(lambda found: is_true(found, "Ready"), self.name, _FINISH_SECONDS)
        tokens = await rig.tokens(self.match)
        await asyncio.gather(*(crowd.join(_client(self.match, who), tokens[who]) for who in self.pair))
        self.match = await rig.kube.match_until(
            lambda found: found.status.connected_at is not None, self.name, _FINISH_SECONDS
        )

    async def end(self, rig: Rig, crowd: Crowd) -> None:
        """End the call; check the reason, and that both clients are disconnected."""
        await self.ending.act(rig, crowd, self.match, *self.pair)
        if self.ending.reason == "Deleted":
            await rig.kube.gone("Match", self.name, _FINISH_SECONDS)
        else:
            over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), self.name, _FINISH_SECONDS)
            assert (over.status.phase, over.status.end is not None and over.status.end.reason) == (
                "Ended",
                self.ending.reason,
            )
        reasons = {await crowd.disconnected(_client(self.match, who)) for who in self.pair}
        assert "ROOM_DELETED" in reasons

    @property
    def states(self) -> dict[str, str]:
        """The states of the two users afterwards."""
        waits = (self.ending.first_waits, self.ending.second_waits)
        return {who: "WAITING" if does else "IDLE" for who, does in zip(self.pair, waits, strict=True)}

    def count(self, changes: Counter[str]) -> None:
        """Add this call's changes of states: CONNECTING, IN_CALL, DISCONNECTING, and WAITING or IDLE."""
        changes.update(dict.fromkeys(self.pair, 4))


def _client(match: Match, who: str) -> str:
    return f"{match.metadata.name}/{who}"


def _pairs(lot: random.Random, users: list[str]) -> list[tuple[str, str]]:
    order = lot.sample(users, len(users))
    return list(zip(order[::2], order[1::2], strict=True))


async def _create(rig: Rig, name: str, pair: tuple[str, str], lot: random.Random) -> Call:
    ending = lot.choice(ENDINGS)
    timeouts = {**_LONG_CONNECT, **ending.spec.get("timeouts", {})}
    spec: dict[str, Any] = {"admission": "Queued", "timeouts": timeouts, "room": _LONG_ROOM}
    made = await rig.kube.create(manifests.match(*pair, name=name, **spec))
    return Call(name, pair, ending, Match.model_validate(made))


async def _enqueue(rig: Rig, who: str, changes: Counter[str]) -> None:
    await rig.enqueue(who)
    changes[who] += 1


async def _all_are_where_they_belong(rig: Rig, calls: list[Call]) -> None:
    expected = {who: state for call in calls for who, state in call.states.items()}
    assert await rig.states(*expected) == expected
    assert sorted(await rig.queue()) == sorted(who for who, state in expected.items() if state == "WAITING")
    assert await rig.livekit_rooms() == {}


async def _each_was_let_go_once(rig: Rig, uids: list[str]) -> None:
    """S4 and S5, by the events for other services: each of the two users of each Match was released once."""
    told = Counter((entry["match"], entry["user"]) for entry in await rig.stream(rig.keys.disconnects()))
    assert set(told.values()) == {1}
    assert Counter(match for match, _ in told) == Counter(dict.fromkeys(uids, 2))
