"""witness: every verified event reaches the stream, and the ledger remembers the last one about each participant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.match import QueuePlace
from controller.clients.redis.replies.match import Verdict
from controller.clients.redis.requests import Claimant, Witnessed
from controller.clients.redis.retention import Retention
from controller.facts.ledger import Destination, LastEvent
from tests.redis.world import NOW, World, claim_request

IDLE = (Destination.IDLE, QueuePlace.ORIGINAL)
JOINED = Witnessed(
    event="participant_joined",
    entry=(("id", "EV_1"), ("event", "participant_joined")),
    match_uid="m1",
    identity="alice",
    sid="PA_1",
    at_ms=10_000,
    joined_at_ms=9_500,
)
LEFT = replace(JOINED, event="participant_left", reason="CLIENT_INITIATED", at_ms=20_000)
ABORTED = replace(JOINED, event="participant_connection_aborted", reason="JOIN_FAILURE", at_ms=20_000)
PUBLISHED = replace(JOINED, event="track_published")
REJOINED = replace(JOINED, sid="PA_2", at_ms=30_000, joined_at_ms=29_500)


async def last(world: World) -> LastEvent | None:
    return (await world.ledger("m1")).last.get("alice")


def stored(seen: Witnessed) -> LastEvent:
    return LastEvent(seen.event, seen.reason, seen.sid, seen.at_ms, seen.joined_at_ms)


async def test_an_event_goes_to_the_stream_and_to_the_ledger(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    reply = await world.pool.witness(LEFT)
    assert reply.verdict is Verdict.STORED
    assert await last(world) == stored(LEFT)
    (entry,) = await world.redis.read_streams({world.keys.webhooks(0): "0"}, block_seconds=1)
    assert (entry.id, entry.fields) == (reply.entry_id, dict(LEFT.entry))


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (JOINED, LEFT, Verdict.STORED),
        (LEFT, JOINED, Verdict.OLDER),
        (LEFT, replace(JOINED, at_ms=LEFT.at_ms), Verdict.OLDER),
        (LEFT, replace(JOINED, at_ms=LEFT.at_ms + 5000), Verdict.OLDER),
        (JOINED, replace(LEFT, at_ms=JOINED.at_ms), Verdict.STORED),
        (JOINED, replace(LEFT, at_ms=JOINED.at_ms - 5000), Verdict.STORED),
        (JOINED, ABORTED, Verdict.STORED),
        (ABORTED, JOINED, Verdict.OLDER),
        (ABORTED, LEFT, Verdict.STORED),
        (LEFT, LEFT, Verdict.DUPLICATE),
        (LEFT, replace(LEFT, at_ms=LEFT.at_ms + 900), Verdict.DUPLICATE),
        (PUBLISHED, PUBLISHED, Verdict.DUPLICATE),
        (PUBLISHED, replace(PUBLISHED, at_ms=PUBLISHED.at_ms + 900), Verdict.STORED),
        (JOINED, replace(PUBLISHED, at_ms=9_000), Verdict.OLDER),
        (JOINED, PUBLISHED, Verdict.STORED),
    ],
)
async def test_the_story_of_one_session_ends_when_it_left_in_whatever_order_it_is_told(
    world: World, first: Witnessed, second: Witnessed, verdict: Verdict
) -> None:
    await world.claim("m1", "alice", "bob")
    await world.pool.witness(first)
    assert (await world.pool.witness(second)).verdict is verdict
    assert await last(world) == stored(second if verdict is Verdict.STORED else first)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (LEFT, REJOINED, Verdict.STORED),
        (REJOINED, LEFT, Verdict.OLDER),
        (REJOINED, replace(LEFT, at_ms=REJOINED.at_ms + 5000), Verdict.OLDER),
        (LEFT, replace(REJOINED, at_ms=LEFT.at_ms - 5000), Verdict.STORED),
        # If LiveKit did not say when a participant joined, the times of the events decide.
        (REJOINED, replace(LEFT, joined_at_ms=0), Verdict.OLDER),
        (replace(REJOINED, joined_at_ms=0), replace(LEFT, at_ms=40_000), Verdict.STORED),
        (REJOINED, replace(LEFT, joined_at_ms=REJOINED.joined_at_ms), Verdict.OLDER),
    ],
)
async def test_of_two_sessions_the_one_that_joined_later_counts(
    world: World, first: Witnessed, second: Witnessed, verdict: Verdict
) -> None:
    await world.claim("m1", "alice", "bob")
    await world.pool.witness(first)
    assert (await world.pool.witness(second)).verdict is verdict
    assert await last(world) == stored(second if verdict is Verdict.STORED else first)


async def test_an_event_about_an_unknown_match_creates_no_ledger(world: World) -> None:
    before = await world.snapshot()
    assert (await world.pool.witness(LEFT)).verdict is Verdict.ABSENT
    assert await world.snapshot() == before


async def test_an_event_about_a_stranger_goes_to_the_stream_only(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    before = await world.snapshot()
    for n in range(20):
        assert (await world.pool.witness(replace(LEFT, identity=f"agent-{n}"))).verdict is Verdict.STRANGER
    assert await world.snapshot() == before
    assert await world.raw("XLEN", world.keys.webhooks(0)) == 20


async def test_a_user_is_known_by_the_identity_that_they_have_on_livekit(world: World) -> None:
    request = replace(claim_request("m1", "alice", "bob"), users=(Claimant("alice", "p-91"), Claimant("bob")))
    await world.pool.claim(request, now_ms=NOW)
    assert (await world.pool.witness(replace(LEFT, identity="p-91"))).verdict is Verdict.STORED
    assert (await world.pool.witness(replace(LEFT, identity="alice"))).verdict is Verdict.STRANGER
    assert set((await world.ledger("m1")).last) == {"p-91"}


@pytest.mark.parametrize("claimed", [True, False])
async def test_an_event_about_a_settled_match_does_not_change_it(world: World, claimed: bool) -> None:
    if claimed:
        await world.claim("m1", "alice", "bob")
    await world.settle("m1", {"alice": IDLE, "bob": IDLE})
    before = await world.snapshot()
    assert (await world.pool.witness(LEFT)).verdict is Verdict.SETTLED
    assert await world.snapshot() == before


@pytest.mark.parametrize("seen", [replace(LEFT, match_uid=""), replace(LEFT, identity="")])
async def test_an_event_about_no_participant_of_ours_goes_to_the_stream_only(world: World, seen: Witnessed) -> None:
    await world.claim("m1", "alice", "bob")
    before = await world.snapshot()
    assert (await world.pool.witness(seen)).verdict is Verdict.UNADDRESSED
    assert await world.snapshot() == before
    assert await world.raw("XLEN", world.keys.webhooks(0)) == 1


async def test_what_others_wrote_into_the_ledgers_field_does_not_stop_an_event(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    for garbage in ("", "not json", "[]", "7", '{"at": "soon"}', '{"at": 1, "joinedAtMs": null}'):
        await world.raw("HSET", world.keys.match("m1"), "last:alice", garbage)
        assert (await world.ledger("m1")).last == {}
        assert (await world.pool.witness(LEFT)).verdict is Verdict.STORED
        assert await last(world) == stored(LEFT)


async def test_the_stream_is_capped(world: World) -> None:
    pool = replace(world.pool, retention=Retention(webhook_entries=100))
    for _ in range(400):
        await pool.witness(replace(LEFT, match_uid=""))
    # "About": Redis drops whole nodes of 100 entries.
    assert 100 <= await world.raw("XLEN", world.keys.webhooks(0)) <= 201


async def test_any_replica_may_witness_for_the_owner_of_any_shard(world: World) -> None:
    await world.claim("m1", "alice", "bob")
    stranger = replace(world.pool, shard=5, epoch=0, incarnation="")
    assert (await stranger.witness(LEFT)).verdict is Verdict.STORED
    assert await world.raw("XLEN", world.keys.webhooks(5)) == 1
