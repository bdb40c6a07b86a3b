"""What is known of a LiveKit server: also of one that is not asked, and without what other installations have there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer
from controller.backends.bundle import Backends
from controller.backends.servers import Servers
from controller.facts.learned import Learned
from controller.facts.server import ServerSeen, Trouble
from controller.facts.unreadable import Unreadable
from controller.observe.server import observe_server
from controller.views.calls import CallIndex
from controller.views.lost_fields import LostFields
from controller.views.placements import RoomPlacements
from tests import values as b

ON_EU = {"name": "rk", "liveKitName": "rk", "server": "eu-1"}


class Rig:
    """The server eu-1, drained, with one call on it in a namespace that we serve and one in another."""

    def __init__(self) -> None:
        self.served = {b.NAMESPACE, "others"}
        self.calls = CallIndex(self.served.__contains__)
        self.placements = RoomPlacements(self.served.__contains__)
        self.unread: list[str] = []
        self.servers = Servers((), self.placements, unread=lambda: self.unread)
        for namespace in (b.NAMESPACE, "others"):
            match, room = b.active(uid=namespace, status={"room": ON_EU}), b.an_active_room(status={"server": "eu-1"})
            self.calls.kept(self.moved(match, namespace))
            self.placements.kept(self.moved(room, namespace))

    @staticmethod
    def moved(found: Any, namespace: str) -> Any:
        metadata = found.metadata.model_copy(update={"namespace": namespace, "annotations": {}})
        return found.model_copy(update={"metadata": metadata})

    async def seen(self, *, deleted: bool = False) -> ServerSeen:
        server = LiveKitServer.model_validate(
            {
                "metadata": {
                    "name": "eu-1",
                    "namespace": "roomkeeper-system",
                    "deletionTimestamp": "2026-01-31T10:00:00Z" if deleted else None,
                },
                "spec": {"url": "http://eu-1", "drain": {"type": "graceful"}},
            }
        )
        fake = SimpleNamespace(servers=self.servers, calls=self.calls, lost_fields=LostFields())
        return await observe_server(server, cast("Backends", fake), Learned())


async def test_a_server_that_is_not_asked_is_drained_all_the_same() -> None:
    rig = Rig()
    rig.servers.troubles = {"eu-1": Trouble(ConditionReason.CREDENTIALS_MISSING, "the Secret does not exist")}
    seen = await rig.seen()
    assert (seen.trouble, seen.drain is not None, seen.calls_left) == (rig.servers.troubles["eu-1"], True, 2)


async def test_calls_and_rooms_of_other_installations_are_not_counted() -> None:
    rig = Rig()
    assert ((await rig.seen()).calls_left, (await rig.seen()).rooms) == (2, 2)
    rig.served.remove("others")
    assert ((await rig.seen()).calls_left, (await rig.seen()).rooms) == (1, 1)
    assert (await rig.seen(deleted=True)).some_rooms == (f"{b.NAMESPACE}/{b.ROOM_NAME}",)


async def test_calls_that_are_paused_are_counted() -> None:
    rig = Rig()
    match = b.active(uid=b.NAMESPACE, status={"room": ON_EU})
    metadata = match.metadata.model_copy(update={"annotations": {"roomkeeper.dev/paused": "true"}})
    rig.calls.kept(match.model_copy(update={"metadata": metadata}))
    assert (await rig.seen()).paused == 1


async def test_rooms_that_could_not_be_read_may_be_on_the_server() -> None:
    rig = Rig()
    assert (await rig.seen()).unknown == ""
    room = b.an_active_room(owned=False)
    rig.placements.unreadable(Unreadable(room.metadata.model_copy(update={"annotations": {}}), "spec: is no object"))
    assert (await rig.seen()).unknown == (
        f"the Room {b.NAMESPACE}/lobby cannot be read, and may be on it: correct or delete it"
    )
    rig.unread.append("night")
    assert (await rig.seen()).unknown == "the Rooms of the namespace night could not be read yet"
    rig.unread.append("day")
    assert (await rig.seen()).unknown == "the Rooms of the namespaces day and night could not be read yet"
