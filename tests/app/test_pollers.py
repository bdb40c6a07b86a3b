"""The LiveKit servers of a term follow what is configured, and no change makes rooms on one of them count as lost."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller.api.conditions import ConditionReason
from controller.app.pollers import Pollers
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.backends.servers import Server, Servers
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.facts.observation import Present, Unknown
from controller.loop.key import Key
from controller.telemetry.pulse import Pulses
from controller.triggers.router import Router
from controller.views.livekit import LiveKitView
from controller.views.placements import RoomPlacements
from tests import values as b
from tests.backends.test_server_configs import server as an_object

OLD, NEW = "http://old:7880", "http://new:7880"
NAME = b.a_livekit_room().name


def credentials(key: str = "key") -> Credentials:
    return Credentials(ApiKeys(ApiKey(key, "s" * 32)))


class Client:
    """Remembers the key that requests are signed with."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ""

    def use_key(self, name: str, _secret: str) -> None:
        self.key = name

    def trust(self, ca: str) -> None:
        """Nothing is connected here."""

    def close(self) -> None:
        """Nothing is counted here."""


class Rig:
    """The pollers of a term, with the server eu-1 beside that of the settings; `room` is on it."""

    def __init__(self) -> None:
        self.room = b.an_active_room(status={"server": "eu-1"})
        self.placements = RoomPlacements()
        self.servers = Servers((), self.placements)
        self.configs = ServerConfigs(ServerConfig("default", "http://lk", "ws://lk", credentials("ours")))
        self.woken: list[Key] = []
        self.pollers = Pollers(
            self.configs,
            self.servers,
            Router("cluster", lambda key, _wake: self.woken.append(key)),
            Pulses(),
            client=lambda config: cast("Any", Client(config.url)),
            poller=lambda server: cast("Any", server),
            limit_seconds=60,
        )

    def configure(self, url: str = OLD, key: str = "key", **spec: Any) -> None:
        self.configs.keep(an_object(url=url, **spec), credentials(key))

    @property
    def eu(self) -> Server:
        found = self.servers.get("eu-1")
        assert found is not None
        return found

    def listed(self) -> None:
        """LiveKit lists the room."""
        self.placements.kept(self.room)
        self.eu.view.snapshot([b.a_livekit_room()], b.at(2))


@pytest.fixture
def rig() -> Rig:
    rig = Rig()
    rig.configure()
    return rig


def test_a_changed_url_waits_until_no_room_is_on_the_server_and_no_room_is_missing(rig: Rig) -> None:
    rig.listed()
    rig.configure(NEW, "another-key", cordoned=False)
    assert isinstance(rig.eu.view.room(NAME, b.at(3)), Present)
    client = cast("Any", rig.eu.client)
    assert (rig.eu.url, client.url, client.key, rig.eu.is_cordoned) == (OLD, OLD, "another-key", True)
    trouble = rig.servers.troubles["eu-1"]
    assert trouble.reason is ConditionReason.WRONG_URL
    assert trouble.sentence == (
        "spec.url has changed while 1 rooms are on the server; they are looked for at http://old:7880 alone, and it "
        "takes no new room until they are over"
    )
    rig.placements.gone(rig.room)
    rig.configure(NEW, "another-key", maxRooms=7)
    assert (rig.eu.url, rig.eu.is_cordoned, dict(rig.servers.troubles)) == (NEW, False, {})


def test_a_url_that_is_taken_back_leaves_the_server_as_it_was(rig: Rig) -> None:
    rig.listed()
    view = rig.eu.view
    rig.configure(NEW)
    rig.configure(OLD)
    assert (rig.eu.view is view, rig.eu.is_cordoned, dict(rig.servers.troubles)) == (True, False, {})


@pytest.mark.parametrize("away", ["deleted", "a bad url"])
def test_a_server_that_comes_back_at_another_url_is_not_asked_while_rooms_are_on_it(rig: Rig, away: str) -> None:
    rig.listed()
    if away == "deleted":
        rig.configs.drop("eu-1")
    else:
        rig.configure("http://me:secret@old")
    assert rig.servers.get("eu-1") is None
    rig.configure(NEW)
    facts = rig.servers.facts(rig.room, b.at(3))
    assert (facts.is_configured, "spec.url has changed" in facts.trouble) == (False, True)
    rig.configure(OLD)
    assert isinstance(rig.eu.view.room(NAME, b.at(3)), Unknown)


def test_a_server_without_rooms_moves_to_its_new_url_at_once(rig: Rig) -> None:
    rig.configure(NEW)
    assert rig.eu.url == NEW
    assert isinstance(rig.eu.view, LiveKitView)


def test_the_server_of_the_settings_is_not_asked_while_the_object_of_its_name_has_no_credentials(rig: Rig) -> None:
    assert rig.servers.get("default") is not None
    rig.configs.keep(an_object("default", url="http://lk"), None)
    assert rig.servers.get("default") is None
    rig.configs.keep(an_object("default", url="http://lk/", cordoned=True), credentials())
    assert (found := rig.servers.get("default")) is not None
    assert found.is_cordoned
