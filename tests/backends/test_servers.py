"""The servers by name: which one a Room is on, where a new one is placed, and what is known of others."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller.api.conditions import ConditionReason
from controller.api.fields import Placement
from controller.api.names import ROOM
from controller.api.room import Room
from controller.backends.servers import Server, Servers
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.errors import BackendUnavailable, Code
from controller.facts.server import Trouble
from controller.plan.actions import Target
from controller.views.livekit import LiveKitView
from controller.views.placements import RoomPlacements
from tests import values as b

MOVED = b.an_active_room(status={"server": "eu-1"})


@pytest.mark.parametrize("room", [None, b.a_room(), b.a_room(placed=False), b.an_active_room()])
def test_where_there_is_one_server_alone_nothing_else_has_to_say_so(room: Room | None) -> None:
    servers = b.servers()
    assert servers.of(room) is servers.find(room) is next(iter(servers))
    assert servers.facts(room, b.at(9)) == servers.of(room).facts(b.at(9))


def test_no_other_server_stands_in_for_one_that_is_not_configured() -> None:
    servers = b.servers()
    assert servers.find(MOVED) is None
    with pytest.raises(BackendUnavailable, match="'eu-1', which is not configured; known are default"):
        servers.of(MOVED)


def test_a_server_that_is_not_configured_is_in_trouble() -> None:
    facts = b.servers().facts(MOVED, b.at(9))
    assert (facts.name, facts.url, "not configured" in facts.trouble) == ("eu-1", "", True)


def test_a_server_without_credentials_is_named_with_what_is_wrong() -> None:
    servers = b.servers()
    servers.troubles = {"eu-1": Trouble(ConditionReason.CREDENTIALS_MISSING, "the Secret eu-1 does not exist")}
    told = "the room is on LiveKit server eu-1, which cannot be asked: the Secret eu-1 does not exist"
    assert servers.facts(MOVED, b.at(9)).trouble == told


def target(name: str) -> Target:
    return Target(ROOM, "ns", name, f"uid-of-{name}", "1")


def a_server(name: str, **changes: Any) -> Server:
    view = LiveKitView()
    view.snapshot([], b.at(1))
    return Server(name, b.URL, ApiKeys(ApiKey("key", "secret")), cast("Any", None), view, **changes)


def two_servers(placements: RoomPlacements | None = None, **changes: Any) -> Servers:
    """`default` and eu-1; `changes` are those of eu-1."""
    return Servers([a_server("default"), a_server("eu-1", **changes)], placements)


def test_a_room_on_none_of_several_servers_has_no_server_yet() -> None:
    servers, room = two_servers(), b.a_room(placed=False)
    assert servers.find(room) is None
    assert (servers.facts(room, b.at(1)).name, servers.facts(None, b.at(1)).trouble) == ("", "")


def test_the_room_of_a_match_that_is_gone_was_on_the_server_of_its_status() -> None:
    servers = two_servers()
    assert servers.facts(None, b.at(1), "eu-1").name == "eu-1"
    assert servers.facts(MOVED, b.at(1), "default").name == "eu-1"


def test_a_room_that_was_never_made_moves_to_another_server_and_stays_there() -> None:
    servers, room = two_servers(), b.a_room()
    assert servers.of(room).name == "default"
    assert servers.move_elsewhere(room) == "eu-1"
    assert (servers.of(room).name, servers.facts(room, b.at(1)).name) == ("eu-1", "eu-1")
    assert servers.of(b.a_room(uid="another")).name == "default"
    assert servers.move_elsewhere(room) == "default"


def test_rooms_that_move_do_not_exceed_the_limit_of_the_other_server() -> None:
    placements = RoomPlacements()
    servers = two_servers(placements, max_rooms=1)
    rooms = [_named(f"rk-{n}") for n in range(2)]
    for room in rooms:
        placements.kept(room)
    assert [servers.move_elsewhere(room) for room in rooms] == ["eu-1", ""]
    assert (servers.count("eu-1"), servers.count("default")) == (1, 1)
    placements.kept(rooms[0])
    assert servers.count("eu-1") == 1, "a version that does not say so yet changes nothing"
    placements.gone(rooms[0])
    assert servers.count("eu-1") == 0


def _named(name: str) -> Room:
    room = b.a_room(uid=name)
    return room.model_copy(update={"metadata": room.metadata.model_copy(update={"name": name})})


def test_a_room_does_not_move_to_a_server_that_does_not_answer() -> None:
    servers, room = two_servers(), b.a_room()
    other = servers.get("eu-1")
    assert other is not None
    other.view.failed(b.at(1), "no answer")
    assert servers.move_elsewhere(room) == ""
    assert servers.of(room).name == "default"


@pytest.mark.parametrize(
    ("placement", "changes"),
    [
        ({"serverName": "default"}, {}),
        ({"serverSelector": {"matchLabels": {"region": "us"}}}, {"labels": {"region": "eu"}}),
        ({}, {"is_cordoned": True}),
    ],
)
def test_a_room_moves_only_to_a_server_that_its_spec_allows_and_that_takes_it(
    placement: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert two_servers(**changes).move_elsewhere(b.a_room(placement=Placement.model_validate(placement))) == ""


def test_a_room_that_was_made_once_stays_where_it_is() -> None:
    assert two_servers().move_elsewhere(b.an_active_room(status={"server": "default"})) == ""


def test_without_another_server_a_room_stays() -> None:
    assert b.servers().move_elsewhere(b.a_room()) == ""


def test_places_are_reserved_so_that_many_rooms_at_one_moment_do_not_exceed_the_limit() -> None:
    placements = RoomPlacements()
    servers = Servers([a_server("eu-1", max_rooms=3), a_server("eu-2", max_rooms=4)], placements)
    placed = [servers.place(target(f"room-{n}"), f"room-{n}", Placement()) for n in range(7)]
    assert (placed.count("eu-1"), placed.count("eu-2")) == (3, 4)
    with pytest.raises(BackendUnavailable) as refused:
        servers.place(target("room-7"), "room-7", Placement())
    assert refused.value.code == Code.NO_PLACE
    assert refused.value.message == (
        "no LiveKit server can take the room: eu-1 is full (3 rooms, maxRooms is 3); "
        "eu-2 is full (4 rooms, maxRooms is 4)"
    )
    assert servers.take_waiting() == [(ROOM, "ns", "room-7")]
    assert servers.take_waiting() == []
    servers.give_up("ns", "room-0")
    assert servers.place(target("room-7"), "room-7", Placement()) == placed[0]


def test_a_second_attempt_for_the_same_room_takes_no_second_place() -> None:
    servers = Servers([a_server("eu-1", max_rooms=1)])
    assert [servers.place(target("room"), "room", Placement()) for _ in range(3)] == ["eu-1"] * 3
