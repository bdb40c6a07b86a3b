"""The servers by name: which one a Room is on, and what is known of one that is not configured."""

from __future__ import annotations

import pytest

from controller.api.room import Room
from controller.errors import BackendUnavailable
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
