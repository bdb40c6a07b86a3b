"""The servers by name: which one a Room is on, and what is known of one that is not configured."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller.api.room import Room
from controller.backends.servers import Server, Servers
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.errors import BackendUnavailable
from controller.views.livekit import LiveKitView
from tests import values as b

MOVED = b.an_active_room(status={"server": "eu-1"})


@pytest.mark.parametrize("room", [None, b.a_room(), b.an_active_room(status={"server": "default"})])
def test_a_room_without_a_server_is_on_the_default_one(room: Room | None) -> None:
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


def two_servers() -> Servers:
    keys = ApiKeys(ApiKey("key", "secret"))
    return Servers([Server(name, b.URL, keys, cast("Any", None), LiveKitView()) for name in ("default", "eu-1")])


def test_a_room_that_was_never_made_moves_to_another_server_and_stays_there() -> None:
    servers, room = two_servers(), b.a_room()
    assert servers.of(room).name == "default"
    assert servers.move_elsewhere(room) == "eu-1"
    assert (servers.of(room).name, servers.facts(room, b.at(1)).name) == ("eu-1", "eu-1")
    assert servers.of(b.a_room(uid="another")).name == "default"
    assert servers.move_elsewhere(room) == "default"


def test_a_room_does_not_move_to_a_server_that_does_not_answer() -> None:
    servers, room = two_servers(), b.a_room()
    other = next(server for server in servers if server.name == "eu-1")
    other.view.failed(b.at(1), "no answer")
    assert servers.move_elsewhere(room) == ""
    assert servers.of(room).name == "default"


def test_a_room_that_was_made_once_stays_where_it_is() -> None:
    servers = two_servers()
    assert servers.move_elsewhere(b.an_active_room(status={"server": "default"})) == ""


def test_without_another_server_a_room_stays() -> None:
    assert b.servers().move_elsewhere(b.a_room()) == ""
