"""Notices and disconnects: each transition is told once, together with it, to those whom it concerns."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.api.livekitserver import DrainType
from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.outbox import Outbox
from controller.clients.redis.replies.match import ClaimOk, SettleOk
from controller.clients.redis.replies.pool import Incarnation, Told
from controller.clients.redis.replies.refusals import Lost, Settled, Stale, Unclaimed
from controller.clients.redis.requests import AdvanceRequest, ClaimMode, SettleRequest
from controller.errors import BackendRefused
from controller.facts.drain import DrainFacts
from controller.facts.ledger import Cause, Destination
from controller.facts.time import milliseconds
from tests.redis.world import NOW, World

BACK = (Destination.BACK, QueuePlace.ORIGINAL)
IDLE = (Destination.IDLE, QueuePlace.NOW)
AGAIN = (Destination.WAITING, QueuePlace.NOW)
BOTH = ("alice", "bob")
LEFT = Cause("Left", "bob", "bob left and was not back after 3 s", '{"code": "Left", "subject": ["bob"]}')
FAILED = Cause("Failed", "", "not Ready within 30 s", '{"code": "TooLate", "subject": []}')


async def advance(world: World, phase: str, state: UserState = UserState.IN_CALL, **fields: Any) -> None:
    request = AdvanceRequest("m1", tuple((who, state) for who in BOTH), phase=phase, **fields)
    await world.pool.advance(request, now_ms=NOW + 5)


async def call(world: World) -> None:
    """alice waited since 1000, bob did not; the Match m1 holds both, and nothing was told yet that counts here."""
    await world.enqueue_at("alice", 1000)
    await world.claim("m1", *BOTH)
    await world.hear()


async def told(world: World, user_id: str) -> list[str]:
    return [notice["type"] for notice in await world.notices(user_id)]


async def event_types(world: World) -> list[str]:
    return [event["type"].removeprefix("dev.roomkeeper.") for event in await world.events()]


# To those who are in a call


async def test_both_learn_of_the_match_that_took_them_once(world: World) -> None:
    for _ in range(2):
        assert isinstance(await world.claim("m1", *BOTH), ClaimOk)
    for who in BOTH:
        (notice,) = await world.notices(who)
        assert notice == {
            "type": "matched",
            "at": str(NOW),
            "match": "m1",
            "matchName": "name-m1",
            "sessionID": "session-m1",
            "seq": str((await world.user(who)).seq),
        }


async def test_a_refused_claim_writes_no_notice(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.hear()
    await world.claim("m2", "carol", "bob")
    heard = await world.hear()
    assert (heard.notices, heard.events) == ([], [])


async def test_a_restored_match_is_not_told_of_again(world: World) -> None:
    await world.lose_everything()
    begun = await world.pool.begin_restore()
    assert isinstance(begun, Incarnation)
    restorer = world.other_owner(incarnation=begun.value)
    assert isinstance(await restorer.claim("m1", *BOTH, mode=ClaimMode.RESTORE, phase="Active"), ClaimOk)
    heard = await world.hear()
    assert (heard.notices, heard.events) == ([], [])


async def test_it_is_told_where_to_join_once_the_match_is_connecting(world: World) -> None:
    await call(world)
    await advance(world, "", UserState.CONNECTING, room="rk-1")
    assert await told(world, "alice") == []
    for _ in range(2):
        await advance(world, "Connecting", UserState.CONNECTING, room="rk-1", url="wss://example.org")
    (notice,) = await world.notices("alice")
    assert (notice["type"], notice["room"], notice["url"]) == ("ready", "rk-1", "wss://example.org")
    assert notice["seq"] == str((await world.user("alice")).seq)


async def test_a_new_address_during_the_call_is_told(world: World) -> None:
    await call(world)
    await advance(world, "Connecting", UserState.CONNECTING, room="rk-1", url="wss://one.example.org")
    await advance(world, "Active", room="rk-1", url="wss://one.example.org")
    assert await told(world, "bob") == ["ready"]
    await advance(world, "Active", room="rk-1", url="wss://two.example.org")
    assert (await world.notices("bob"))[-1]["url"] == "wss://two.example.org"


async def test_no_user_is_called_into_a_closing_room(world: World) -> None:
    await call(world)
    await advance(world, "Terminating", UserState.DISCONNECTING, room="rk-1", url="wss://example.org")
    assert await told(world, "alice") == []


async def test_a_notice_never_holds_a_token(world: World) -> None:
    await call(world)
    await world.pool.put_tokens("m1", dict.fromkeys(BOTH, '{"token": "secret"}'), ttl_seconds=60)
    await advance(world, "Connecting", UserState.CONNECTING, room="rk-1", url="wss://example.org")
    heard = await world.hear()
    assert heard.notices
    assert "secret" not in str(heard)


@pytest.mark.parametrize(
    ("missing", "alice", "bob", "until"),
    [
        ((("bob", NOW + 15_000),), "other", "you", str(NOW + 15_000)),
        ((("alice", None),), "you", "other", ""),
        ((("alice", NOW + 9_000), ("bob", NOW + 3_000)), "both", "both", str(NOW + 3_000)),
    ],
)
async def test_both_learn_who_dropped_out_and_until_when(
    world: World, missing: tuple[tuple[str, int | None], ...], alice: str, bob: str, until: str
) -> None:
    await call(world)
    await advance(world, "Active")
    for _ in range(2):
        await advance(world, "Reconnecting", missing=missing)
    (to_alice,), (to_bob,) = await world.notices("alice"), await world.notices("bob")
    assert (to_alice["type"], to_alice["missing"], to_alice["until"]) == ("reconnecting", alice, until)
    assert (to_bob["missing"], to_bob["until"]) == (bob, until)


async def test_dropping_out_again_is_told_again(world: World) -> None:
    await call(world)
    for _ in range(2):
        await advance(world, "Active")
        await advance(world, "Reconnecting", missing=(("bob", NOW),))
    assert await told(world, "alice") == ["reconnecting", "reconnecting"]
    assert await event_types(world) == ["match.active", "match.reconnecting"] * 2


async def test_users_who_are_missing_are_called_back_once_for_each_time_that_the_room_was_made_again(
    world: World,
) -> None:
    await call(world)
    await advance(world, "Active", room="rk-1", url="wss://example.org")
    await world.hear()
    before = {who: (await world.user(who)).seq for who in BOTH}
    for restored in ("RM_2", "RM_2", "", "RM_2"):
        await advance(world, "Reconnecting", missing=(("bob", NOW),), restored=restored)
    reconnecting, rejoin = await world.notices("bob")
    assert (reconnecting["type"], rejoin["type"]) == ("reconnecting", "rejoin")
    assert (rejoin["room"], rejoin["url"], rejoin["sessionID"]) == ("rk-1", "wss://example.org", "session-m1")
    assert rejoin["seq"] == str((await world.user("bob")).seq) == str(before["bob"] + 1)
    assert await told(world, "alice") == ["reconnecting"]
    assert (await world.user("alice")).seq == before["alice"]
    await advance(world, "Reconnecting", missing=tuple((who, None) for who in BOTH), restored="RM_3")
    assert [await told(world, who) for who in BOTH] == [
        ["reconnecting", "rejoin"],
        ["reconnecting", "rejoin", "rejoin"],
    ]
    assert (await world.ledger("m1")).rejoined == "RM_3"
    events = [event for event in await world.events() if event["type"] == "dev.roomkeeper.match.rejoin"]
    assert [event["data"]["missing"] for event in events] == [["bob"], ["alice", "bob"]]
    ids = [event["id"] for event in await world.events()]
    assert len(set(ids)) == len(ids)


async def test_no_user_is_called_back_into_a_room_in_which_both_are(world: World) -> None:
    await call(world)
    await advance(world, "Active", room="rk-1", url="wss://example.org")
    await world.hear()
    await advance(world, "Active", restored="RM_2")
    heard = await world.hear()
    assert (heard.notices, heard.events) == ([], [])


@pytest.mark.parametrize("phase", ["Creating", "Terminating"])
async def test_no_user_is_called_back_before_they_were_called_or_after_the_end(world: World, phase: str) -> None:
    await call(world)
    await advance(world, phase, room="rk-1", missing=(("bob", NOW),), restored="RM_2")
    assert await told(world, "bob") == []


async def test_the_end_is_told_in_a_sentence_for_each_and_where_they_are(world: World) -> None:
    await call(world)
    for _ in range(2):
        await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, cause=LEFT)
    ended, requeued = await world.notices("alice")
    (to_bob,) = await world.notices("bob")
    assert (ended["type"], ended["state"], ended["notice"]) == ("ended", "WAITING", "The other person left the call.")
    assert (to_bob["type"], to_bob["state"], to_bob["notice"]) == ("ended", "IDLE", "You left the call.")
    assert (ended["reason"], ended["initiator"], ended["match"]) == ("Left", "bob", "m1")
    alice = await world.user("alice")
    assert (requeued["type"], requeued["place"], requeued["reason"]) == ("requeued", str(alice.queued_at_ms), "Left")
    assert ended["seq"] == requeued["seq"] == str(alice.seq)


async def test_what_is_told_of_the_end_is_the_first_cause(world: World) -> None:
    await call(world)
    await world.pool.settle(SettleRequest("m1", "session-m1", (), LEFT, final=False), now_ms=NOW)
    await world.settle("m1", dict.fromkeys(BOTH, IDLE), cause=Cause("Deleted", "", "the Match was deleted", "{}"))
    (notice,) = await world.notices("bob")
    assert (notice["reason"], notice["notice"]) == ("Left", "You left the call.")
    assert [entry["reason"] for entry in await world.disconnects()] == ["Left", "Left"]


async def test_a_cause_that_replaces_the_first_is_what_is_told(world: World) -> None:
    await call(world)
    skipped = Cause("Skipped", "bob", "bob skipped", '{"code": "Skipped", "subject": ["bob"]}')
    for cause, replaces in ((LEFT, ""), (skipped, "Left")):
        request = SettleRequest("m1", "session-m1", (), cause, final=False, replaces=replaces)
        await world.pool.settle(request, now_ms=NOW)
    await world.settle("m1", dict.fromkeys(BOTH, AGAIN), cause=skipped)
    notice = (await world.notices("bob"))[0]
    assert (notice["reason"], notice["notice"]) == (
        "Skipped",
        "The call is over: one of you moved on to the next person.",
    )


@pytest.mark.parametrize("evidence", ["", "{", "[]", '{"subject": "bob"}', '{"subject": null}', '{"subject": [7]}'])
async def test_evidence_without_a_user_gives_both_the_same_sentence(world: World, evidence: str) -> None:
    await call(world)
    cause = Cause("Left", "bob", "bob left", evidence)
    assert isinstance(await world.settle("m1", dict.fromkeys(BOTH, IDLE), cause=cause), SettleOk)
    assert {(await world.notices(who))[0]["notice"] for who in BOTH} == {"The other person left the call."}


async def test_a_match_that_could_not_be_made_is_an_error_and_disconnects_no_user(world: World) -> None:
    await call(world)
    for _ in range(2):
        await world.settle("m1", dict.fromkeys(BOTH, BACK), cause=FAILED)
    error, requeued = await world.notices("alice")
    assert (error["type"], error["code"], error["state"]) == ("error", "MatchFailed", "WAITING")
    assert error["notice"] == "The call could not be set up."
    assert (requeued["type"], requeued["place"]) == ("requeued", "1000")
    assert await told(world, "bob") == ["error"]
    assert await world.disconnects() == []
    assert (await event_types(world))[-1] == "match.failed"


async def test_a_match_deleted_before_it_was_ready_ends_and_disconnects_no_user(world: World) -> None:
    await call(world)
    await world.settle("m1", dict.fromkeys(BOTH, BACK), cause=Cause("Deleted", "", "the Match was deleted", "{}"))
    assert await told(world, "alice") == ["ended", "requeued"]
    assert await world.disconnects() == []
    assert (await event_types(world))[-1] == "match.ended"


async def test_each_user_of_a_match_that_ended_is_a_disconnect(world: World) -> None:
    await call(world)
    for _ in range(2):
        await world.settle("m1", {"alice": AGAIN, "bob": IDLE}, cause=LEFT, now_ms=NOW + 9)
    common = {"match": "m1", "matchName": "name-m1", "reason": "Left", "initiator": "bob", "at": str(NOW + 9)}
    assert await world.disconnects() == [
        {"user": "alice", "targetState": "WAITING", **common},
        {"user": "bob", "targetState": "IDLE", **common},
    ]


async def test_a_user_who_is_released_early_is_told_then_and_not_again(world: World) -> None:
    await call(world)
    await world.settle("m1", {"alice": AGAIN}, final=False)
    assert await told(world, "alice") == ["ended", "requeued"]
    assert await told(world, "bob") == []
    await world.settle("m1", dict.fromkeys(BOTH, AGAIN))
    assert await told(world, "alice") == ["ended", "requeued"]
    assert await told(world, "bob") == ["ended"]
    assert [entry["user"] for entry in await world.disconnects()] == ["alice", "bob"]


async def test_a_user_whom_another_match_holds_gets_no_notice_of_this_one(world: World) -> None:
    await call(world)
    await world.raw("HSET", world.keys.user("alice"), "match", "m2")
    await world.settle("m1", dict.fromkeys(BOTH, AGAIN))
    assert await told(world, "alice") == []
    (ended,) = [event for event in await world.events() if event["type"].endswith("match.ended")]
    assert {user["user"]: user["outcome"] for user in ended["data"]["users"]} == {"alice": "LOST", "bob": "IDLE"}


async def test_a_match_without_a_claim_is_an_event_and_nothing_else(world: World) -> None:
    await world.enqueue("alice")
    await world.hear()
    for _ in range(2):
        await world.settle("m1", dict.fromkeys(BOTH, BACK), cause=FAILED)
    heard = await world.hear()
    assert (heard.notices, heard.disconnects) == ([], [])
    (event,) = heard.events
    assert (event["type"], event["subject"]) == ("dev.roomkeeper.match.failed", "match/name-m1")
    assert (event["data"]["matchName"], event["data"]["sessionID"]) == ("name-m1", "session-m1")
    assert event["data"]["message"] == "not Ready within 30 s"


# To those who wait, and of connections


async def test_leaving_the_queue_is_told_once(world: World) -> None:
    await world.enqueue("alice")
    for _ in range(2):
        await world.gateway.leave("alice")
    (notice,) = await world.notices("alice")
    assert (notice["type"], notice["why"]) == ("left-queue", "Left")
    assert await event_types(world) == ["user.waiting", "user.idle"]


async def test_a_silent_user_is_told_that_they_no_longer_wait(world: World) -> None:
    await world.enqueue("alice")
    await world.gateway.beat("alice")
    beat = int((await world.snapshot()).values["heartbeats"]["alice"])
    for _ in range(2):
        await Inbox(world.pool).expire("alice", beat, now_ms=NOW)
    (notice,) = await world.notices("alice")
    assert (notice["type"], notice["why"], notice["at"]) == ("left-queue", "Silent", str(NOW))
    idle = (await world.events())[-1]
    assert (idle["type"], idle["data"]["reason"]) == ("dev.roomkeeper.user.idle", "Silent")


@pytest.mark.parametrize("by", ["enqueue", "beat"])
async def test_the_connection_that_was_replaced_is_named_once(world: World, by: str) -> None:
    await world.gateway.enqueue("alice", session="old")
    for _ in range(2):
        if by == "beat":
            await world.gateway.beat("alice", session="new", take=True)
        else:
            await world.gateway.enqueue("alice", session="new")
    (notice,) = await world.notices("alice")
    assert (notice["type"], notice["session"], notice["by"]) == ("replaced", "old", "new")
    assert notice["seq"] == str((await world.user("alice")).seq)


async def test_a_connection_that_comes_back_after_a_call_replaces_the_one_before(world: World) -> None:
    await world.gateway.enqueue("alice", session="old")
    await world.gateway.leave("alice")
    await world.hear()
    await world.gateway.enqueue("alice", session="new")
    assert await told(world, "alice") == ["replaced"]


async def test_the_first_connection_and_one_without_a_name_replace_no_connection(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.hear()
    await world.gateway.beat("alice", session="first")
    await world.gateway.beat("alice", session="first", take=True)
    await world.gateway.beat("alice", take=True)
    assert await told(world, "alice") == []


# What is no transition


async def test_a_signal_without_effect_is_told_once_however_often_it_is_read(world: World) -> None:
    outbox = Outbox(world.pool)
    assert await outbox.refused("alice", "7-0", "skip", "over", now_ms=NOW) == Told(1)
    assert await outbox.refused("alice", "7-0", "skip", "over", now_ms=NOW + 5) == Told(0)
    assert await outbox.refused("alice", "8-0", "dance", "malformed", now_ms=NOW) == Told(1)
    first, second = await world.notices("alice")
    assert (first["code"], first["why"], first["about"]) == ("SignalRefused", "over", "7-0")
    assert first["notice"] == "The call is already over."
    assert (second["why"], second["signal"]) == ("malformed", "dance")
    assert await world.events() == []


async def test_a_drain_is_told_once_to_both_and_so_is_its_end(world: World) -> None:
    await call(world)
    deadline = datetime(2026, 1, 31, tzinfo=UTC)
    drain = DrainFacts("eu-1-3", DrainType.MAINTENANCE, "Back soon.", 600, deadline)
    outbox = Outbox(world.pool)
    assert [await outbox.drained("m1", BOTH, drain, now_ms=NOW) for _ in range(2)] == [Told(2), Told(0)]
    assert (await world.ledger("m1")).drain == "eu-1-3"
    assert [await outbox.drained("m1", BOTH, None, now_ms=NOW) for _ in range(2)] == [Told(2), Told(0)]
    assert await outbox.drained("m1", BOTH, drain, now_ms=NOW) == Told(2)
    first, off, again = await world.notices("alice")
    assert (first["type"], first["about"], first["drain"], first["notice"]) == (
        "shutdown",
        "eu-1-3",
        "maintenance",
        "Back soon.",
    )
    assert (first["expectedDowntimeSeconds"], first["deadline"]) == ("600", str(milliseconds(deadline)))
    assert (off["about"], off["drain"], off["notice"], off["deadline"]) == ("eu-1-3", "off", "", "")
    assert again == first


async def test_a_drain_is_told_to_no_user_who_is_not_in_a_call(world: World) -> None:
    outbox, drain = Outbox(world.pool), DrainFacts("eu-1-3", DrainType.GRACEFUL)
    assert await outbox.drained("m1", BOTH, drain, now_ms=NOW) == Unclaimed()
    await call(world)
    await world.raw("HSET", world.keys.user("bob"), "match", "m2")
    assert await outbox.drained("m1", BOTH, drain, now_ms=NOW) == Told(1)
    assert await told(world, "bob") == []
    await world.settle("m1", dict.fromkeys(BOTH, IDLE))
    assert await outbox.drained("m1", BOTH, None, now_ms=NOW) == Settled()


async def test_users_are_told_once_that_the_operator_stops(world: World) -> None:
    outbox = Outbox(world.pool)
    assert await outbox.stops(["alice"], "pod-1", "We are back at ten.", now_ms=NOW) == Told(1)
    assert await outbox.stops(BOTH, "pod-1", "We are back at ten.", now_ms=NOW) == Told(1)
    assert await outbox.stops((), "pod-1", "We are back at ten.", now_ms=NOW) == Told(0)
    (notice,) = await world.notices("alice")
    assert (notice["type"], notice["drain"], notice["notice"]) == ("shutdown", "stop", "We are back at ten.")


async def test_an_owner_that_is_out_of_date_writes_no_notice(world: World) -> None:
    for owner, answer in ((world.other_owner(epoch=0), Stale(1)), (world.other_owner(incarnation="x"), Lost())):
        assert await Outbox(owner.pool).refused("alice", "7-0", "skip", "over", now_ms=NOW) == answer
    assert await world.notices("alice") == []


# How long it is kept, and what if it cannot be written


async def test_a_users_notices_are_the_last_fifty_and_go_after_five_minutes(world: World) -> None:
    await world.gateway.enqueue("alice")
    for n in range(70):
        await world.gateway.enqueue("alice", session=f"tab-{n}")
    notices = await world.notices("alice")
    assert [notice["by"] for notice in notices] == [f"tab-{n}" for n in range(20, 70)]
    assert 290_000 < await world.raw("PTTL", world.keys.notify("alice")) <= 300_000


async def test_a_stream_that_cannot_be_written_leaves_nothing_half_done(world: World) -> None:
    await world.raw("SET", world.keys.notify("bob"), "no stream")
    with pytest.raises(BackendRefused):
        await world.claim("m1", *BOTH)
    reply = await world.claim("m1", *BOTH)
    assert isinstance(reply, ClaimOk)
    assert reply.replay
    with pytest.raises(BackendRefused):
        await world.settle("m1", dict.fromkeys(BOTH, IDLE))
    again = await world.settle("m1", dict.fromkeys(BOTH, IDLE))
    assert isinstance(again, SettleOk)
    assert {user.outcome for user in again.users} == {"IDLE"}
    assert (await world.ledger("m1")).settled


async def test_a_gateway_that_follows_a_stream_hears_of_the_match(world: World) -> None:
    stream = world.keys.notify("alice")
    end = await world.redis.last_id(stream)
    await world.claim("m1", *BOTH)
    (entry,) = await world.redis.read_streams({stream: end}, block_seconds=5)
    assert entry.fields["type"] == "matched"
    assert re.fullmatch(r"\d+-\d+", entry.id)
