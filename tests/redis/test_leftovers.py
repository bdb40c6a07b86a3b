"""A sweep cleans what is left over in a pool, and touches nothing that lives, that is young, or that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.api.match import QueuePlace
from controller.api.names import livekit_room_name
from controller.api.states import UserState
from controller.backends.borrowed_pools import BorrowedPools
from controller.backends.put_right import PutRight
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.mark import BorrowedMark, parse_fence
from controller.clients.redis.records import RoomRecord
from controller.clients.redis.replies.inbox import SignalsDone
from controller.clients.redis.replies.refusals import Settled
from controller.clients.redis.requests import AdvanceRequest
from controller.errors import Backend, BackendRefused, BackendUnavailable, PoolClosed, StateLost
from controller.facts.ledger import Destination
from controller.facts.leftover import Leftover, Remedy, SeenKey, SweepKind
from controller.rules.leftover_judges import Look
from controller.rules.leftovers import LEFTOVERS, FoundBy, judge
from controller.telemetry import metrics
from tests import values as b
from tests.redis.promised import check
from tests.redis.servers import Server
from tests.redis.sweeping import LONG_AGO_MS, Sweeping
from tests.redis.world import Told, World

GONE = "u-gone"
NOW_MS = round(time.time() * 1000)
# The names of tests must be the same in each process.
_FIXED_MS = 1_795_000_000_000


@pytest.fixture
def sweeping(world: World, server: Server) -> Sweeping:
    return Sweeping(world, server)


# One leftover for each row of the table that SCAN finds


async def held_by_a_match_that_is_gone(s: Sweeping) -> None:
    await s.world.enqueue("alice")
    await s.hash(s.world.keys.user("alice"), state="IN_CALL", match=GONE, matchName="gone", since=LONG_AGO_MS, seq=3)


async def waiting_in_no_queue(s: Sweeping) -> None:
    await s.world.enqueue("alice")
    await s.world.raw("ZREM", s.world.keys.queue(), "alice")
    await s.hash(s.world.keys.user("alice"), since=LONG_AGO_MS, queuedAt=LONG_AGO_MS)


async def idle_without_an_end(s: Sweeping) -> None:
    await s.hash(s.world.keys.user("alice"), state="IDLE", match="", since=LONG_AGO_MS)


async def user_without_a_state(s: Sweeping) -> None:
    await s.hash(s.world.keys.user("alice"), seq=3)


async def last_partners(s: Sweeping) -> None:
    await s.world.raw("ZADD", s.world.keys.recent("alice"), LONG_AGO_MS, "bob")
    s.idle(s.world.keys.recent("alice"))


async def a_flag(s: Sweeping, name: str) -> None:
    await s.world.raw("SET", s.world.keys.flag(name, "alice"), "1")
    s.idle(s.world.keys.flag(name, "alice"))


async def record_of_a_room(s: Sweeping) -> None:
    await s.hash(s.world.keys.room("rk-1"), status="active", roomName="gone", lastUpdated=LONG_AGO_MS)


async def tombstone(s: Sweeping) -> None:
    await s.world.raw("SET", s.world.keys.room_deleted("rk-1"), LONG_AGO_MS)
    s.idle(s.world.keys.room_deleted("rk-1"))


async def session(s: Sweeping) -> None:
    await s.world.raw("SET", s.world.keys.session("s-1"), GONE)
    s.idle(s.world.keys.session("s-1"))


async def settled_ledger(s: Sweeping) -> None:
    await s.world.claim(GONE, "alice", "bob")
    await s.world.settle(GONE, dict.fromkeys(("alice", "bob"), (Destination.IDLE, QueuePlace.NOW)))
    await s.world.raw("PERSIST", s.world.keys.match(GONE))


async def ledger_that_is_not_listed(s: Sweeping) -> None:
    for user in ("alice", "bob"):
        await s.world.enqueue(user)
    await s.world.claim(GONE, "alice", "bob", now_ms=LONG_AGO_MS)
    await s.world.raw("ZREM", s.world.keys.live(), GONE)


async def ledger_without_users(s: Sweeping) -> None:
    await s.hash(s.world.keys.match(GONE), phase="Active")


async def tokens(s: Sweeping) -> None:
    await s.hash(s.world.keys.tokens(GONE), alice="{}")
    s.idle(s.world.keys.tokens(GONE))


async def notices(s: Sweeping) -> None:
    await s.world.raw("XADD", s.world.keys.notify("alice"), f"{LONG_AGO_MS}-0", "type", "ended")


Make = Callable[[Sweeping], Awaitable[None]]
U, R, E, M, N = SweepKind.USERS, SweepKind.ROOMS, SweepKind.SESSIONS, SweepKind.MATCHES, SweepKind.NOTICES

SCANNED: dict[str, tuple[Make, SweepKind, Remedy, str]] = {
    "held": (held_by_a_match_that_is_gone, U, Remedy.FREE, "user:<id>"),
    "nowhere": (waiting_in_no_queue, U, Remedy.FREE, "user:<id>"),
    "idle": (idle_without_an_end, U, Remedy.EXPIRE, "user:<id>"),
    "stateless": (user_without_a_state, U, Remedy.EXPIRE, "user:<id>"),
    "recent": (last_partners, U, Remedy.DELETE, "recent:<id>"),
    **{
        name: (lambda s, name=name: a_flag(s, name), U, Remedy.DELETE, f"{name}:<id>")  # type: ignore[misc]
        for name in ("force-disconnect", "skip-in-progress", "pre-skip")
    },
    "room": (record_of_a_room, R, Remedy.DELETE, "room:<LiveKit name>"),
    "tombstone": (tombstone, R, Remedy.DELETE, "room-deleted:<LiveKit name>"),
    "session": (session, E, Remedy.DELETE, "session:<session id>"),
    "settled": (settled_ledger, M, Remedy.EXPIRE, "match:<uid>"),
    "unlisted": (ledger_that_is_not_listed, M, Remedy.SETTLE, "match:<uid>"),
    "empty": (ledger_without_users, M, Remedy.EXPIRE, "match:<uid>"),
    "tokens": (tokens, M, Remedy.DELETE, "tokens:<uid>"),
    "notices": (notices, N, Remedy.DELETE, "notify:<id>"),
}
CASES = [pytest.param(*case, id=name) for name, case in SCANNED.items()]


async def found_by(sweeping: Sweeping, remedy: Remedy) -> list[Leftover]:
    """What is found, without users whom a ledger still holds: they are free once the ledger is settled."""
    return [one for one in await sweeping.find() if one.remedy is remedy]


def test_every_row_of_the_table_has_a_leftover_here() -> None:
    rows = sorted((row.form, row.kind, str(row.remedies[0])) for row in LEFTOVERS if row.found is FoundBy.SCAN)
    assert rows == sorted((form, kind, str(remedy)) for _, kind, remedy, form in SCANNED.values())


@pytest.mark.parametrize(("make", "kind", "remedy", "_form"), CASES)
async def test_a_leftover_of_each_kind_is_found_and_cleaned_once(
    sweeping: Sweeping, make: Make, kind: SweepKind, remedy: Remedy, _form: str
) -> None:
    await make(sweeping)
    found = await found_by(sweeping, remedy)
    assert [(one.kind, one.remedy) for one in found] == [(kind, remedy)]
    assert found[0].why
    assert await sweeping.clean(found) == [True]
    assert await sweeping.find() == []
    assert await sweeping.clean(found) == [False], "the same again changes nothing"
    check(await sweeping.world.hear())


@pytest.mark.parametrize(("make", "kind", "remedy", "_form"), CASES)
async def test_a_leftover_that_is_in_use_again_when_it_is_cleaned_stays(
    sweeping: Sweeping, make: Make, kind: SweepKind, remedy: Remedy, _form: str
) -> None:
    """Between the look and the write the same Match, or another client, has written the key again."""
    await make(sweeping)
    (found,) = await found_by(sweeping, remedy)
    key = found.key or sweeping.world.keys.match(GONE)
    if remedy is Remedy.SETTLE:
        sweeping.objects[f"name-{GONE}"] = GONE
    elif remedy is Remedy.FREE:
        await sweeping.world.raw("HSET", key, "since", LONG_AGO_MS + 1)
    else:
        await sweeping.world.raw("PEXPIRE", key, 60_000)
    before = await sweeping.world.snapshot()
    assert await sweeping.clean([found]) == [False]
    assert await sweeping.world.snapshot() == before


@pytest.mark.parametrize(("make", "kind", "remedy", "_form"), CASES)
async def test_a_sweep_that_has_lost_its_lease_or_its_redis_writes_nothing(
    sweeping: Sweeping, make: Make, kind: SweepKind, remedy: Remedy, _form: str
) -> None:
    await make(sweeping)
    found = await found_by(sweeping, remedy)
    before = await sweeping.world.snapshot()
    for changes in ({"epoch": 0}, {"incarnation": "another"}):
        sweeping.pools.pool = sweeping.world.other_owner(**changes).pool
        with pytest.raises(StateLost):
            await sweeping.clean(found)
        assert await sweeping.world.snapshot() == before


@pytest.mark.parametrize(("make", "kind", "remedy", "_form"), CASES)
async def test_nothing_of_a_pool_or_a_cluster_that_we_do_not_serve_is_found(
    world: World, server: Server, make: Make, kind: SweepKind, remedy: Remedy, _form: str
) -> None:
    await make(Sweeping(world, server))
    assert await Sweeping(world, server, namespaces=("another",)).find() == []
    other = Sweeping(replace(world, keys=replace(world.keys, cluster_id="other")), server)
    assert await other.find() == []


# What lives


async def a_pool_full_of_life(world: World, livekit_name: str) -> None:
    """Users in all states, two calls, a room, and tokens."""
    for user in ("alice", "bob", "carol", "dan", "erin", "frank", "grace"):
        await world.enqueue(user)
    await world.claim("u1", "alice", "bob", now_ms=LONG_AGO_MS)
    both = (("alice", UserState.IN_CALL), ("bob", UserState.IN_CALL))
    await world.pool.advance(AdvanceRequest("u1", both, phase="Active", room=livekit_name, url="u"), now_ms=LONG_AGO_MS)
    await world.claim("u2", "carol", "dan", now_ms=LONG_AGO_MS)
    await world.settle("u2", {"carol": (Destination.WAITING, QueuePlace.NOW)}, final=False)
    await world.gateway.reserve("u3", ("erin", "frank"), ttl_seconds=60)
    await world.pool.put_tokens("u1", {"alice": "{}"}, ttl_seconds=60)
    await world.pool.write_room_record(RoomRecord(livekit_name, "room", "active", LONG_AGO_MS, 2), now_ms=LONG_AGO_MS)


async def test_a_sweep_touches_nothing_that_a_live_match_holds_however_old_it_is(world: World, server: Server) -> None:
    livekit_name = livekit_room_name(world.keys.cluster_id, world.keys.namespace, "u-room")
    await a_pool_full_of_life(world, livekit_name)
    for name in (world.keys.room(livekit_name), world.keys.tokens("u1")):
        await world.raw("PERSIST", name)
    # As with `--force`: nothing is too young.
    sweeping = Sweeping(world, server, max_age_seconds=0, young_seconds=0)
    for number in (1, 2):
        sweeping.matches.offer(b.active(name=f"name-u{number}", uid=f"u{number}").manifest())
    sweeping.objects["room"] = "u-room"
    before = await world.snapshot()
    assert [one.kind for one in await sweeping.sweep()] == [SweepKind.ROOMS]
    assert await world.snapshot() == before


async def test_a_match_that_kubernetes_still_has_keeps_what_is_its_own_although_no_cache_knows_it(
    sweeping: Sweeping,
) -> None:
    await held_by_a_match_that_is_gone(sweeping)
    sweeping.objects["gone"] = GONE
    before = await sweeping.world.snapshot()
    found = await sweeping.find()
    assert await sweeping.clean(found) == [False]
    sweeping.objects["gone"] = BackendUnavailable(Backend.KUBERNETES, "get", "no answer")
    with pytest.raises(BackendUnavailable):
        await sweeping.clean(found)
    assert await sweeping.world.snapshot() == before


async def test_what_a_ledger_still_holds_stays_until_the_ledger_is_settled(sweeping: Sweeping) -> None:
    """Kubernetes knows no such Match, so only the script can tell."""
    world = sweeping.world
    await world.claim(GONE, "alice", "bob", now_ms=LONG_AGO_MS)
    await tokens(sweeping)
    await session(sweeping)
    found = [one for one in await sweeping.find() if one.remedy is not Remedy.SETTLE]
    assert {one.kind for one in found} == {M, E}
    await world.raw("ZREM", world.keys.live(), GONE)
    found += [one for one in await sweeping.find() if one.remedy is Remedy.FREE]
    assert len(found) == 4
    before = await world.snapshot()
    assert set(await sweeping.clean(found)) == {False}
    assert await world.snapshot() == before
    await world.raw("ZADD", world.keys.live(), LONG_AGO_MS, GONE)
    await world.raw("DEL", world.keys.match(GONE))
    assert set(await sweeping.clean(found)) == {False}, "it is listed as live"


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("held a moment ago", {"state": "CONNECTING", "match": GONE, "since": "now"}),
        ("idle since an hour", {"state": "IDLE", "match": "", "since": NOW_MS - 3_600_000}),
    ],
)
async def test_what_is_young_stays(sweeping: Sweeping, case: str, change: dict[str, Any]) -> None:
    if change["since"] == "now":
        change |= {"since": round(time.time() * 1000)}
    await sweeping.hash(sweeping.world.keys.user("alice"), **change)
    assert await sweeping.find() == [], case


async def test_keys_with_an_end_bans_and_streams_are_never_looked_at(sweeping: Sweeping) -> None:
    keys, raw = sweeping.world.keys, sweeping.world.raw
    await raw("SET", keys.blocked("alice"), "abuse")
    await raw("SET", keys.session("s"), GONE, "PX", 60_000)
    await raw("XADD", keys.events(), "1-0", "event", "{}")
    await raw("SET", f"{keys.prefix}of-an-application", "1")
    sweeping.idle(keys.blocked("alice"), keys.session("s"), f"{keys.prefix}of-an-application")
    assert await sweeping.find() == []


# Users who are put right


async def test_a_user_of_a_call_that_is_gone_waits_again_if_they_still_beat(sweeping: Sweeping) -> None:
    world = sweeping.world
    await held_by_a_match_that_is_gone(sweeping)
    await world.gateway.beat("alice")
    await sweeping.sweep()
    user = await world.user("alice")
    assert (user.state, user.match, user.reason) == ("WAITING", "", "Deleted")
    assert await world.queue() == {"alice": user.queued_at_ms}
    assert [entry["type"] for entry in await world.notices("alice")] == ["ended", "requeued"]


async def test_a_user_of_a_call_that_is_gone_is_idle_if_they_no_longer_beat_or_are_blocked(sweeping: Sweeping) -> None:
    world = sweeping.world
    for who in ("alice", "bob"):
        await world.enqueue(who)
        await world.raw("ZREM", world.keys.queue(), who)
        await sweeping.hash(world.keys.user(who), state="CONNECTING", match=GONE, matchName="gone", since=LONG_AGO_MS)
    await world.raw("ZADD", world.keys.heartbeats(), NOW_MS - 600_000, "alice")
    await world.raw("SET", world.keys.blocked("bob"), "abuse")
    await sweeping.sweep()
    for who in ("alice", "bob"):
        assert (await world.user(who)).state == "IDLE"
        assert await world.raw("PTTL", world.keys.user(who)) > 0
    assert await world.queue() == {}


async def test_a_user_whom_the_queue_has_lost_waits_again_in_their_place(sweeping: Sweeping) -> None:
    world = sweeping.world
    await waiting_in_no_queue(sweeping)
    before = await world.user("alice")
    await sweeping.sweep()
    assert await world.queue() == {"alice": LONG_AGO_MS}
    assert (await world.user("alice")).epoch == before.epoch, "nothing has changed for the user"


async def test_users_who_are_put_right_get_no_notice_if_the_settings_say_so(world: World, server: Server) -> None:
    sweeping = Sweeping(world, server, tells=False)
    await held_by_a_match_that_is_gone(sweeping)
    await sweeping.sweep()
    assert (await world.user("alice")).match == ""
    assert await world.notices("alice") == []


async def test_users_of_a_ledger_that_no_list_names_are_settled_as_after_a_deletion(sweeping: Sweeping) -> None:
    await ledger_that_is_not_listed(sweeping)
    await sweeping.sweep()
    ledger = await sweeping.world.ledger(GONE)
    assert ledger.settled
    assert ledger.end is not None
    assert ledger.end.cause.reason == "Deleted"
    assert set(await sweeping.world.queue()) == {"alice", "bob"}


@pytest.mark.parametrize("field", ["q:alice", "createdAt", "endAt"])
async def test_users_of_a_match_that_is_gone_are_free_although_its_ledger_makes_no_sense(
    sweeping: Sweeping, field: str
) -> None:
    """The same holds for a Match that Kubernetes still has: it is left alone."""
    world = sweeping.world
    for user in ("alice", "bob"):
        await world.enqueue(user)
    await world.claim(GONE, "alice", "bob")
    await world.raw("HSET", world.keys.match(GONE), field, "nonsense")
    ledger_name = (await world.raw("HGET", world.keys.match(GONE), "matchName")) or ""
    sweeping.objects[ledger_name] = GONE
    await sweeping.settle_lists()
    assert (await world.user("alice")).match == GONE
    sweeping.objects.clear()
    await sweeping.settle_lists()
    assert (await world.ledger(GONE)).settled
    assert set(await world.queue()) == {"alice", "bob"}
    assert [(await world.user(user)).match for user in ("alice", "bob")] == ["", ""]


@pytest.mark.parametrize("damage", ["a place", "no ledger at all"])
@pytest.mark.parametrize("answer", ["it lives", "no answer", "refused"])
async def test_a_damaged_ledger_stays_as_it_is_until_kubernetes_says_that_its_match_is_gone(
    sweeping: Sweeping, damage: str, answer: str
) -> None:
    """The operator of a live Match knows the places; a sweep whose cache does not have the Match would lose them."""
    world = sweeping.world
    await world.enqueue_at("alice", 1000)
    await world.claim(GONE, "alice", "bob")
    if damage == "a place":
        await world.raw("HSET", world.keys.match(GONE), "q:alice", "nonsense")
    else:
        await world.raw("SET", world.keys.match(GONE), "nonsense")
    words: dict[str, Any] = {
        "no answer": BackendUnavailable(Backend.KUBERNETES, "get", "no answer"),
        "refused": BackendRefused(Backend.KUBERNETES, "get", "forbidden"),
    }
    sweeping.objects[f"name-{GONE}"] = words.get(answer, GONE)
    sweeping.listed = words.get(answer, {GONE})
    before = await world.snapshot()
    for sweep in (sweeping.settle_lists, sweeping.sweep):
        with contextlib.suppress(BackendUnavailable):
            await sweep()
    assert await world.snapshot() == before


# What lists name


async def test_a_reservation_for_which_no_match_came_is_over_at_its_deadline(sweeping: Sweeping) -> None:
    world = sweeping.world
    place = await world.enqueue_at("alice", LONG_AGO_MS)
    await world.enqueue("bob")
    await world.gateway.reserve("never", ("alice",), ttl_seconds=60)
    await world.gateway.reserve("soon", ("bob",), ttl_seconds=60)
    await world.raw("ZADD", world.keys.reserved(), NOW_MS - 1, "alice")
    (found,) = await sweeping.find()
    assert (found.kind, found.remedy, found.id) == (SweepKind.USERS, Remedy.RELEASE, "alice")
    assert await sweeping.clean([found, found]) == [True, False]
    assert await world.queue() == {"alice": place}


async def test_old_beats_of_users_who_are_idle_or_unknown_go_and_those_of_users_in_calls_stay(
    sweeping: Sweeping,
) -> None:
    world = sweeping.world
    for who in ("alice", "bob", "carol"):
        await world.enqueue(who)
    await world.claim("u1", "alice", "bob")
    sweeping.matches.offer(b.active(name="name-u1", uid="u1").manifest())
    for who in ("alice", "carol", "nobody"):
        await world.raw("ZADD", world.keys.heartbeats(), LONG_AGO_MS, who)
    found = await sweeping.find()
    assert {(one.kind, one.id) for one in found} == {
        (SweepKind.HEARTBEATS, who) for who in ("alice", "carol", "nobody")
    }
    assert sorted(await sweeping.clean(found)) == [False, True, True]
    assert set((await world.snapshot()).values["heartbeats"]) == {"alice", "bob"}
    assert (await world.user("carol")).state == "IDLE"


async def a_call_whose_ledger_is_lost(s: Sweeping, uid: str = GONE, *users: str) -> None:
    """alice waited since 1000 and bob was invited; Redis has lost the ledger, or another client has written over it."""
    await s.world.enqueue_at("alice", 1000)
    await s.world.claim(uid, "alice", "bob")
    await s.world.raw("DEL", s.world.keys.match(uid))


@pytest.mark.parametrize("left", ["nothing", "a string", "a hash of another client"])
async def test_users_of_a_match_that_is_gone_are_free_by_their_own_records_if_the_ledger_is_lost(
    sweeping: Sweeping, left: str
) -> None:
    world = sweeping.world
    await a_call_whose_ledger_is_lost(sweeping)
    await world.enqueue_at("carol", 3000)
    await world.claim("u-alive", "carol", "dan")
    sweeping.matches.offer(b.active(name="alive", uid="u-alive").manifest())
    sweeping.listed = {"u-alive"}
    match left:
        case "a string":
            await world.raw("SET", world.keys.match(GONE), "x")
        case "a hash of another client":
            await world.raw("HSET", world.keys.match(GONE), "phase", "Active")
    before = await world.snapshot()
    await sweeping.settle_lists()
    alice, bob = await world.user("alice"), await world.user("bob")
    assert (alice.state, alice.match, alice.queued_at_ms) == (UserState.WAITING, "", 1000)
    assert (bob.state, bob.match) == (UserState.IDLE, "")
    assert await world.queue() == {"alice": 1000}
    after = await world.snapshot()
    assert set(after.values["live"]) == {"u-alive"}
    untouched = ("user:carol", "user:dan", "match:u-alive")
    assert [after.values[key] for key in untouched] == [before.values[key] for key in untouched]
    for user in ("alice", "bob"):
        notices = await world.raw("XRANGE", world.keys.notify(user), "-", "+")
        assert "ended" in str(notices[-2:]), "they are told"
    late = await world.claim(GONE, "alice", "bob")
    assert isinstance(late, Settled), "a claim that is still on its way takes no user"


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_a_sweep_by_hand_frees_users_whose_ledger_is_lost(sweeping: Sweeping, is_damaged: bool) -> None:
    await a_call_whose_ledger_is_lost(sweeping)
    if is_damaged:
        await sweeping.world.raw("SET", sweeping.world.keys.match(GONE), "x")
    (found,) = await found_by(sweeping, Remedy.SETTLE)
    assert (found.kind, found.id) == (SweepKind.MATCHES, GONE)
    assert await sweeping.clean([found, found]) == [True, False]
    assert {(await sweeping.world.user(user)).match for user in ("alice", "bob")} == {""}


async def test_a_place_that_no_record_tells_is_the_last_one_and_is_said(sweeping: Sweeping) -> None:
    world = sweeping.world
    await a_call_whose_ledger_is_lost(sweeping)
    await world.raw("HSET", world.keys.user("alice"), "queuedAt", "nan")
    last = await world.enqueue("carol")
    counted = metrics.put_right.labels(PutRight.PLACE_UNKNOWN)._value
    before = counted.get()
    with capture_logs() as logs:
        await sweeping.settle_lists()
    assert (await world.queue())["alice"] >= last
    (said,) = [entry for entry in logs if "ledger is lost" in entry["event"]]
    assert (said["uid"], said["users"], said["places_unknown"]) == (GONE, 2, 1)
    assert counted.get() == before + 1


@pytest.mark.parametrize("place", [" 5", "5 ", "0x10", "1e400", "inf"])
async def test_a_place_that_redis_does_not_read_as_lua_does_holds_no_user(sweeping: Sweeping, place: str) -> None:
    world = sweeping.world
    await a_call_whose_ledger_is_lost(sweeping)
    await world.raw("HSET", world.keys.user("alice"), "queuedAt", place)
    await sweeping.settle_lists()
    alice = await world.user("alice")
    assert (alice.state, alice.match, list(await world.queue())) == (UserState.WAITING, "", ["alice"])
    assert "live" not in (await world.snapshot()).values


@pytest.mark.parametrize("odd", ["a member of live without a name", "a record of a user without an id"])
async def test_a_key_without_a_name_costs_no_other_match(sweeping: Sweeping, odd: str) -> None:
    world = sweeping.world
    await a_call_whose_ledger_is_lost(sweeping)
    await world.enqueue_at("carol", 3000)
    if odd == "a member of live without a name":
        await world.raw("ZADD", world.keys.live(), 5, "")
    else:
        await world.raw("HSET", world.keys.user(""), "match", GONE, "state", "IN_CALL", "queuedAt", "77")
    await sweeping.settle_lists()
    assert {(await world.user(user)).match for user in ("alice", "bob")} == {""}
    assert await world.queue() == {"alice": 1000, "carol": 3000}


@pytest.mark.parametrize("is_ledger_lost", [True, False])
async def test_a_user_of_a_match_that_is_gone_does_not_wait_while_they_are_in_another_call(
    sweeping: Sweeping, is_ledger_lost: bool
) -> None:
    """An older Redis gives alice to a Match that is gone. It does not know the call that she is in."""
    world = sweeping.world
    await world.enqueue_at("alice", 1000)
    await world.claim(GONE, "alice", "carol")
    if is_ledger_lost:
        await world.raw("DEL", world.keys.match(GONE))
    new = b.active(name="new", uid="u-new").manifest()
    new["metadata"]["namespace"] = world.keys.namespace
    sweeping.matches.offer(new)
    sweeping.listed = {"u-new"}
    await sweeping.settle_lists()
    assert await world.queue() == {}, "or another Match takes her"
    assert [one.metadata.uid for one in sweeping.woken] == ["u-new"], "its own look restores it"
    assert await sweeping.restorer.restore_all(world.keys.namespace, world.pool, sweeping.pools.check) == 1
    assert {(await world.user(user)).match for user in ("alice", "bob")} == {"u-new"}


@pytest.mark.parametrize("why", ["it lives", "Kubernetes does not answer", "a row of the list cannot be read"])
async def test_users_stay_held_while_kubernetes_does_not_say_that_their_match_is_gone(
    sweeping: Sweeping, why: str
) -> None:
    await a_call_whose_ledger_is_lost(sweeping)
    sweeping.listed = {
        "it lives": {GONE},
        "Kubernetes does not answer": BackendUnavailable(Backend.KUBERNETES, "list", "no answer"),
        "a row of the list cannot be read": BackendRefused(Backend.KUBERNETES, "list", "a row makes no sense"),
    }[why]
    before = await sweeping.world.snapshot()
    with contextlib.suppress(BackendUnavailable):
        await sweeping.settle_lists()
    assert await sweeping.world.snapshot() == before


async def test_a_match_that_is_gone_and_holds_no_user_is_no_longer_listed(sweeping: Sweeping) -> None:
    world = sweeping.world
    for uid, at in ((GONE, LONG_AGO_MS), ("u-young", NOW_MS), ("u-alive", LONG_AGO_MS)):
        await world.raw("ZADD", world.keys.live(), at, uid)
    sweeping.matches.offer(b.active(name="alive", uid="u-alive").manifest())
    sweeping.listed = {"u-alive"}
    found = await sweeping.find()
    assert {(one.remedy, one.id) for one in found} == {(Remedy.SETTLE, GONE), (Remedy.SETTLE, "u-young")}
    assert await sweeping.clean([*found, *found]) == [True, True, False, False]
    assert set((await world.snapshot()).values["live"]) == {"u-alive"}


@pytest.mark.parametrize("object_", ["gone", "over"])
async def test_a_match_that_is_settled_is_taken_off_the_list_and_nothing_is_told_again(
    sweeping: Sweeping, object_: str
) -> None:
    """Nothing of ours lists it: another client did. Each sweep would look at it until its ledger ends, after a day."""
    world = sweeping.world
    await world.enqueue("alice")
    await world.claim(GONE, "alice", "bob")
    await world.settle(GONE, dict.fromkeys(("alice", "bob"), (Destination.WAITING, QueuePlace.ORIGINAL)))
    if object_ == "over":
        sweeping.matches.offer(b.active(name="over", uid=GONE, status=b.OVER).manifest())
    await world.hear()
    before = await world.snapshot()
    await world.raw("ZADD", world.keys.live(), NOW_MS, GONE)
    await sweeping.settle_lists()
    assert await world.snapshot() == before
    assert await world.hear() == Told([], [], [])


async def test_users_of_a_match_that_is_over_are_free_although_its_ledger_is_lost(sweeping: Sweeping) -> None:
    await a_call_whose_ledger_is_lost(sweeping)
    sweeping.matches.offer(b.active(name="over", uid=GONE, status=b.OVER).manifest())
    await sweeping.settle_lists()
    assert {(await sweeping.world.user(user)).match for user in ("alice", "bob")} == {""}


async def test_many_users_of_others_are_looked_at_for_the_users_of_one_match(sweeping: Sweeping) -> None:
    world = sweeping.world
    await a_call_whose_ledger_is_lost(sweeping)
    for n in range(0, 3000, 100):
        users = [f"u{n + i}" for i in range(100)]
        await asyncio.gather(*(world.raw("HSET", world.keys.user(user), "state", "IDLE") for user in users))
    await world.raw("SET", world.keys.user("odd"), "a string")
    await sweeping.settle_lists()
    assert {(await world.user(user)).match for user in ("alice", "bob")} == {""}


async def test_one_id_can_be_asked_for(sweeping: Sweeping) -> None:
    await idle_without_an_end(sweeping)
    await notices(sweeping)
    namespace = sweeping.world.keys.namespace
    (found,) = await sweeping.finder.named(namespace, SweepKind.USERS, "alice")
    assert (found.kind, found.id) == (SweepKind.USERS, "alice")
    assert await sweeping.finder.named(namespace, SweepKind.USERS, "bob") == []


async def test_a_user_whose_reservation_has_no_deadline_waits_again_in_the_place_of_the_reservation(
    sweeping: Sweeping,
) -> None:
    world = sweeping.world
    await world.enqueue_at("alice", LONG_AGO_MS)
    await world.enqueue("bob")
    await world.gateway.reserve("m", ("alice", "bob"), ttl_seconds=60)
    await sweeping.hash(world.keys.user("alice"), since=LONG_AGO_MS)
    await world.raw("ZREM", world.keys.reserved(), "alice")
    found = await sweeping.find()
    assert [(one.id, one.remedy) for one in found] == [("alice", Remedy.FREE)]
    assert await sweeping.clean(found) == [True]
    assert await world.raw("ZSCORE", world.keys.queue(), "alice") == str(LONG_AGO_MS)
    assert await world.raw("HEXISTS", world.keys.reservations(), "alice") == 0
    assert await world.raw("HEXISTS", world.keys.reservations(), "bob") == 1


@pytest.mark.parametrize(
    ("since", "idle_seconds", "is_found"),
    [
        ("", 0, False),
        ("", 61, True),
        ("nonsense", 61, True),
        (str(_FIXED_MS + 7 * 86_400_000), 61, True),
        (str(_FIXED_MS + 5_000), 61, False),
        ("", None, True),
    ],
)
def test_a_record_without_a_moment_is_young_while_it_is_in_use(
    since: str, idle_seconds: int | None, is_found: bool
) -> None:
    fields = {"state": "IN_CALL", "match": GONE, "since": since}
    seen = SeenKey("key", "user:", "alice", "hash", idle_seconds, fields=fields)
    look = Look("calls", _FIXED_MS, 86_400, lambda _uid: False)
    assert (judge(seen, look) is not None) is is_found


async def test_a_user_who_got_a_state_meanwhile_keeps_a_record_without_an_end(sweeping: Sweeping) -> None:
    world = sweeping.world
    await user_without_a_state(sweeping)
    found = await sweeping.find()
    await world.enqueue("alice")
    assert await sweeping.clean(found) == [False]
    assert await world.raw("PTTL", world.keys.user("alice")) == -1


async def test_the_record_of_a_room_that_was_written_meanwhile_keeps_no_end(sweeping: Sweeping) -> None:
    world = sweeping.world
    await sweeping.hash(world.keys.room("rk-1"), status="active")
    found = await sweeping.find()
    await sweeping.hash(world.keys.room("rk-1"), lastUpdated=NOW_MS)
    assert await sweeping.clean(found) == [False]
    assert await world.raw("PTTL", world.keys.room("rk-1")) == -1


async def test_a_room_on_a_server_that_is_no_longer_configured_is_named(sweeping: Sweeping) -> None:
    room = Leftover(SweepKind.ROOMS, Remedy.CLOSE, "calls", "rk-1", "its Room is gone", key="paris", name="room")
    with pytest.raises(BackendUnavailable, match="the LiveKit server paris is not configured, so its room rk-1"):
        await sweeping.clean([room])


# A sweep that holds no lease


async def test_a_sweep_by_hand_is_refused_once_another_owner_has_come_or_redis_went_back(sweeping: Sweeping) -> None:
    world = sweeping.world
    await idle_without_an_end(sweeping)
    found = await sweeping.find()
    fence = await world.raw("GET", world.keys.fence(0))
    epoch, number = parse_fence(fence)
    borrowed = replace(world.pool, epoch=epoch, mark=BorrowedMark(number))
    sweeping.pools.pool = borrowed
    for other in (f"{epoch + 1}:1", f"{epoch}:{number - 1}"):
        await world.raw("SET", world.keys.fence(0), other)
        with pytest.raises(StateLost):
            await sweeping.clean(found)
    await world.raw("SET", world.keys.fence(0), fence)
    assert await sweeping.clean(found) == [True]
    assert await world.raw("GET", world.keys.fence(0)) == fence, "it counts nothing up"


async def test_a_sweep_by_hand_leaves_pools_alone_that_an_operator_has_to_open_or_restore_first(world: World) -> None:
    foreign: dict[str, str] = {}
    pools = BorrowedPools(world.redis, world.keys.cluster_id, lambda namespace: foreign.get(namespace, ""))
    with pytest.raises(PoolClosed, match="no operator has opened the pool of namespace never-opened"):
        await pools.get("never-opened")
    foreign[world.keys.namespace] = "another installation serves it"
    with pytest.raises(PoolClosed, match="another installation serves it"):
        await pools.get(world.keys.namespace)
    foreign.clear()
    incarnation = await world.raw("GET", world.keys.incarnation())
    await world.raw("SET", world.keys.incarnation(), f"restoring:{incarnation}")
    with pytest.raises(StateLost, match="an operator restores"):
        await pools.get(world.keys.namespace)
    await world.raw("SET", world.keys.incarnation(), incarnation)
    bound = await pools.get(world.keys.namespace)
    assert (bound.epoch, bound.incarnation) == (world.pool.epoch, incarnation)


async def test_the_operator_goes_on_after_a_sweep_by_hand(sweeping: Sweeping) -> None:
    world = sweeping.world
    await idle_without_an_end(sweeping)
    number = parse_fence(await world.raw("GET", world.keys.fence(0)))[1]
    sweeping.pools.pool = replace(world.pool, mark=BorrowedMark(number))
    await sweeping.sweep()
    await world.enqueue("bob")
    assert isinstance(await Inbox(world.pool).set_signals_done("1-0"), SignalsDone)
