"""Rooms that LiveKit has with our mark, and that no Room stands for, are closed a minute after they are found."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.api.names import livekit_room_name
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.restores import Restorer
from controller.errors import Backend, BackendUnavailable, LeadershipLost, NotFound
from controller.facts.livekit import LiveKitRoom
from controller.telemetry.pulse import LoopName, Pulse
from controller.triggers.sweep import Sweeper
from controller.views.cache import ObjectCache
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.virtual_time import VirtualTime, run

UID = "u-left"
REVIVED = "rk-0123456789abcdef0123"


async def _nothing_to_settle(*_pool: Any) -> int:
    return 0


class World:
    """LiveKit with one room, and Kubernetes with or without its Room."""

    def __init__(self, room: LiveKitRoom, namespaces: tuple[str, ...] = ()) -> None:
        self.deleted: list[str] = []
        self.found: Any = NotFound(Backend.KUBERNETES, "get", "it is not there")
        self.leads = True
        self.pools: tuple[str, ...] = ()
        self.cache = ObjectCache(Room)
        view = LiveKitView()
        view.snapshot([room], b.at(0))
        server = SimpleNamespace(name="default", view=view, client=SimpleNamespace(delete_room=self._delete))
        self.servers = [server]
        pool = SimpleNamespace(redis=None, keys=None)
        backends = SimpleNamespace(
            cluster_id=b.CLUSTER,
            servers=self.servers,
            rooms=self.cache,
            pools=SimpleNamespace(namespaces=lambda: self.pools, opened=lambda _namespace: pool),
            kubernetes=SimpleNamespace(get=self._get),
            leadership=SimpleNamespace(require=self._require),
        )
        self.sweeper = Sweeper(
            cast("Backends", backends), cast("Restorer", SimpleNamespace(sweep=_nothing_to_settle)), namespaces
        )

    async def _delete(self, name: str) -> None:
        self.deleted.append(name)

    async def _get(self, *_name: Any) -> Any:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def _require(self) -> None:
        if not self.leads:
            raise LeadershipLost("another replica")

    async def run(self, seconds: float) -> None:
        """Sweep for so long."""
        loop = asyncio.create_task(self.sweeper.run(Pulse(LoopName.SWEEP, 60, (NotFound, LeadershipLost))))
        await asyncio.sleep(seconds)
        loop.cancel()


def left_over(name: str = "", **mark: str) -> LiveKitRoom:
    made = b.a_mark(room_uid=UID, **mark)
    return LiveKitRoom(name or livekit_room_name(made.cluster, made.namespace, UID), "RM_1", 2, made)


def test_a_room_without_its_room_is_closed_when_it_was_so_for_a_minute() -> None:
    async def story(_: VirtualTime) -> None:
        world, room = World(left_over()), left_over()
        await world.run(50)
        assert world.deleted == []
        await world.run(100)
        assert set(world.deleted) == {room.name}

    run(story)


@pytest.mark.parametrize(
    ("case", "room", "namespaces"),
    [
        ("of another cluster", left_over(cluster="another"), ()),
        ("of a namespace that we do not serve", left_over(), ("elsewhere",)),
        ("with a mark that another client copied", left_over("a-room-of-theirs"), ()),
    ],
)
def test_a_room_that_is_not_ours_stays(case: str, room: LiveKitRoom, namespaces: tuple[str, ...]) -> None:
    async def story(_: VirtualTime) -> None:
        world = World(room, namespaces)
        await world.run(300)
        assert world.deleted == [], case

    run(story)


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("Kubernetes has its Room", {"metadata": {"uid": UID}}),
        ("Kubernetes does not answer", BackendUnavailable(Backend.KUBERNETES, "get", "no answer")),
    ],
)
def test_a_room_stays_unless_kubernetes_says_that_its_room_is_gone(case: str, found: Any) -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.found = found
        await world.run(300)
        assert world.deleted == [], case

    run(story)


def test_a_replica_that_does_not_lead_closes_no_room() -> None:
    async def story(_: VirtualTime) -> None:
        world = World(left_over())
        world.leads = False
        await world.run(300)
        assert world.deleted == []

    run(story)


@pytest.mark.parametrize(
    ("case", "unmarked", "tombstones", "is_marked", "closed"),
    [
        ("ours, over, made again by a client", {REVIVED}, {REVIVED}, False, [REVIVED]),
        ("of another cluster, or of an application: no tombstone", {REVIVED}, set(), False, []),
        ("it has got a mark meanwhile", {REVIVED}, {REVIVED}, True, []),
    ],
)
def test_a_room_that_a_client_made_again_after_its_end_is_closed(
    monkeypatch: pytest.MonkeyPatch, case: str, unmarked: set[str], tombstones: set[str], is_marked: bool, closed: Any
) -> None:
    async def tombstoned(_redis: Any, _keys: Any, names: list[str]) -> frozenset[str]:
        return frozenset(names) & tombstones

    monkeypatch.setattr("controller.triggers.sweep.tombstoned", tombstoned)

    async def story(_: VirtualTime) -> None:
        world = World(LiveKitRoom("x", "RM_x", 0, None))
        world.pools = ("calls",)
        (server,) = world.servers
        server.view.unmarked = frozenset(unmarked)
        mark = b.a_mark() if is_marked else None
        server.client.list_rooms = lambda names: _answer((LiveKitRoom(names[0], "RM_2", 2, mark),))
        await world.run(20)
        assert world.deleted == closed, case

    run(story)


def test_rooms_of_others_do_not_keep_a_later_one_from_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    others = {f"rk-{number:020d}" for number in range(250)}
    asked: list[list[str]] = []

    async def tombstoned(_redis: Any, _keys: Any, names: list[str]) -> frozenset[str]:
        asked.append(names)
        return frozenset()

    monkeypatch.setattr("controller.triggers.sweep.tombstoned", tombstoned)

    async def story(_: VirtualTime) -> None:
        world = World(LiveKitRoom("x", "RM_x", 0, None))
        world.pools = ("calls",)
        world.servers[0].view.unmarked = frozenset(others)
        await world.run(100)
        assert {name for names in asked[:3] for name in names} == others
        assert max(map(len, asked)) == 100

    run(story)


async def _answer(rooms: tuple[LiveKitRoom, ...]) -> tuple[LiveKitRoom, ...]:
    return rooms
