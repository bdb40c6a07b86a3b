"""The LiveKit servers of a term follow what is configured, and no change makes rooms on one of them count as lost."""

from __future__ import annotations

from typing import Any, cast

import pytest

from controller.api.conditions import ConditionReason
from controller.api.fields import Placement
from controller.api.livekitserver import LiveKitServer
from controller.api.names import PAUSED
from controller.app.pollers import Pollers
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.backends.servers import Server, Servers
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.errors import BackendUnavailable
from controller.facts.observation import Present
from controller.loop.key import Key
from controller.telemetry.pulse import Pulses
from controller.triggers.router import Router
from controller.views.livekit import LiveKitView
from controller.views.lost_fields import LostFields
from controller.views.placements import RoomPlacements
from tests import values as b
from tests.backends.test_server_configs import server as an_object
from tests.backends.test_servers import target

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
        self.unread: list[str] = []
        self.configs = ServerConfigs(ServerConfig("default", "http://lk", "ws://lk", credentials("ours")), LostFields())
        self.begin()

    def begin(self) -> None:
        """Begin a term."""
        self.servers = Servers((), self.placements, unread=lambda: self.unread)
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

    def restarted(self, kept: LiveKitServer) -> Rig:
        """The pollers of the first term of another process, which has read the same objects."""
        self.pollers.end()
        self.configs = ServerConfigs(ServerConfig("default", "http://lk", "ws://lk", credentials("ours")), LostFields())
        self.configs.keep(kept, credentials())
        self.begin()
        return self

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
    assert (rig.eu.url, client.url, client.key, rig.eu.is_cordoned) == (OLD, OLD, "key", True)
    trouble = rig.servers.troubles["eu-1"]
    assert trouble.reason is ConditionReason.WRONG_URL
    assert trouble.sentence == (
        "spec.url has changed while 1 rooms are on the server; they are looked for at http://old:7880 alone, and it "
        "takes no new room until they are over"
    )
    rig.placements.gone(rig.room)
    rig.configure(NEW, "another-key", maxRooms=7)
    assert (rig.eu.url, rig.eu.is_cordoned, dict(rig.servers.troubles)) == (NEW, False, {})
    assert (cast("Any", rig.eu.client).key, rig.eu.max_rooms) == ("another-key", 7)


def test_while_a_changed_url_waits_tokens_have_the_old_address_and_key_and_a_drain_counts_at_once(rig: Rig) -> None:
    rig.configure(publicUrl="wss://old")
    rig.listed()
    rig.configure(NEW, "another-key", publicUrl="wss://new", maxRooms=7, drain={"type": "graceful"})
    rig.configure(NEW, "another-key", publicUrl="wss://new", maxRooms=8, drain={"type": "emergency"})
    facts = rig.eu.facts(b.at(3))
    assert (facts.url, facts.api_key) == ("wss://old", "key")
    assert (rig.eu.max_rooms, rig.eu.drain is not None and rig.eu.drain.type) == (8, "emergency")


def test_after_a_restart_a_changed_url_waits_at_the_address_of_the_status(rig: Rig) -> None:
    """The API server lets the URL change while `status.rooms` is an old 0, and then the operator is restarted."""
    rig.listed()
    noted = {"url": OLD, "publicUrl": "wss://old"}
    after = rig.restarted(an_object(url=NEW, publicUrl="wss://new", status=noted))
    found = after.servers.get("eu-1")
    assert found is not None
    assert (found.url, found.public_url, found.is_cordoned) == (OLD, "wss://old", True)
    assert after.servers.troubles["eu-1"].reason is ConditionReason.WRONG_URL


def test_after_a_restart_a_changed_url_waits_until_all_namespaces_were_read(rig: Rig) -> None:
    rig.unread.append("night")
    after = rig.restarted(an_object(url=NEW, status={"url": OLD, "publicUrl": "ws://old:7880"}))
    assert (found := after.servers.get("eu-1")) is not None
    assert found.url == OLD
    assert after.servers.troubles["eu-1"].sentence == (
        "spec.url has changed and it is not known that no room is on the server (the Rooms of the namespace night "
        "could not be read yet); they are looked for at http://old:7880 alone, and it takes no new room until they "
        "are over"
    )
    rig.unread.clear()
    after.configs.keep(an_object(url=NEW, maxRooms=1, status={"url": OLD}), credentials())
    assert (found := after.servers.get("eu-1")) is not None
    assert found.url == NEW


def test_a_server_takes_rooms_once_its_address_is_in_its_status(rig: Rig) -> None:
    """Otherwise a restart could not tell that the address was changed while rooms are on the server."""
    rig.configs.drop("default")
    wanted = Placement(server_name="eu-1")
    with pytest.raises(BackendUnavailable, match=r"eu-1 is new: its address is not in its status \(status.url\) yet"):
        rig.servers.place(target("a"), "a", wanted)
    rig.configs.keep(an_object(url=OLD, status={"url": OLD, "publicUrl": "ws://old:7880"}), credentials())
    assert rig.servers.place(target("a"), "a", wanted) == "eu-1"
    rig.placements.release("ns", "a")
    rig.configs.keep(an_object(url=NEW, status={"url": OLD, "publicUrl": "ws://old:7880"}), credentials())
    with pytest.raises(BackendUnavailable, match="is new"):
        rig.servers.place(target("a"), "a", wanted)


def test_a_paused_server_without_an_address_in_its_status_is_named_with_its_pause(rig: Rig) -> None:
    paused = an_object(url=OLD)
    metadata = paused.metadata.model_copy(update={"annotations": {PAUSED: "true"}})
    rig.configs.keep(paused.model_copy(update={"metadata": metadata}), credentials())
    why = r"eu-1 is paused, and its address is not in its status \(status.url\): remove the annotation \S+/paused"
    with pytest.raises(BackendUnavailable, match=why):
        rig.servers.place(target("room"), "room", Placement(server_name="eu-1"))


def test_the_server_of_the_settings_needs_no_address_in_a_status(rig: Rig) -> None:
    assert rig.servers.place(target("a"), "a", Placement(server_name="default")) == "default"


def test_a_url_that_is_taken_back_leaves_the_server_as_it_was(rig: Rig) -> None:
    rig.listed()
    view = rig.eu.view
    rig.configure(NEW)
    rig.configure(OLD)
    assert (rig.eu.view is view, rig.eu.is_cordoned, dict(rig.servers.troubles)) == (True, False, {})


@pytest.mark.parametrize("away", ["deleted", "a bad url"])
def test_a_server_that_comes_back_at_another_url_is_asked_at_the_old_one_while_rooms_are_on_it(
    rig: Rig, away: str
) -> None:
    rig.listed()
    if away == "deleted":
        rig.configs.drop("eu-1")
        assert rig.servers.get("eu-1") is None
    else:
        rig.configure("http://me:secret@old")
        assert (rig.eu.url, isinstance(rig.eu.view.room(NAME, b.at(3)), Present)) == (OLD, True)
    rig.configure(NEW, "another-key")
    assert (rig.eu.url, rig.eu.keys.newest.name) == (OLD, "key")
    assert "spec.url has changed" in rig.servers.troubles["eu-1"].sentence
    rig.placements.gone(rig.room)
    rig.configure(NEW, "another-key", maxRooms=7)
    assert (rig.eu.url, rig.eu.keys.newest.name) == (NEW, "another-key")


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
