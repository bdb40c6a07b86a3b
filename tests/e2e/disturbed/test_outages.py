"""LiveKit or Redis away: nothing is decided about what is not seen, and what cannot be made in time is rolled back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests import manifests
from tests.support.chaos import frozen
from tests.support.kube import condition, is_true
from tests.support.waiting import consistently, eventually
from tests.support.world import World

_NOWHERE = "ws://127.0.0.1:9"


async def test_what_livekit_refuses_to_make_in_time_is_rolled_back(world: World) -> None:
    """A LiveKit that nobody runs: refused at once."""
    operator = await world.operators.start(livekit_url=_NOWHERE)
    await eventually(operator.leads)
    await _is_rolled_back(world)
    await operator.end()


async def test_what_a_frozen_livekit_does_not_make_in_time_is_rolled_back(world: World) -> None:
    operator = await world.operators.start()
    await eventually(operator.leads)
    with frozen(world.where, "livekit-server"):
        await _is_rolled_back(world)
    match = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (match.status.phase, match.status.reason) == ("Failed", "TooLate")
    assert condition(match, "Finished").reason == "Failed"
    assert match.status.end is not None
    assert [(one.state, one.place) for one in match.status.end.outcomes] == [
        ("Waiting", "Original"),
        ("Waiting", "Original"),
    ]
    assert await world.livekit_rooms() == {}
    # LiveKit answers again: the next one is made.
    await world.ready(name="next")


async def _is_rolled_back(world: World) -> None:
    """Users go back to where they were, and the condition says why, while LiveKit is still away."""
    before = dict(zip(("alice", "bob", "carol"), await world.enqueue("alice", "bob", "carol"), strict=True))
    await world.kube.create(manifests.match(timeouts={"readySeconds": 2}))

    async def as_before() -> None:
        assert await world.queue() == before
        assert await world.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}

    await world.kube.match_until(lambda found: found.status.phase is not None)
    match = await world.kube.match_until(lambda found: condition(found, "Ready").reason == "TooLate")
    await eventually(as_before)
    ready = condition(match, "Ready")
    assert ready.status == "False"
    assert "not Ready within 2 s" in ready.message
    assert "LiveKit" in ready.message
    assert await world.kube.list("Secret") == []


async def test_what_redis_does_not_allow_in_time_is_rolled_back(world: World) -> None:
    await world.operators.start()
    before = dict(zip(("alice", "bob"), await world.enqueue("alice", "bob"), strict=True))
    # An open pool: the outage comes in the middle of the work.
    await world.ready("carol", "dave", name="other")
    with frozen(world.where, "redis-server"):
        await world.kube.create(manifests.match(timeouts={"readySeconds": 1}))
        stuck = await world.kube.match_until(lambda found: is_true(found, "Degraded"))
        assert "Redis" in condition(stuck, "Degraded").message
    match = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (match.status.phase, match.status.reason) == ("Failed", "TooLate")
    assert await world.queue() == before


@pytest.mark.parametrize("program", ["livekit-server", "redis-server"])
async def test_a_call_outlives_an_outage(world: World, program: str) -> None:
    """A user who cannot be seen is not gone: the operator does not judge them."""
    await world.operators.start()
    before, people = await world.active()
    with frozen(world.where, program):

        async def goes_on() -> None:
            match = await world.kube.match()
            assert (match.status.phase, match.status.connected) == ("Active", "2/2")

        await consistently(goes_on, 6)
    await world.kube.match_until(lambda found: not is_true(found, "Degraded"))
    after = await world.kube.match()
    assert (after.status.phase, after.status.room) == ("Active", before.status.room)
    assert not any(person.seen("disconnected") for person in people)


async def test_a_match_that_is_deleted_while_livekit_is_away_lets_its_users_go_at_once(world: World) -> None:
    await world.operators.start()
    await world.enqueue("alice", "bob")
    await world.active()
    with frozen(world.where, "livekit-server"):
        await world.kube.delete("Match", "match")
        await world.expect_states(alice="WAITING", bob="WAITING")
    await world.kube.gone("Match", "match")


async def test_where_no_webhook_arrives_people_are_found_by_looking(world: World) -> None:
    first = world.operators.make()
    operator = await world.operators.start()  # on ports that LiveKit knows nothing of
    assert first.webhook_url == world.where.webhook_url != operator.webhook_url
    match, people = await world.active()
    assert {person.evidence for person in match.status.participants} == {"poll"}
    await world.expect_states(alice="IN_CALL", bob="IN_CALL")
    metrics = await operator.metrics()
    assert metrics("roomkeeper_webhooks_total") == 0
    assert metrics("roomkeeper_webhooks_missed_total") >= 2
    await people[0].leave()
    match = await world.kube.match_until(lambda found: found.status.connected == "1/2")
    assert match.status.participants[0].evidence == "poll"


async def test_a_redis_that_lost_everything_is_filled_again_from_the_matches(world: World) -> None:
    await world.operators.start()
    places = dict(zip(("alice", "bob"), await world.enqueue("alice", "bob"), strict=True))
    match = await world.ready()
    await world.redis.delete(*[key async for key in world.redis.scan_iter(f"{world.keys.prefix}*")])
    await world.kube.patch("Match", "match", {"metadata": {"annotations": {"example.com/look": "again"}}})
    await world.expect_states(alice="CONNECTING", bob="CONNECTING")
    assert (await world.user("alice")).match == match.metadata.uid
    await world.delete()
    assert await world.queue() == places


async def test_tokens_and_the_record_of_the_room_are_in_redis_again_after_it_lost_everything(world: World) -> None:
    await world.operators.start(poll_seconds="0.5")
    await world.enqueue("alice", "bob")
    match = await world.ready(tokens={"delivery": "Both"})
    room = world.keys.room(await world.livekit_name(match))
    before = _without_times(await world.hash(room))
    await world.redis.delete(*[key async for key in world.redis.scan_iter(f"{world.keys.prefix}*")])

    async def there_again() -> dict[str, Any]:
        assert _without_times(await world.hash(room)) == before
        tokens = await world.hash(world.keys.tokens(match.metadata.uid))
        assert tokens.keys() == {"alice", "bob"}
        return {who: json.loads(text) for who, text in tokens.items()}

    entries = await eventually(there_again)
    assert entries == await world.tokens(match)
    await asyncio.gather(*(world.people(who, entry["token"], entry["url"]).join() for who, entry in entries.items()))
    await world.kube.match_until(lambda found: found.status.phase == "Active")


def _without_times(record: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in record.items() if name not in {"createdAt", "lastUpdated"}}
