"""signal, silent, expire: what gateways and older clients say of a call, and who has fallen silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.match import QueuePlace, TerminationAction
from controller.api.states import UserState
from controller.clients.redis.inbox import Flag, Inbox, pools_with_people
from controller.clients.redis.replies.inbox import Expiry, Ignored, Noted, ScanCursor, SignalsDone, Silence
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.requests import Signal, SignalKind
from controller.facts.ledger import Destination, Wish
from tests.redis.world import NOW, World

BACK = (Destination.BACK, QueuePlace.ORIGINAL)
BOTH = ("alice", "bob")
SKIP = Signal("m1", "alice", SignalKind.SKIP, by="alice", reason="next")
PRE_SKIP = Signal("m1", "alice", SignalKind.SKIP, via="pre-skip", flag_value="1")
IDLE_MS = 3_600_000


async def silent(world: World, cursor: ScanCursor | None = None, *, limit: int = 1000) -> Silence:
    return await Inbox(world.pool).silent(cursor or ScanCursor(), for_seconds=90, late_after_seconds=60, limit=limit)


async def last_beats(world: World, **at_ms: int) -> None:
    await world.raw("ZADD", world.keys.heartbeats(), *(word for who, at in at_ms.items() for word in (at, who)))


async def server_ms(world: World) -> int:
    seconds, micros = await world.raw("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def taken_at(world: World) -> int:
    return (await world.ledger("m1")).taken_at_ms


# signal


@pytest.mark.parametrize("kind", [SignalKind.SKIP, SignalKind.END, SignalKind.DISCONNECT])
async def test_a_wish_is_in_the_ledger_with_everything_that_was_said(world: World, kind: SignalKind) -> None:
    await world.claim("m1", *BOTH)
    reply = await Inbox(world.pool).signal(replace(SKIP, kind=kind), now_ms=NOW + 5)
    assert reply == Noted("name-m1", replay=False)
    assert (await world.ledger("m1")).wish == Wish(
        TerminationAction(kind.capitalize()), "alice", "alice", "next", "signal", NOW + 5
    )


async def test_of_several_wishes_the_first_stays(world: World) -> None:
    await world.claim("m1", *BOTH)
    inbox = Inbox(world.pool)
    await inbox.signal(SKIP, now_ms=NOW)
    before = await world.snapshot()
    for later in (SKIP, Signal("m1", "bob", SignalKind.END), Signal("m1", "alice", SignalKind.DISCONNECT)):
        assert await inbox.signal(later, now_ms=NOW + 1) == Noted("name-m1", replay=True)
    assert await world.snapshot() == before


async def test_a_suspicion_and_a_wish_for_a_token_keep_the_latest_moment_and_want_no_end(world: World) -> None:
    await world.claim("m1", *BOTH)
    inbox = Inbox(world.pool)
    for now_ms in (NOW, NOW + 5):
        for kind in (SignalKind.SUSPECT, SignalKind.TOKEN):
            reply = await inbox.signal(Signal("m1", "bob", kind), now_ms=now_ms)
            assert reply == Noted("name-m1", replay=False)
    ledger = await world.ledger("m1")
    assert (ledger.suspected_at_ms, ledger.tokens_asked_at_ms) == ({"bob": NOW + 5}, NOW + 5)
    assert ledger.wish is None


async def test_a_signal_about_a_match_that_holds_no_user_is_ignored(world: World) -> None:
    before = await world.snapshot()
    assert await Inbox(world.pool).signal(SKIP, now_ms=NOW) is Ignored.UNKNOWN
    assert await world.snapshot() == before


async def test_a_signal_that_comes_after_the_end_is_ignored(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.settle("m1", dict.fromkeys(BOTH, BACK))
    before = await world.snapshot()
    assert await Inbox(world.pool).signal(SKIP, now_ms=NOW) is Ignored.OVER
    assert await world.snapshot() == before


async def test_no_user_speaks_for_a_match_of_others(world: World) -> None:
    await world.claim("m1", *BOTH)
    assert await Inbox(world.pool).signal(replace(SKIP, user="mallory"), now_ms=NOW) is Ignored.STRANGER
    assert (await world.ledger("m1")).wish is None


async def test_a_user_who_was_released_early_can_no_longer_end_the_call_of_the_other(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.settle("m1", {"alice": BACK}, final=False)
    assert await Inbox(world.pool).signal(SKIP, now_ms=NOW) is Ignored.ELSEWHERE


async def test_a_signal_that_names_no_match_counts_only_if_it_was_sent_after_the_call_began(world: World) -> None:
    await world.claim("m1", *BOTH)
    began = await taken_at(world)
    inbox = Inbox(world.pool)
    assert await inbox.signal(replace(SKIP, sent_ms=began - 1), now_ms=NOW) is Ignored.OLDER
    assert await inbox.signal(replace(SKIP, sent_ms=began), now_ms=NOW) == Noted("name-m1", replay=False)


async def test_a_stream_with_an_id_in_the_future_begins_again_once_it_is_handled(world: World) -> None:
    inbox, signals = Inbox(world.pool), world.keys.signals()
    future = f"{await server_ms(world) + 3_600_000}-0"
    await world.raw("XADD", signals, future, "type", "skip", "user", "alice")
    later = await world.raw("XADD", signals, "*", "type", "skip", "user", "bob")
    assert await inbox.set_signals_done(future) == SignalsDone(future)
    assert await inbox.set_signals_done(later) == SignalsDone("0-0")
    assert await inbox.signals_done() == "0-0"
    sent = await world.raw("XADD", signals, "*", "type", "skip", "user", "bob")
    assert int(sent.partition("-")[0]) <= await server_ms(world)


async def test_a_signal_whose_id_lies_in_the_future_counts_only_if_it_names_its_match(world: World) -> None:
    await world.claim("m1", *BOTH)
    inbox, future_ms = Inbox(world.pool), await server_ms(world) + 60_000
    assert await inbox.signal(replace(SKIP, sent_ms=future_ms), now_ms=NOW) is Ignored.TIMELESS
    assert await inbox.signal(SKIP, now_ms=NOW) == Noted("name-m1", replay=False)


async def test_the_call_begins_by_the_clock_of_redis(world: World) -> None:
    seconds, _ = await world.raw("TIME")
    await world.claim("m1", *BOTH, now_ms=NOW)
    assert abs(await taken_at(world) - int(seconds) * 1000) < 2000


async def test_an_owner_that_is_out_of_date_notes_nothing(world: World) -> None:
    await world.claim("m1", *BOTH)
    before = await world.snapshot()
    assert await Inbox(world.other_owner(epoch=0).pool).signal(SKIP, now_ms=NOW) == Stale(1)
    assert await Inbox(world.other_owner(incarnation="x").pool).signal(SKIP, now_ms=NOW) == Lost()
    assert await world.snapshot() == before


async def test_what_was_handled_is_remembered_and_old_signals_go(world: World) -> None:
    inbox = Inbox(world.pool)
    assert await inbox.signals_done() == "0-0"
    entries = [await world.raw("XADD", world.keys.signals(), "*", "type", "skip", "user", "alice") for _ in range(1000)]
    await inbox.set_signals_done(entries[499])
    assert await inbox.signals_done() == entries[499]
    # Redis removes whole blocks of a hundred entries.
    assert 500 <= await world.raw("XLEN", world.keys.signals()) < 700


async def test_a_flood_does_not_push_a_signal_out_that_is_not_handled_yet(world: World) -> None:
    inbox = Inbox(world.pool)
    first = await world.raw("XADD", world.keys.signals(), "*", "type", "skip", "user", "alice")
    await inbox.set_signals_done(first)
    skip = await world.raw("XADD", world.keys.signals(), "*", "type", "skip", "user", "bob")
    for _ in range(12_000):
        await world.raw("XADD", world.keys.signals(), "*", "type", "token", "user", "mallory")
    await inbox.set_signals_done(first)
    ((entry, _),) = await world.raw("XRANGE", world.keys.signals(), skip, "+", "COUNT", "1")
    assert entry == skip


# Flags of older clients


async def test_a_flag_is_gone_once_it_is_noted_also_when_it_comes_again(world: World) -> None:
    await world.claim("m1", *BOTH)
    flag = replace(PRE_SKIP, flag_value="1")
    for is_replay in (False, True):
        await world.raw("SET", world.keys.pre_skip("alice"), "1")
        assert await Inbox(world.pool).signal(flag, now_ms=NOW) == Noted("name-m1", replay=is_replay)
        assert "pre-skip:alice" not in (await world.snapshot()).values
    wish = (await world.ledger("m1")).wish
    assert wish is not None
    assert wish.via == "pre-skip"


async def test_a_flag_about_another_call_is_left_alone(world: World) -> None:
    await world.claim("m2", *BOTH)
    await world.raw("SET", world.keys.pre_skip("alice"), "match:m1")
    flag = replace(PRE_SKIP, flag_value="match:m1")
    assert await Inbox(world.pool).signal(flag, now_ms=NOW) is Ignored.UNKNOWN
    assert "pre-skip:alice" in (await world.snapshot()).values


async def test_a_flag_that_went_with_its_call_since_it_was_read_says_nothing_of_the_next(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.raw("SET", world.keys.pre_skip("alice"), "1")
    (flag,) = await Inbox(world.pool).flags(BOTH)
    await world.settle("m1", dict.fromkeys(BOTH, BACK))
    await world.claim("m2", "alice", "carol")
    before = await world.snapshot()
    read = replace(PRE_SKIP, uid="m2", flag_value=flag.value)
    assert await Inbox(world.pool).signal(read, now_ms=NOW) is Ignored.OLDER
    assert await world.snapshot() == before


@pytest.mark.parametrize("value", ["", "2", "match:m1", "match:m2", "roomkeeper:m1"])
async def test_a_flag_that_says_something_else_since_it_was_read_is_left_for_the_next_time(
    world: World, value: str
) -> None:
    await world.claim("m1", *BOTH)
    await world.raw("SET", world.keys.pre_skip("alice"), value)
    before = await world.snapshot()
    assert await Inbox(world.pool).signal(PRE_SKIP, now_ms=NOW) is Ignored.OLDER
    assert await world.snapshot() == before


async def test_a_flag_whose_reply_was_lost_is_noted_already_when_it_is_sent_again(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.raw("SET", world.keys.pre_skip("alice"), "1")
    assert await Inbox(world.pool).signal(PRE_SKIP, now_ms=NOW) == Noted("name-m1", replay=False)
    before = await world.snapshot()
    assert await Inbox(world.pool).signal(PRE_SKIP, now_ms=NOW + 1) == Noted("name-m1", replay=True)
    assert await Inbox(world.pool).signal(replace(PRE_SKIP, user="bob"), now_ms=NOW + 1) is Ignored.OLDER
    assert await world.snapshot() == before


async def test_a_flag_that_is_empty_counts_as_any_other(world: World) -> None:
    await world.claim("m1", *BOTH)
    await world.raw("SET", world.keys.pre_skip("alice"), "")
    assert await Inbox(world.pool).flags(BOTH) == (Flag("pre-skip", "alice", ""),)
    assert await Inbox(world.pool).signal(replace(PRE_SKIP, flag_value=""), now_ms=NOW) == Noted(
        "name-m1", replay=False
    )


async def test_a_flag_about_a_call_that_it_does_not_name_is_none(world: World) -> None:
    await world.raw("SET", world.keys.pre_skip("alice"), "match:")
    assert await Inbox(world.pool).flags(BOTH) == ()


async def test_flags_are_read_for_all_at_once_but_for_our_own(world: World) -> None:
    keys = world.keys
    await world.raw("SET", keys.force_disconnect("alice"), "roomkeeper:m1")
    await world.raw("SET", keys.skip_in_progress("alice"), "match:m1")
    await world.raw("SET", keys.pre_skip("bob"), "true")
    flags = await Inbox(world.pool).flags(("alice", "bob", "carol"))
    assert set(flags) == {Flag("skip-in-progress", "alice", "match:m1"), Flag("pre-skip", "bob", "true")}
    assert {flag.match_uid for flag in flags} == {"m1", ""}
    assert await Inbox(world.pool).flags(()) == ()


# silent


async def test_only_a_user_who_has_been_heard_before_can_be_silent(world: World) -> None:
    for who in ("alice", "bob", "carol"):
        await world.enqueue(who)
    await world.raw("ZREM", world.keys.heartbeats(), "carol")
    await world.raw("ZADD", world.keys.heartbeats(), 5000, "alice")
    silence = await silent(world)
    assert (silence.beating, silence.newly_silent) == (2, {"alice": 5000})


async def test_the_longest_silent_come_first_and_the_others_with_the_next_reads(world: World) -> None:
    await last_beats(world, carol=3000, alice=1000, bob=2000)
    first = await silent(world, limit=2)
    assert (first.beating, first.newly_silent, first.still_silent) == (3, {"alice": 1000, "bob": 2000}, {})
    second = await silent(world, first.cursor, limit=2)
    assert (second.newly_silent, second.still_silent) == ({"carol": 3000}, {"alice": 1000, "bob": 2000})
    third = await silent(world, second.cursor, limit=2)
    assert (third.newly_silent, third.still_silent) == ({}, {"carol": 3000})
    assert (await silent(world, third.cursor, limit=2)).still_silent == {"alice": 1000, "bob": 2000}, "their turn again"


@pytest.mark.parametrize("beat", ["-inf", "+inf", "1e300", "-1e300"])
async def test_a_beat_at_no_time_hides_no_other(world: World, beat: str) -> None:
    await last_beats(world, alice=1000, bob=2000)
    await world.raw("ZADD", world.keys.heartbeats(), beat, "mallory")
    read = await silent(world, limit=2)
    found = dict(read.newly_silent)
    for _ in range(3):
        read = await silent(world, read.cursor, limit=2)
        found |= read.newly_silent
    assert found == {"alice": 1000, "bob": 2000}


async def test_a_key_with_an_odd_name_hides_no_pool(world: World) -> None:
    await world.enqueue("alice")
    cluster_id = world.keys.cluster_id
    odd = [f"rk:{{{cluster_id}:a\x01b}}:queue", f"rk:{{{cluster_id}:}}:queue", f"rk:{{{cluster_id}:x:y}}:heartbeats"]
    for key in odd:
        await world.raw("ZADD", key, 1, "mallory")
    found: set[str] = set()
    cursor = "0"
    while True:
        cursor, some = await pools_with_people(world.redis, cluster_id, cursor, count=100)
        found.update(some)
        if cursor == "0":
            break
    await world.raw("DEL", *odd)
    assert world.keys.namespace in found
    assert not found & {"a\x01b", "", "x:y"}


async def test_with_few_silent_all_of_them_are_looked_at_every_time(world: World) -> None:
    await last_beats(world, alice=1000, bob=2000)
    cursor = (await silent(world)).cursor
    for _ in range(2):
        read = await silent(world, cursor)
        assert (read.newly_silent, read.still_silent) == ({}, {"alice": 1000, "bob": 2000})
        cursor = read.cursor
    await world.raw("ZREM", world.keys.heartbeats(), "bob")
    assert (await silent(world, cursor)).still_silent == {"alice": 1000}


async def test_people_who_beat_at_the_same_moment_are_read_together(world: World) -> None:
    await last_beats(world, alice=1000, bob=1000, carol=1000, dave=2000)
    first = await silent(world, limit=2)
    assert set(first.newly_silent) == {"alice", "bob", "carol"}
    second = await silent(world, first.cursor, limit=2)
    assert (second.newly_silent, set(second.still_silent)) == ({"dave": 2000}, {"alice", "bob", "carol"})
    assert (await silent(world, second.cursor, limit=2)).still_silent == {"dave": 2000}


async def test_a_crowd_is_counted_whole_with_those_who_are_merely_late(world: World) -> None:
    now_ms = await server_ms(world)
    # Silent for an hour; then twelve a minute and a half ago, seven more since, and one user who has just beaten.
    await last_beats(world, old=now_ms - 3_600_000, there=now_ms)
    cursor = ScanCursor(now_ms - 100_000)
    stopped = {f"user-{n}": now_ms - 92_000 + n for n in range(12)}
    late = {f"late-{n}": now_ms - 70_000 + n for n in range(7)}
    await last_beats(world, **stopped, **late)
    read = await silent(world, cursor, limit=5)
    assert (len(read.newly_silent), read.stopped_together, read.beating) == (5, 19, 21)
    assert (await silent(world, (await silent(world)).cursor)).stopped_together == 0, "no user is new"


async def test_a_flood_of_beats_of_one_moment_is_read_with_a_limit(world: World) -> None:
    await last_beats(world, **{f"user-{n:03}": 1000 for n in range(100)})
    read = await silent(world, limit=5)
    assert len(read.newly_silent) == 5 + 10 * 5


async def test_a_clock_that_went_back_restarts_the_search(world: World) -> None:
    now_ms = await server_ms(world)
    await last_beats(world, alice=now_ms - 100_000)
    read = await silent(world, ScanCursor(now_ms + 5000, now_ms))
    assert (read.newly_silent, read.still_silent) == ({"alice": now_ms - 100_000}, {})


# expire


async def silent_waiter(world: World) -> None:
    """alice waits, has beaten once, and was last heard of at 5000."""
    await world.enqueue("alice")
    await world.raw("ZADD", world.keys.heartbeats(), 5000, "alice")


async def test_a_waiting_user_who_fell_silent_is_idle_and_expires(world: World) -> None:
    await silent_waiter(world)
    before = await world.user("alice")
    assert await Inbox(world.pool).expire("alice", 5000, now_ms=NOW) is Expiry.IDLE
    alice, snapshot = await world.user("alice"), await world.snapshot()
    assert (alice.state, alice.reason, alice.since_ms, alice.queued_at_ms) == (UserState.IDLE, "Silent", NOW, None)
    assert (alice.epoch, alice.seq) == (before.epoch + 1, before.seq + 1)
    assert not {"queue", "heartbeats"} & set(snapshot.values)
    assert 0 < await world.raw("PTTL", world.keys.user("alice")) <= IDLE_MS


async def test_the_reservation_of_a_silent_user_is_given_up(world: World) -> None:
    await silent_waiter(world)
    await world.gateway.reserve("m", ("alice",), ttl_seconds=60)
    assert await Inbox(world.pool).expire("alice", 5000, now_ms=NOW) is Expiry.IDLE
    assert not {"reserved", "reservations"} & set((await world.snapshot()).values)


async def test_a_user_who_has_beaten_meanwhile_stays(world: World) -> None:
    await silent_waiter(world)
    await world.gateway.beat("alice")
    before = await world.snapshot()
    assert await Inbox(world.pool).expire("alice", 5000, now_ms=NOW) is Expiry.ALIVE
    assert await world.snapshot() == before


async def test_a_silent_user_in_a_call_stays_in_it(world: World) -> None:
    await silent_waiter(world)
    await world.claim("m1", *BOTH)
    before = await world.snapshot()
    assert await Inbox(world.pool).expire("alice", 5000, now_ms=NOW) is Expiry.HELD
    assert await world.snapshot() == before


async def test_the_beat_of_an_unknown_user_is_removed(world: World) -> None:
    await world.raw("ZADD", world.keys.heartbeats(), 5000, "ghost")
    before = (await world.snapshot()).without("heartbeats")
    assert await Inbox(world.pool).expire("ghost", 5000, now_ms=NOW) is Expiry.UNKNOWN
    assert await world.snapshot() == before


async def test_expiring_twice_finds_that_it_is_done(world: World) -> None:
    await silent_waiter(world)
    await Inbox(world.pool).expire("alice", 5000, now_ms=NOW)
    before = await world.snapshot()
    assert await Inbox(world.pool).expire("alice", 5000, now_ms=NOW) is Expiry.ALIVE
    assert await world.snapshot() == before


async def test_an_owner_that_is_out_of_date_takes_no_user_out_of_the_queue(world: World) -> None:
    await silent_waiter(world)
    before = await world.snapshot()
    assert await Inbox(world.other_owner(epoch=0).pool).expire("alice", 5000, now_ms=NOW) == Stale(1)
    assert await Inbox(world.other_owner(incarnation="x").pool).expire("alice", 5000, now_ms=NOW) == Lost()
    assert await world.snapshot() == before
