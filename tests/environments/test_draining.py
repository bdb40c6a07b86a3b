"""A LiveKit server is drained with calls on it: real clients receive why, and the calls end as the drain says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from controller.api.match import Match
from controller.api.names import DRAIN_TOPIC
from sandbox.people import Person
from tests import manifests
from tests.environments.livekit_nodes import LiveKitNodes
from tests.environments.test_livekit_servers import Own, nodes, own
from tests.support.kube import condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

__all__ = ["nodes", "own"]

_MESSAGE = "We move to another server soon."


def _on(server: str) -> dict[str, Any]:
    return {"placement": {"serverName": server}}


async def _receive(people: tuple[Person, ...], kind: str) -> list[Mapping[str, Any]]:
    """Wait until each person has the data message and the metadata of a drain of this type; return the messages."""
    return [await _received(person, kind) for person in people]


async def _received(person: Person, kind: str) -> Mapping[str, Any]:
    async def is_there() -> Mapping[str, Any]:
        found = [message for message in _messages(person) if message["type"] == kind]
        assert found, person
        return found[-1]

    message = await eventually(is_there)

    async def is_in_metadata() -> None:
        mark = json.loads(_last(person, "room_metadata_changed")["metadata"])["roomkeeper.dev"]
        assert mark["roomUID"]
        assert mark.get("drain") == (None if kind == "off" else message)

    await eventually(is_in_metadata)
    return message


def _messages(person: Person) -> list[Mapping[str, Any]]:
    return [json.loads(event["text"]) for event in person.events if event.get("topic") == DRAIN_TOPIC]


def _last(person: Person, name: str) -> Mapping[str, Any]:
    found = [event for event in person.events if event["event"] == name]
    assert found, person
    return found[-1]


async def _notices(rig: Rig, *users: str) -> list[tuple[str, str]]:
    """The user and the drain of each notice about one."""
    told = [(who, notice) for who in users for notice in await rig.stream(rig.keys.notify(who))]
    return [(who, notice["drain"]) for who, notice in told if notice["type"] == "shutdown"]


async def _left(own: Own, name: str, count: int | None, drained: str | None) -> None:
    """Wait until the status of the server says this."""

    async def is_so() -> None:
        found = await own.kube.get("LiveKitServer", name)
        assert found is not None
        status = found["status"]
        conditions = {one["type"]: one["status"] for one in status["conditions"]}
        assert (status.get("callsLeft"), conditions.get("Drained")) == (count, drained), status

    await eventually(is_so)


async def _deletion_waits(own: Own, name: str) -> None:
    found = await own.kube.get("LiveKitServer", name)
    assert found is not None
    messages = {one["type"]: one["message"] for one in found["status"]["conditions"]}
    assert messages.get("Drained", "").startswith("the deletion waits for 3 rooms on it ("), messages


async def _drained(rig: Rig, name: str) -> Match:
    over = await rig.kube.match_until(lambda match: is_true(match, "Finished"), name)
    assert over.status.end is not None
    assert over.status.end.reason == "Drained"
    return over


async def test_participants_learn_of_a_drain_once_and_that_it_is_over_and_livekit_stops_after_it(
    own: Own, rig: Rig, nodes: dict[str, LiveKitNodes]
) -> None:
    operator = await rig.operators.start()
    await own.server("eu-1")
    await own.ready("eu-1")
    await rig.enqueue("alice", "bob")
    _, people = await rig.active("alice", "bob", name="call", room={"metadata": {"topic": "go"}}, **_on("eu-1"))

    await own.patch("eu-1", drain={"type": "graceful", "message": _MESSAGE, "expectedDowntimeSeconds": 60})
    for message in await _receive(people, "graceful"):
        assert (message["message"], message["expectedDowntimeSeconds"], message["deadline"]) == (_MESSAGE, 60, None)
    await _left(own, "eu-1", 1, "False")
    assert json.loads(_last(people[0], "room_metadata_changed")["metadata"])["topic"] == "go"
    await rig.kube.create(manifests.match("carol", "dave", name="refused", **_on("eu-1")))
    await rig.kube.match_until(
        lambda match: "eu-1 is being drained" in condition(match, "RoomReady").message, "refused"
    )
    # Another operator goes on; it tells no participant again.
    await operator.kill()
    await operator.start()
    await own.patch("eu-1", drain=None)
    await _receive(people, "off")
    await _left(own, "eu-1", None, None)
    assert [[message["type"] for message in _messages(person)] for person in people] == [["graceful", "off"]] * 2
    both = ("alice", "bob")
    assert await _notices(rig, *both) == [(who, drain) for who in both for drain in ("graceful", "off")]

    deadline = datetime.now(UTC) + timedelta(seconds=3)
    await own.patch("eu-1", drain={"type": "maintenance", "deadline": f"{deadline:%Y-%m-%dT%H:%M:%SZ}"})
    await _receive(people, "maintenance")
    over = await _drained(rig, "call")
    assert over.status.ended_at is not None
    assert over.status.ended_at >= deadline.replace(microsecond=0)
    await asyncio.gather(*(person.wait_for("disconnected", reason="ROOM_DELETED") for person in people))
    await rig.expect_states(alice="WAITING", bob="WAITING")
    await own.kube.ask("wait", "--for=condition=Drained", "lks/eu-1", "--timeout=60s")
    await own.kube.ask("get", "lks")
    await asyncio.wait_for(nodes["eu-1"].terminate(), timeout=30)


async def test_a_deletion_waits_for_calls_and_an_emergency_ends_them_in_turn_once_their_participants_know(
    own: Own, rig: Rig, nodes: dict[str, LiveKitNodes]
) -> None:
    await rig.operators.start(drain_calls_per_second="1")
    await own.server("us-1")
    await own.ready("us-1")
    _, people = await rig.active("alice", "bob", name="call-1", **_on("us-1"))
    await rig.ready("carol", "dave", name="call-2", **_on("us-1"))
    await rig.kube.create(manifests.room("lobby", **_on("us-1")))
    lobby = await rig.kube.room_until(lambda room: is_true(room, "Ready"), "lobby")
    stays, _ = await rig.active("erin", "frank", name="elsewhere", **_on("default"))

    await own.kube.remove("lks/us-1", "--wait=false")
    await eventually(partial(_deletion_waits, own, "us-1"))
    await own.patch("us-1", drain={"type": "emergency", "message": _MESSAGE})
    ended = [(await _drained(rig, name)).status.ended_at for name in ("call-1", "call-2")]
    assert ended[0] is not None
    assert ended[1] is not None
    assert ended[0] < ended[1], "the oldest call ends first"
    for person in people:
        await person.wait_for("disconnected", reason="ROOM_DELETED")
        names = [event["event"] for event in person.events if event["event"] in {"data", "disconnected"}]
        assert names == ["data", "disconnected"]
    users = ("alice", "bob", "carol", "dave")
    assert await _notices(rig, *users) == [(who, "emergency") for who in users]
    closed = await rig.kube.room_until(lambda room: room.status.reason == "Drained", "lobby")
    assert closed.metadata.uid == lobby.metadata.uid
    await own.kube.ask("wait", "--for=delete", "lks/us-1", "--timeout=60s")
    still = await rig.kube.match("elsewhere")
    assert (still.status.phase, still.metadata.uid) == ("Active", stays.metadata.uid)
    assert await _notices(rig, "erin", "frank") == []
