"""LiveKit or Redis is away: nothing is decided about unseen facts, and Matches that are late are rolled back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from controller.clients.availability import ANSWERS, ANSWERS_AGAIN, SILENT
from tests import manifests
from tests.support.chaos import frozen
from tests.support.kube import condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_NOWHERE = "ws://127.0.0.1:9"


async def test_a_match_is_rolled_back_if_livekit_refuses_to_make_its_room_in_time(rig: Rig) -> None:
    """No LiveKit listens at the address, so every request is refused at once."""
    operator = await rig.operators.start(livekit_url=_NOWHERE)
    await eventually(operator.leads)
    await _is_rolled_back(rig)
    await operator.end()


async def test_a_match_is_rolled_back_if_a_frozen_livekit_does_not_make_its_room_in_time(rig: Rig) -> None:
    operator = await rig.operators.start()
    await eventually(operator.leads)
    with frozen(rig.where, "livekit-server"):
        await _is_rolled_back(rig)
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (match.status.phase, match.status.reason) == ("Failed", "TooLate")
    assert condition(match, "Finished").reason == "Failed"
    assert match.status.end is not None
    assert [(one.state, one.place) for one in match.status.end.outcomes] == [
        ("Waiting", "Original"),
        ("Waiting", "Original"),
    ]
    assert await rig.livekit_rooms() == {}
    # LiveKit answers again: the next one is made.
    await rig.ready(name="next")


async def _is_rolled_back(rig: Rig) -> None:
    """The users are back where they were, and the condition says why, while LiveKit is still away."""
    before = dict(zip(("alice", "bob", "carol"), await rig.enqueue("alice", "bob", "carol"), strict=True))
    await rig.kube.create(manifests.match(timeouts={"readySeconds": 2}))

    async def as_before() -> None:
        assert await rig.queue() == before
        assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}

    await rig.kube.match_until(lambda found: found.status.phase is not None)
    match = await rig.kube.match_until(lambda found: condition(found, "Ready").reason == "TooLate")
    await eventually(as_before)
    ready = condition(match, "Ready")
    assert ready.status == "False"
    assert "not Ready within 2 s" in ready.message
    assert "LiveKit" in ready.message
    assert await rig.kube.list("Secret") == []


async def test_a_match_is_rolled_back_if_redis_does_not_answer_in_time(rig: Rig) -> None:
    await rig.operators.start()
    before = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    # An open pool: the outage comes in the middle of the work.
    await rig.ready("carol", "dave", name="other")
    with frozen(rig.where, "redis-server"):
        await rig.kube.create(manifests.match(timeouts={"readySeconds": 1}))
        stuck = await rig.kube.match_until(lambda found: is_true(found, "Degraded"))
        assert "Redis" in condition(stuck, "Degraded").message
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (match.status.phase, match.status.reason) == ("Failed", "TooLate")
    assert await rig.queue() == before


async def test_a_redis_that_is_away_shows_although_users_only_wait(rig: Rig) -> None:
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")

    async def says_up(expected: int) -> None:
        metrics = await operator.metrics()
        assert metrics.value("roomkeeper_backend_up", backend="Redis", server="") == expected, operator.log[-2000:]

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in operator.log.splitlines() if line.startswith("{")]

    async def told() -> list[dict[str, Any]]:
        found = [line for line in lines() if line.get("backend") == "Redis" and line["event"].startswith("a backend")]
        assert [line["event"] for line in found] == [ANSWERS, SILENT, ANSWERS_AGAIN], operator.log
        return found

    await eventually(lambda: says_up(1))
    before = len(lines())
    with frozen(rig.where, "redis-server"):
        await eventually(lambda: says_up(0))
    await eventually(lambda: says_up(1))
    start, away, again = await eventually(told)
    warnings = [line["event"] for line in lines()[before:] if line["level"] != "info"]
    assert [event for event in warnings if event != "a request was slow"] == [SILENT]
    assert start["address"] == rig.where.redis_url
    assert start["version"].startswith(("Valkey", "Redis"))
    assert (away["reason"], again["reason"]) == ("timeout", "timeout")
    assert again["away_seconds"] > 0


@pytest.mark.parametrize(("program", "backend"), [("livekit-server", "LiveKit"), ("redis-server", "Redis")])
async def test_a_call_outlives_an_outage_and_says_that_there_is_one(rig: Rig, program: str, backend: str) -> None:
    """A user who cannot be seen is not gone: the operator does not judge them. Nothing wakes a call that is quiet."""
    await rig.operators.start()
    before, people = await rig.active()
    with frozen(rig.where, program):
        during = await rig.kube.match_until(lambda found: is_true(found, "Degraded"))
        assert backend in condition(during, "Degraded").message
        assert (during.status.phase, during.status.connected) == ("Active", "2/2")
    await rig.kube.match_until(lambda found: not is_true(found, "Degraded"))
    after = await rig.kube.match()
    assert (after.status.phase, after.status.room) == ("Active", before.status.room)
    assert not any(person.seen("disconnected") for person in people)


async def test_a_match_that_is_deleted_while_livekit_is_away_lets_its_users_go_at_once(rig: Rig) -> None:
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await rig.active()
    with frozen(rig.where, "livekit-server"):
        await rig.kube.delete("Match", "match")
        await rig.expect_states(alice="WAITING", bob="WAITING")
    await rig.kube.gone("Match", "match")


async def test_polling_finds_people_where_no_webhook_arrives(rig: Rig) -> None:
    first = rig.operators.make()
    operator = await rig.operators.start()  # on ports that LiveKit does not know
    assert first.webhook_url == rig.where.webhook_url != operator.webhook_url
    match, people = await rig.active()
    assert {person.evidence for person in match.status.participants} == {"poll"}
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    metrics = await operator.metrics()
    assert metrics("roomkeeper_webhooks_total") == 0
    assert metrics("roomkeeper_webhooks_missed_total") >= 2
    await people[0].leave()
    match = await rig.kube.match_until(lambda found: found.status.connected == "1/2")
    assert match.status.participants[0].evidence == "poll"


async def test_a_redis_that_lost_everything_is_filled_again_from_the_matches(rig: Rig) -> None:
    await rig.operators.start()
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    match = await rig.ready()
    await rig.redis.delete(*[key async for key in rig.redis.scan_iter(rig.keys.pattern)])
    await rig.kube.patch("Match", "match", {"metadata": {"annotations": {"example.com/look": "again"}}})
    await rig.expect_states(alice="CONNECTING", bob="CONNECTING")
    assert (await rig.user("alice")).match == match.metadata.uid
    await rig.delete()
    assert await rig.queue() == places


async def test_tokens_and_the_record_of_the_room_are_in_redis_again_after_it_lost_everything(rig: Rig) -> None:
    await rig.operators.start(poll_seconds="0.5")
    await rig.enqueue("alice", "bob")
    match = await rig.ready(tokens={"delivery": "Both"})
    room = rig.keys.room(await rig.livekit_name(match))
    before = _without_times(await rig.hash(room))
    await rig.redis.delete(*[key async for key in rig.redis.scan_iter(rig.keys.pattern)])

    async def there_again() -> dict[str, Any]:
        assert _without_times(await rig.hash(room)) == before
        tokens = await rig.hash(rig.keys.tokens(match.metadata.uid))
        assert tokens.keys() == {"alice", "bob"}
        entries = {who: json.loads(text) for who, text in tokens.items()}
        assert entries == await rig.tokens(match)
        return entries

    entries = await eventually(there_again)
    await asyncio.gather(*(rig.people(who, entry["token"], entry["url"]).join() for who, entry in entries.items()))
    await rig.kube.match_until(lambda found: found.status.phase == "Active")


def _without_times(record: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in record.items() if name not in {"createdAt", "lastUpdated"}}
