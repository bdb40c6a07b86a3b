"""S1-S5 under random calls of gateways, matchmakers and the operator.

Each call is sent twice in a row. Owners may be out of date, and Redis may lose all data. After each call the whole of
what Redis holds must be consistent, and each change must have been told once. Gateways and matchmakers come through
either door.

ROOMKEEPER_TEST_EXAMPLES and ROOMKEEPER_TEST_STEPS make it longer.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from controller.api.match import QueuePlace
from controller.api.states import UserState
from controller.clients.redis.client import Redis
from controller.clients.redis.gateway import Beat, Left, Queued, ReservedPair, Unserved
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.replies.inbox import Expiry, Ignored, Noted
from controller.clients.redis.replies.match import (
    AdvanceOk,
    ClaimNotQueued,
    ClaimOk,
    SettleOk,
    Step,
    Verdict,
    WitnessReply,
)
from controller.clients.redis.replies.pool import Incarnation, Written
from controller.clients.redis.replies.refusals import Lost, Stale
from controller.clients.redis.requests import AdvanceRequest, ClaimMode, Signal, SignalKind, Witnessed
from controller.facts.ledger import Cause, Destination
from tests.redis.doors import Door, opened
from tests.redis.expected import expected, heard
from tests.redis.servers import Server
from tests.redis.world import NOW, Snapshot, World, claim_request

T = TypeVar("T")

EXAMPLES = int(os.environ.get("ROOMKEEPER_TEST_EXAMPLES", "100"))
STEPS = int(os.environ.get("ROOMKEEPER_TEST_STEPS", "40"))
RUNS = 3
"""Chance may leave an answer out of one run (about one run in a hundred does); not out of three."""

USERS = ("alice", "bob", "carol", "dan", "erin", "frank")
PAIRS = tuple(itertools.combinations(USERS, 2))
MATCHES = {f"m{n}": PAIRS[n % len(PAIRS)] for n in range(30)}
SHARDS = 2
NOTHING: dict[str, Any] = {}

IDLE, WAITING = UserState.IDLE, UserState.WAITING
CALL = (UserState.CONNECTING, UserState.IN_CALL, UserState.DISCONNECTING)
Edges = set[tuple[str | None, str]]
UPWARD: Edges = {(low, high) for n, low in enumerate(CALL) for high in CALL[n + 1 :]}
FREEING: Edges = {(state, to) for state in CALL for to in (IDLE, WAITING)}

SUCCESSES = (
    *(AdvanceOk, Beat, ClaimOk, Expiry, Left, Noted, Queued),
    *(ReservedPair, SettleOk, WitnessReply, Written, tuple),
)
MUST_BE_SEEN = {
    *("AdvanceOk", "ClaimBusy", "ClaimOk", "Expiry", "Ignored", "Left", "Lost"),
    *("Noted", "Queued", "ReservedPair", "SettleOk", "Stale"),
}

users = st.sampled_from(USERS)
uids = st.sampled_from(sorted(MATCHES))
mostly = st.sampled_from([True, True, True, False])
owners = st.sampled_from(["owner"] * 9 + ["successor", "stale", "stranger"])
decisions = st.tuples(
    st.sampled_from((Destination.WAITING, Destination.IDLE, Destination.BACK)), st.sampled_from(QueuePlace)
)
phases = st.sampled_from(["", "Connecting", "Active", "Active", "Reconnecting", "Terminating"])
reasons = st.sampled_from(["Ended", "Skipped", "Failed", ""])

namespaces = itertools.count()
seen: Counter[str] = Counter()


def replayed(reply: Any) -> Any:
    """What the same call must answer the second time."""
    match reply:
        case AdvanceOk(steps):
            return AdvanceOk(tuple((who, Step.SAME if step is Step.CHANGED else step) for who, step in steps))
        case WitnessReply(verdict=Verdict.STORED):
            return replace(reply, verdict=Verdict.DUPLICATE)
        case ClaimOk() | SettleOk() | Queued() | Left() | ReservedPair():
            return replace(reply, replay=True)
        case tuple():
            return ()  # the first call released them all
        case Expiry():
            return reply if reply is Expiry.HELD else Expiry.ALIVE  # there is no old beat any more
        case _:
            return reply


def comparable(reply: Any) -> Any:
    """The reply without what differs each time."""
    match reply:
        case WitnessReply():
            return replace(reply, entry_id="")
        case Noted():
            return replace(reply, replay=False)  # the first wish is one; who is suspected is written each time
        case _:
            return reply


class Calls(RuleBasedStateMachine):
    """Six users, thirty Matches, two shards. `now` is what Redis holds after the last call."""

    def __init__(self, loop: asyncio.AbstractEventLoop, redis: Redis) -> None:
        super().__init__()
        self.loop = loop
        namespace = f"states-{os.getpid()}-{next(namespaces)}"
        self.world = self.wait(World.new(redis, namespace))
        self.epochs = dict.fromkeys(range(SHARDS), 5)
        for shard, epoch in self.epochs.items():
            self.wait(self.world.raw("SET", self.world.keys.fence(shard), epoch))
        self.now = self.snapshot()
        self.is_lost = False
        self.refused = 0
        self.over: set[str] = set()
        self.freed: Counter[tuple[str, str]] = Counter()
        self.remembered: dict[str, dict[str, int | None]] = {}

    @initialize(names=st.sets(users) | st.just(set(USERS)))
    def some_wait_already(self, names: set[str]) -> None:
        for user_id in sorted(names):
            self.enqueue(user_id, "")

    def teardown(self) -> None:
        self.wait(self.world.lose_everything())

    # How calls are made

    def wait(self, call: Awaitable[T]) -> T:
        return self.loop.run_until_complete(call)

    def snapshot(self) -> Snapshot:
        return self.wait(self.world.snapshot())

    def server_ms(self) -> int:
        seconds, micros = self.wait(self.world.raw("TIME"))
        return int(seconds) * 1000 + int(micros) // 1000

    def twice(
        self,
        call: Callable[[], Awaitable[Any]],
        *,
        edges: Edges | None = None,
        may_change: tuple[str, ...] = (),
        rolled_back: frozenset[str] = frozenset(),
        is_restore: bool = False,
    ) -> Any:
        """Send a call twice and check all that must hold after every call."""
        before = self.now
        first, middle = self.wait(call()), self.snapshot()
        told = heard(self.wait(self.world.hear()))
        assert told == expected(before, middle, users=USERS, rolled_back=rolled_back, is_restore=is_restore)
        second, after = self.wait(call()), self.snapshot()
        assert not heard(self.wait(self.world.hear())), "a replay wrote an entry"
        self.now = after
        seen[type(first).__name__] += 1
        assert comparable(second) == comparable(replayed(first))
        # Each beat writes the moment of that beat.
        assert after.without("heartbeats") == middle.without("heartbeats")
        if not isinstance(first, SUCCESSES):
            assert middle.without("fence:0", "fence:1") == before.without("fence:0", "fence:1")
        self.follow_users(before, middle, edges or set(), may_change)
        return first

    def follow_users(self, before: Snapshot, after: Snapshot, edges: Edges, may_change: tuple[str, ...]) -> None:
        """S3: only the transitions that this call may make; S4, S5: no Match frees a user twice."""
        for user_id in USERS:
            old, new = self.user(user_id, before), self.user(user_id, after)
            if old == new:
                continue
            assert user_id in may_change
            assert int(new["seq"]) > int(old.get("seq", 0))
            changed = old.get("state") != new["state"]
            assert not changed or (old.get("state"), new["state"]) in edges
            assert int(new["epoch"]) - int(old.get("epoch", 0)) == (1 if changed else 0)
            if holder := old.get("match"):
                assert new["match"] in {"", holder}
                if not new["match"]:
                    self.freed[user_id, holder] += 1
                    assert self.freed[user_id, holder] == 1

    def user(self, user_id: str, at: Snapshot | None = None) -> Mapping[str, str]:
        fields: Mapping[str, str] = (at or self.now).values.get(f"user:{user_id}", NOTHING)
        return fields

    def key(self, name: str) -> Mapping[str, str]:
        value: Mapping[str, str] = self.now.values.get(name, NOTHING)
        return value

    def text(self, name: str) -> str:
        value: str = self.now.values.get(name, "")
        return value

    def blocked(self, user_id: str) -> bool:
        return f"blocked:{user_id}" in self.now.values

    def pick(self, uid: str, is_live: bool) -> str:
        """A live Match, if `is_live` and there is one; else one that is over, or the given one."""
        if is_live:
            return self.one_of(sorted(self.key("live")), uid)
        return self.one_of(self.settled(), uid) if int(uid[1:]) % 2 else uid

    def settled(self) -> list[str]:
        return [uid for uid in MATCHES if "settled" in self.key(f"match:{uid}")]

    def one_of(self, candidates: list[str], otherwise: str, number: int | None = None) -> str:
        number = int(otherwise[1:]) if number is None else number
        return candidates[number % len(candidates)] if candidates else otherwise

    def shard(self, uid: str) -> int:
        return int(uid[1:]) % SHARDS

    def owner(self, uid: str, kind: str) -> World:
        """The operator for the shard of a Match: up to date, or not."""
        shard = self.shard(uid)
        if kind == "successor" and not self.is_lost:
            self.epochs[shard] += 1
        epoch = self.epochs[shard] - (kind == "stale")
        world = self.world.other_owner(shard=shard, epoch=epoch)
        return world.other_owner(incarnation="another") if kind == "stranger" else world

    def as_owner(self, uid: str, kind: str, call: Callable[[World], Awaitable[Any]], **more: Any) -> Any:
        """A call of the operator. It is refused if the operator is out of date, and only then."""
        world = self.owner(uid, kind)
        current = self.epochs[self.shard(uid)]
        fence = int(self.text(f"fence:{self.shard(uid)}") or 0)
        reply = self.twice(lambda: call(world), **more)
        if self.is_lost or kind == "stranger":
            assert reply == Lost()
            self.refused += self.is_lost
            if self.refused == 3:
                self.restore(UserState.CONNECTING)
        elif world.pool.epoch < fence:
            assert reply == Stale(current)
        else:
            assert not isinstance(reply, Lost | Stale)
            assert self.text(f"fence:{self.shard(uid)}") == str(world.pool.epoch)
        return reply

    # Gateways and matchmakers

    # (Few rules with a choice within: Hypothesis leaves out rules at random, and a call needs most of them.)

    @rule(
        what=st.sampled_from(["enqueue", "enqueue", "enqueue", "leave", "beat", "take", "time passes"]),
        user_id=users,
        session=st.sampled_from(["", "", "s1", "s2"]),
    )
    def gateway(self, what: str, user_id: str, session: str) -> None:
        match what:
            case "enqueue":
                self.enqueue(user_id, session)
            case "leave":
                self.leave(user_id, session)
            case "time passes":
                self.time_passes_since_they_left(user_id)
            case _:
                self.beat(user_id, session, take=what == "take")

    @rule(what=st.sampled_from(["reserve", "reserve", "release", "run out"]), uid=uids)
    def matchmaker(self, what: str, uid: str) -> None:
        match what:
            case "reserve":
                self.reserve(uid)
            case "release":
                self.release()
            case "run out":
                self.reservations_run_out()

    @rule(
        what=st.sampled_from(["ban", "pardon", "pardon", "tokens", "witness", *["signal"] * 6, "expire", "expire"]),
        uid=uids,
        is_live=mostly,
        kind=owners,
        who=users,
        sid=st.integers(1, 3),
        left=st.booleans(),
        word=st.sampled_from(SignalKind),
    )
    def beside(
        self, what: str, uid: str, is_live: bool, kind: str, who: str, sid: int, left: bool, word: SignalKind
    ) -> None:
        match what:
            case "signal":
                uid = self.pick(uid, is_live)
                self.signal(uid, MATCHES[uid][sid % 2] if is_live else who, word, kind)
            case "expire":
                self.expire(uid, self.one_of(sorted(self.key("heartbeats")), who, int(uid[1:])), kind)
            case "tokens":
                self.put_tokens(self.pick(uid, is_live), kind)
            case "witness":
                self.witness(self.pick(uid, is_live), who, sid, left)
            case _:
                self.ban_or_pardon(who, what)

    def enqueue(self, user_id: str, session: str) -> None:
        waited, held, is_blocked = (
            self.user(user_id).get("queuedAt"),
            self.user(user_id).get("match"),
            self.blocked(user_id),
        )
        was_waiting = self.user(user_id).get("state") == WAITING
        reply = self.twice(
            lambda: self.world.gateway.enqueue(user_id, session=session),
            edges={(None, WAITING), (IDLE, WAITING)},
            may_change=(user_id,),
        )
        is_served = "served" in self.now.values
        assert isinstance(reply, Queued) == (not held and not is_blocked and is_served)
        assert isinstance(reply, Unserved) == (not held and not is_blocked and not is_served)
        if isinstance(reply, Queued) and was_waiting:
            assert reply.replay
            assert str(reply.score_ms) == waited

    def leave(self, user_id: str, session: str) -> None:
        held = self.user(user_id).get("match")
        reply = self.twice(
            lambda: self.world.gateway.leave(user_id, session=session),
            edges={(WAITING, IDLE)},
            may_change=(user_id,),
        )
        assert not (held and isinstance(reply, Left))
        if isinstance(reply, Left):
            assert self.user(user_id).get("state") in {None, IDLE}

    def time_passes_since_they_left(self, user_id: str) -> None:
        if self.user(user_id).get("leftAt"):
            self.wait(self.world.left_long_ago(user_id))
            self.now = self.snapshot()

    def beat(self, user_id: str, session: str, *, take: bool) -> None:
        reply = self.twice(lambda: self.world.gateway.beat(user_id, session=session, take=take), may_change=(user_id,))
        if isinstance(reply, Beat):
            user = self.user(user_id)
            assert (reply.state, reply.match, reply.seq) == (user["state"], user["match"], int(user["seq"]))
            assert (user_id in self.key("heartbeats")) == (reply.state is not IDLE)

    def reserve(self, uid: str) -> None:
        before = self.now
        pair = MATCHES[uid]
        reply = self.twice(lambda: self.world.gateway.reserve(f"name-{uid}", pair, ttl_seconds=3600))
        if isinstance(reply, ReservedPair):
            assert set(pair) <= set(self.key("reserved"))
            for user_id, score in reply.users:
                assert str(score) == self.user(user_id, before)["queuedAt"]

    def reservations_run_out(self) -> None:
        for user_id in self.key("reserved"):
            self.wait(self.world.raw("ZADD", self.world.keys.reserved(), 1, user_id))
        self.now = self.snapshot()

    def release(self) -> None:
        expired = {who for who, deadline in self.key("reserved").items() if deadline == "1"}
        reply = self.twice(self.world.gateway.release_expired)
        assert set(reply) == expired
        assert expired <= set(self.key("queue"))

    def ban_or_pardon(self, user_id: str, what: str) -> None:
        key = self.world.keys.blocked(user_id)
        self.wait(self.world.raw("SET", key, "abuse") if what == "ban" else self.world.raw("DEL", key))
        self.now = self.snapshot()

    # The operator

    @rule(uid=uids, is_new=mostly, kind=owners, mode=st.sampled_from([ClaimMode.ANY, ClaimMode.QUEUED]))
    def claim(self, uid: str, is_new: bool, kind: str, mode: ClaimMode) -> None:
        if is_new:
            uid = self.one_of([name for name in MATCHES if not self.key(f"match:{name}")], uid)
        else:
            uid = self.pick(uid, is_live=False)
        if uid in self.over:
            return
        before, pair = self.now, MATCHES[uid]
        edges: Edges = {(WAITING, UserState.CONNECTING)}
        if mode is ClaimMode.ANY:
            edges |= {(None, UserState.CONNECTING), (IDLE, UserState.CONNECTING)}
        reply = self.as_owner(uid, kind, lambda world: world.claim(uid, *pair, mode=mode), edges=edges, may_change=pair)
        latest = self.server_ms()
        if isinstance(reply, ClaimNotQueued):
            assert self.user(reply.id).get("state") != WAITING
            assert mode is ClaimMode.QUEUED or self.user(reply.id).get("leftAt")
        if isinstance(reply, ClaimOk):
            assert "settled" not in before.values.get(f"match:{uid}", NOTHING)
            places = {user.id: user.score_ms for user in reply.users}
            if not reply.replay:
                assert not any(self.blocked(user_id) for user_id in pair)
                for user_id in pair:
                    if before.values.get("reserved", NOTHING).get(user_id, "1") != "1":
                        assert before.values["reservations"][user_id].endswith(f" name-{uid}")
                    was = self.user(user_id, before)
                    left_ms = int(was.get("leftAt") or 0)
                    assert not left_ms or (latest - left_ms >= 10_000 and was["leftFor"] != f"name-{uid}")
                    waited = was["queuedAt"] if was.get("state") == WAITING else ""
                    assert str(places[user_id] or "") == waited
            self.remembered[uid] = places

    @rule(
        uid=uids,
        is_live=mostly,
        kind=owners,
        state=st.sampled_from(CALL),
        phase=phases,
        room=st.sampled_from(["", "r1", "r2"]),
    )
    def advance(self, uid: str, is_live: bool, kind: str, state: UserState, phase: str, room: str) -> None:
        uid = self.pick(uid, is_live)
        pair = MATCHES[uid]
        missing = ((pair[0], None),) if phase == "Reconnecting" else ()
        request = AdvanceRequest(uid, tuple((who, state) for who in pair), phase=phase, room=room, missing=missing)
        holders = {who: self.user(who).get("match") for who in pair}
        reply = self.as_owner(
            uid,
            kind,
            lambda world: world.pool.advance(request, now_ms=NOW),
            edges=UPWARD,
            may_change=tuple(who for who in pair if holders[who] == uid),
        )
        if isinstance(reply, AdvanceOk):
            assert uid in self.key("live")
            for who, step in reply.users:
                assert (step is Step.LOST) == (holders[who] != uid)
                assert step is Step.LOST or CALL.index(UserState(self.user(who)["state"])) >= CALL.index(state)

    @rule(
        uid=uids,
        is_live=mostly,
        kind=owners,
        wishes=st.tuples(decisions, decisions),
        final=st.booleans(),
        who=st.sets(users),
        reason=reasons,
    )
    def settle(
        self,
        uid: str,
        is_live: bool,
        kind: str,
        wishes: tuple[tuple[Destination, QueuePlace], tuple[Destination, QueuePlace]],
        final: bool,
        who: set[str],
        reason: str,
    ) -> None:
        uid = self.pick(uid, is_live)
        if uid in self.over:
            return
        if not self.key(f"match:{uid}"):
            final = final and len(who) == 1  # a tombstone now and then: each uses a Match up
        # Half of the calls name both users, as the operator does; the others name any users, or none.
        named = {
            user_id: wish for user_id, wish in zip(MATCHES[uid], wishes, strict=True) if len(who) % 2 or user_id in who
        }
        before, ledger, earliest = self.now, self.key(f"match:{uid}"), self.server_ms()
        holders = {user_id: self.user(user_id).get("match") for user_id in named}
        reply = self.as_owner(
            uid,
            kind,
            lambda world: world.settle(uid, named, final=final, cause=Cause(reason or ("Ended" if final else ""))),
            edges=FREEING,
            may_change=tuple(user_id for user_id in named if holders[user_id] == uid),
            rolled_back=frozenset(user_id for user_id, (decision, _) in named.items() if decision is Destination.BACK),
        )
        if not isinstance(reply, SettleOk):
            return
        latest = self.server_ms()
        for user in reply.users:
            old = ledger.get(f"s:{user.id}")
            if old is not None:
                assert self.key(f"match:{uid}")[f"s:{user.id}"] == old
            elif holders[user.id] == uid:
                place = ledger[f"q:{user.id}"]
                decision, where = named[user.id]
                waits = place and decision is not Destination.IDLE and not self.blocked(user.id)
                assert user.outcome == ("WAITING" if waits else "IDLE")
                if waits and decision is Destination.WAITING and where is QueuePlace.NOW:
                    assert user.score_ms is not None
                    assert earliest <= user.score_ms <= latest
                elif waits:
                    assert str(user.score_ms) == place
                # A Match that was restored after it released one user has no partner to remember.
                has_partner = any(name.startswith("q:") and name != f"q:{user.id}" for name in ledger)
                met = has_partner and decision is not Destination.BACK
                assert (f"recent:{user.id}" in self.now.values) >= met
        if final and not ledger:
            assert not [who for who in named if self.key("reservations").get(who, "").endswith(f" name-{uid}")]
        assert (self.key(f"match:{uid}").get("settled") == "1") == (final or ledger.get("settled") == "1")
        assert before.values.get("incarnation") == self.now.values.get("incarnation")

    def put_tokens(self, uid: str, kind: str) -> None:
        reply = self.as_owner(uid, kind, lambda world: world.pool.put_tokens(uid, {"alice": "{}"}, ttl_seconds=60))
        assert isinstance(reply, Written) <= (uid in self.key("live"))

    def signal(self, uid: str, who: str, word: SignalKind, kind: str) -> None:
        ledger, holder = self.key(f"match:{uid}"), self.user(who).get("match")
        said = Signal(uid, who, word)
        reply = self.as_owner(uid, kind, lambda world: Inbox(world.pool).signal(said, now_ms=NOW))
        if isinstance(reply, Noted):
            assert (uid in self.key("live"), holder) == (True, uid)
            now = self.key(f"match:{uid}")
            assert now.get("wish") == ledger.get("wish") or not ledger.get("wish")
            assert reply.replay == (word not in {SignalKind.SUSPECT, SignalKind.TOKEN} and "wish" in ledger)
        elif isinstance(reply, Ignored):
            assert holder != uid

    def expire(self, uid: str, who: str, kind: str) -> None:
        before, beat = self.now, self.key("heartbeats").get(who)
        was_waiting = self.user(who).get("state") == WAITING
        reply = self.as_owner(
            uid,
            kind,
            lambda world: Inbox(world.pool).expire(who, int(beat or 1), now_ms=NOW),
            edges={(WAITING, IDLE)},
            may_change=(who,),
        )
        if isinstance(reply, Expiry):
            assert (reply is Expiry.IDLE) == (beat is not None and was_waiting)
            fences = ("fence:0", "fence:1")
            is_quiet = reply is Expiry.ALIVE or reply is Expiry.HELD
            assert not is_quiet or self.now.without(*fences) == before.without(*fences)

    def witness(self, uid: str, who: str, sid: int, left: bool) -> None:
        was_live = uid in self.key("live")
        event = "participant_left" if left else "participant_joined"
        happened = Witnessed(
            event=event,
            entry=(("event", event),),
            match_uid=uid,
            identity=who,
            sid=f"PA_{sid}",
            at_ms=sid * 10_000 + left * 5_000,
            joined_at_ms=sid * 10_000,
        )
        is_known = f"q:{who}" in self.key(f"match:{uid}")
        reply = self.twice(lambda: self.world.pool.witness(happened))
        assert (reply.verdict in {Verdict.STORED, Verdict.OLDER, Verdict.DUPLICATE}) == (was_live and is_known)
        assert (reply.verdict is Verdict.STRANGER) == (was_live and not is_known)

    # The loss of everything

    @precondition(lambda self: not self.is_lost)
    @rule(dice=st.integers(1, 8))
    def redis_loses_everything(self, dice: int) -> None:
        if dice != 6:
            return
        for uid in MATCHES:
            if self.key(f"match:{uid}").get("settled"):
                self.over.add(uid)  # its status is terminal: the operator does not ask Redis about it again
        ledgers = {uid: self.key(f"match:{uid}") for uid in self.key("live")}
        self.remembered = {
            uid: {who: places[who] for who in places if f"s:{who}" not in ledgers[uid]}
            for uid, places in self.remembered.items()
            if uid in ledgers
        }
        self.wait(self.world.lose_everything())
        self.now = self.snapshot()
        self.is_lost = True

    @precondition(lambda self: self.is_lost)
    @rule(state=st.sampled_from(CALL))
    def restore(self, state: UserState) -> None:
        begun = self.wait(self.world.other_owner(shard=0, epoch=self.epochs[0]).pool.begin_restore())
        assert isinstance(begun, Incarnation)
        restorer = self.world.other_owner(shard=0, epoch=self.epochs[0], incarnation=begun.value)
        self.now = self.snapshot()
        for uid, places in self.remembered.items():
            pair = tuple(places)
            request = claim_request(uid, *pair, mode=ClaimMode.RESTORE, state=state, places=places)
            reply = self.twice(
                partial(restorer.pool.claim, request, now_ms=NOW),
                edges={(None, state), (IDLE, state), (WAITING, state)},
                may_change=pair,
                is_restore=True,
            )
            assert isinstance(reply, ClaimOk)
            known = {user.id: user.score_ms for user in reply.users}
            assert all(known[who] == place for who, place in places.items() if place is not None)
            self.remembered[uid] = known
        finished = self.wait(restorer.pool.finish_restore())
        assert isinstance(finished, Incarnation)
        self.world = self.world.other_owner(incarnation=finished.value)
        self.wait(self.world.other_owner(shard=0, epoch=self.epochs[0]).serve())
        self.refused = 0
        self.now = self.snapshot()
        self.is_lost = False

    # What must be true of Redis as a whole

    @invariant()
    def s1_and_s2_state_matches_place_and_holder(self) -> None:
        queue, reserved = self.key("queue"), self.key("reserved")
        assert set(reserved) == set(self.key("reservations"))
        for user_id in USERS:
            user = self.user(user_id)
            places = (user_id in queue) + (user_id in reserved)
            expires = f"user:{user_id}" in self.now.expiring
            match user.get("state"):
                case None:
                    assert places == 0
                case UserState.IDLE:
                    assert (places, user["match"], expires) == (0, "", True)
                    assert user_id not in self.key("heartbeats")
                case UserState.WAITING:
                    assert (places, user["match"], expires) == (1, "", False)
                    assert user["queuedAt"] == queue.get(user_id) or user_id in reserved
                case _:
                    assert (places, expires) == (0, False)
                    ledger = self.key(f"match:{user['match']}")
                    assert ledger.get("claimed") == "1"
                    assert "settled" not in ledger
                    assert f"q:{user_id}" in ledger
                    assert f"s:{user_id}" not in ledger

    @invariant()
    def ledgers_hold_their_users_and_only_live_ones_stay(self) -> None:
        live = self.key("live")
        for uid in MATCHES:
            ledger = self.key(f"match:{uid}")
            is_open = ledger.get("claimed") == "1" and "settled" not in ledger
            assert (uid in live) == is_open
            assert (f"match:{uid}" in self.now.expiring) == ("settled" in ledger)
            members = {field[2:] for field in ledger if field.startswith("q:")}
            settled = {field[2:] for field in ledger if field.startswith("s:")}
            if is_open:
                assert self.now.values[f"session:session-{uid}"] == uid
                assert all(self.user(who)["match"] == uid for who in members - settled)
            elif ledger:
                assert members == settled


@pytest.mark.parametrize("door", Door)
def test_s1_to_s5_hold_after_any_calls_in_any_order(server: Server, door: Door) -> None:
    loop = asyncio.new_event_loop()
    way_in = opened(server.url, door)
    redis = loop.run_until_complete(way_in.__aenter__())
    seen.clear()
    try:
        for _ in range(RUNS):
            run_state_machine_as_test(
                lambda: Calls(loop, redis),  # type: ignore[arg-type]  # any factory will do
                settings=settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=STEPS,
                    deadline=None,
                    database=None,
                    phases=(Phase.generate, Phase.shrink),
                    suppress_health_check=list(HealthCheck),
                ),
            )
            if seen.keys() >= MUST_BE_SEEN:
                break
    finally:
        loop.run_until_complete(way_in.__aexit__(None, None, None))
        loop.close()
    assert seen.keys() >= MUST_BE_SEEN, f"never answered: {sorted(MUST_BE_SEEN - seen.keys())}"
