"""What is told is what docs/events.md promises: every type is emitted by some call, and every entry fits the schema."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from controller.api.cloudevents import EVENTS
from controller.api.failures_table import FAILURES
from controller.api.livekitserver import DrainType
from controller.api.match import QueuePlace
from controller.api.notices import DISCONNECT, NOTICES, REFUSALS, TOLD, Row
from controller.api.states import UserState
from controller.clients.redis.client import Redis
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.outbox import Outbox
from controller.clients.redis.records import RoomRecord
from controller.clients.redis.replies.inbox import Ignored
from controller.clients.redis.requests import AdvanceRequest, SettleRequest
from controller.facts.drain import DrainFacts
from controller.facts.ledger import Cause, Destination, Release
from controller.generate.events_schema import entry_example, event_example
from tests.redis.doors import Door, opened
from tests.redis.promised import check, titles
from tests.redis.servers import Server
from tests.redis.world import NOW, World

BOTH = ("alice", "bob")
BACK = (Destination.BACK, QueuePlace.ORIGINAL)
LEFT = Cause("Left", "bob", "bob left and was not back after 3 s", '{"code": "Left", "subject": ["bob"]}')
FAILED = Cause("Failed", "", "not Ready within 30 s", '{"code": "TooLate", "subject": []}')
SCHEMA = json.loads((Path(__file__).parents[2] / "contract" / "events.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(params=Door)
async def redis(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Redis]:
    """A client for each way in."""
    async with opened(server.url, request.param) as client:
        yield client


async def whole_life(world: World) -> None:
    """Calls of every kind, so that everything is told that can be."""
    await wait_and_leave(world)
    await have_a_call(world)
    await fail(world)
    for status in ("creating", "active", "terminating", "terminated", "failed"):
        livekit_name = "rk-2" if status == "failed" else "rk-1"
        await world.pool.write_room_record(RoomRecord(livekit_name, "room", status, NOW, 2), now_ms=NOW)
    outbox = Outbox(world.pool)
    for n, why in enumerate(REFUSALS):
        await outbox.refused("alice", f"{n}-0", "skip", why, now_ms=NOW)
    for code in TOLD:
        await outbox.failed(BOTH, FAILURES[code], "m1", "match-1", now_ms=NOW)
    await world.claim("m3", *BOTH)
    await outbox.drained("m3", BOTH, DrainFacts("eu-1-3", DrainType.EMERGENCY), now_ms=NOW)


async def wait_and_leave(world: World) -> None:
    for session in ("tab-1", "tab-2"):
        await world.gateway.enqueue("alice", session=session)
    await world.gateway.leave("alice")
    await world.enqueue("bob")
    await world.gateway.beat("bob")
    beat = int((await world.snapshot()).values["heartbeats"]["bob"])
    await Inbox(world.pool).expire("bob", beat, now_ms=NOW)


async def have_a_call(world: World) -> None:
    for who in BOTH:
        await world.enqueue(who)
    await world.claim("m1", *BOTH)
    for phase, state, missing, restored in (
        ("Connecting", UserState.CONNECTING, (), ""),
        ("Active", UserState.IN_CALL, (), ""),
        ("Reconnecting", UserState.IN_CALL, (("bob", NOW + 3000),), "RM_2"),
    ):
        users = tuple((who, state) for who in BOTH)
        request = AdvanceRequest(
            "m1", users, phase=phase, room="rk-1", url="wss://example.org", missing=missing, restored=restored
        )
        await world.pool.advance(request, now_ms=NOW)
    await world.pool.settle(SettleRequest("m1", "session-m1", (), LEFT, final=False), now_ms=NOW)
    disconnecting = tuple((who, UserState.DISCONNECTING) for who in BOTH)
    await world.pool.advance(AdvanceRequest("m1", disconnecting, phase="Terminating"), now_ms=NOW)
    freed = (Release("alice", Destination.WAITING), Release("bob", Destination.IDLE, detail="NeverSeen"))
    await world.pool.settle(SettleRequest("m1", "session-m1", freed, LEFT), now_ms=NOW)


async def fail(world: World) -> None:
    """Users move without their Match once, and then it could not be made after all."""
    await world.claim("m2", *BOTH)
    for state in (UserState.IN_CALL, UserState.DISCONNECTING):
        await world.pool.advance(AdvanceRequest("m2", tuple((who, state) for who in BOTH)), now_ms=NOW)
    await world.settle("m2", dict.fromkeys(BOTH, BACK), cause=FAILED)


async def test_every_type_is_told_by_some_call_and_is_as_promised(world: World) -> None:
    await whole_life(world)
    told = await world.hear()
    check(told)
    assert titles(told) == {row.title for row in (*NOTICES, *EVENTS)}
    assert told.disconnects


def test_every_cause_that_a_signal_is_ignored_for_has_a_sentence() -> None:
    assert set(REFUSALS) == {"malformed", "idle", *Ignored}


EXAMPLES = [
    *(pytest.param("notice", row, entry_example(row), id=row.title) for row in NOTICES),
    pytest.param("disconnect", DISCONNECT, entry_example(DISCONNECT), id="disconnect"),
    *(pytest.param("event", row, event_example(row), id=row.type) for row in EVENTS),
]


@pytest.mark.parametrize(("kind", "row", "example"), EXAMPLES)
def test_the_published_schema_takes_the_examples_and_nothing_less(kind: str, row: Row, example: dict[str, Any]) -> None:
    validator = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{kind}"}]})
    example = json.loads(json.dumps(example))
    validator.validate(example)
    holder = example["data"] if kind == "event" else example
    for field in row.fields:
        value = holder.pop(field.name)
        assert not validator.is_valid(example), f"{field.name} is not required"
        holder[field.name] = ["nonsense"] if field.form != "list" else "nonsense"
        assert not validator.is_valid(example), f"{field.name} may be anything"
        holder[field.name] = value
    validator.validate(example)


@pytest.mark.parametrize(("kind", "row", "example"), EXAMPLES)
def test_new_fields_may_come(kind: str, row: Row, example: dict[str, Any]) -> None:
    validator = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{kind}"}]})
    more = {**example, "new": "field"}
    validator.validate(json.loads(json.dumps(more)))
    assert row.fields
