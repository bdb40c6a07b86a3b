"""A term begins without anything that an earlier term of the same replica knew, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from controller.api.match import Match
from controller.api.names import MATCH
from controller.app.term import Term, begin_term
from controller.app.wiring import Parts, wire
from controller.clients.connection import KubernetesConnection
from controller.clients.redis.replies.inbox import ScanCursor, Silence
from controller.facts.livekit import LiveKitParticipant, LiveKitRoom
from controller.facts.match import AuditFacts, TokensFacts
from controller.facts.observation import Unknown
from controller.loop.recipes import RECIPES
from controller.loop.reconcile import Reconciler
from controller.loop.worker import Worker
from controller.settings import Settings
from controller.telemetry import metrics
from controller.telemetry.pulse import LoopName
from controller.triggers.keeper import SEARCH_AGAIN_SECONDS
from controller.triggers.serving import RENEW_SECONDS
from tests import values as b

UID = b.MATCH_UID


@pytest.fixture
async def parts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    """A replica that is wired to programs that do not run, and knows one Match and its Room."""
    monkeypatch.setenv("HOSTNAME", "operator-0")
    settings = Settings(
        livekit_url="ws://127.0.0.1:1",
        livekit_api_key="key",
        livekit_api_secret=SecretStr("s" * 32),
        redis_url="redis://127.0.0.1:1/0",
        cluster_id=b.CLUSTER,
        heartbeat_decides="Alone",
    )
    connection: Any = KubernetesConnection.__new__(KubernetesConnection)
    connection.server = "https://127.0.0.1:1"
    async with aiohttp.ClientSession() as http:
        made = wire(settings, connection, http, RECIPES)
        made.caches[MATCH].offer(b.active().manifest())
        made.router.room_changed(b.an_active_room())
        yield made
        await made.redis.close()


def silent(match: Match) -> Silence:
    """A read of Redis in which both users of the Match have stopped beating."""
    last_beat = dict.fromkeys(match.spec.identities, b.ms(10))
    return Silence(2, b.ms(200), 2, ScanCursor(b.ms(200)), last_beat, {})


async def test_what_an_earlier_term_knew_does_not_decide_in_a_later_one(parts: Parts) -> None:
    match, now = b.active(), b.at(200)
    first = begin_term(parts, 1)
    (server,) = first.backends.servers
    first.backends.heartbeats.heard(b.NAMESPACE, silent(match))
    for _ in range(2):
        first.backends.audit.found({UID: AuditFacts(taken_away=frozenset({"bob"}))})
    first.backends.tokens.delivered(UID, TokensFacts(b.LIVEKIT_NAME, now + timedelta(hours=1)), now)
    server.view.snapshot([LiveKitRoom(b.LIVEKIT_NAME, "RM_1", 1, None)], now)
    server.view.saw_people(b.LIVEKIT_NAME, (LiveKitParticipant("alice", "PA_1", "ACTIVE", "STANDARD", 0),), now)
    assert facts(first, match) == (set(match.spec.identities), {"bob"}, True, True)
    await first.end()

    second = begin_term(parts, 3)
    assert facts(second, match) == (set(), set(), False, False)


def facts(term: Term, match: Match) -> tuple[set[str], set[str], bool, bool]:
    """Who is silent, whose record others took, whether tokens are known, and whether LiveKit's people are."""
    backends, now = term.backends, b.at(200)
    (server,) = backends.servers
    people = server.view.people(b.LIVEKIT_NAME, now)
    return (
        set(backends.heartbeats.facts(b.NAMESPACE, match.spec.identities, b.ms(1)).silent),
        set(backends.audit.facts(UID).taken_away),
        backends.tokens.get(UID) is not None,
        not isinstance(people, Unknown),
    )


async def test_what_only_a_leader_knows_is_shown_no_longer_when_its_term_is_over(parts: Parts) -> None:
    term = begin_term(parts, 7)
    names = ("pools_closed", "epoch", "other_operators", "deadlines", "workqueue_depth", "workqueue_in_hand")
    for gauge in (
        *(metrics.pools_closed, metrics.epoch, metrics.other_operators, metrics.deadlines),
        *(metrics.queue_depth, metrics.keys_in_hand),
    ):
        gauge.set(7)
    metrics.sweep_failing.labels("light").set(1)
    metrics.keys_waiting.labels("Redis").set(3)
    await term.end()
    for name in names:
        assert REGISTRY.get_sample_value(f"roomkeeper_{name}") == 0, name
    assert REGISTRY.get_sample_value("roomkeeper_sweep_failing", {"sweep": "light"}) is None
    assert REGISTRY.get_sample_value("roomkeeper_keys_waiting", {"backend": "Redis"}) is None


async def test_a_term_leaves_no_follower_behind(parts: Parts) -> None:
    def followers() -> list[int]:
        lists: list[Any] = []
        for cache in parts.caches.values():
            lists += [cache._kept, cache._changed, cache._gone]
        return [len(known) for known in (*lists, parts.router._gone, parts.router._doubted, parts.queue._followers)]

    before = followers()
    for epoch in range(1, 4):
        term = begin_term(parts, epoch)
        assert followers() != before
        await term.end()
        assert followers() == before


async def test_the_view_of_a_term_forgets_a_room_whose_room_object_went(parts: Parts) -> None:
    term = begin_term(parts, 1)
    (server,) = term.backends.servers
    server.view.snapshot([LiveKitRoom(b.LIVEKIT_NAME, "RM_1", 1, None)], b.at(1))
    parts.router.room_gone(b.an_active_room())
    assert server.view.sid_since(b.LIVEKIT_NAME) is None
    # The answer to a ListRooms that was under way brings the name back, and the next one no longer does.
    for second in (2, 3):
        server.view.snapshot([LiveKitRoom(b.LIVEKIT_NAME, "RM_1", 1, None)] if second == 2 else [], b.at(second))
        server.view.prune(parts.router.has_room)
    assert server.view.sid_since(b.LIVEKIT_NAME) is None


async def test_a_loop_that_pauses_for_long_counts_as_alive_in_its_pause(parts: Parts) -> None:
    """Else the probe of liveness fails for a moment in each round, whatever the backends do."""
    term, settings = begin_term(parts, 1), parts.settings
    limits = {loop.name: loop.limit_seconds for loop in term.loops()}
    pauses = {
        LoopName.SERVED: RENEW_SECONDS,
        LoopName.SWEEP: settings.sweep_seconds,
        LoopName.SEARCH: SEARCH_AGAIN_SECONDS,
        **dict.fromkeys((LoopName.AUDIT, LoopName.POOLS, LoopName.TOKENS), settings.poll_seconds),
    }
    assert {name for name, pause in pauses.items() if limits[name] < pause + 30} == set()
    await term.end()


async def test_tokens_that_are_revoked_after_their_match_went_are_not_remembered(parts: Parts) -> None:
    tokens = begin_term(parts, 1).backends.tokens
    parts.caches[MATCH].forget(b.NAMESPACE, b.NAME, UID)
    tokens.revoked(UID, b.at(1))
    tokens.refused(UID, "the Secret is immutable")
    assert (tokens.get(UID), tokens.refusal(UID)) == (None, "")


async def test_a_clock_that_is_set_moves_what_the_reconciler_and_the_worker_keep(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[timedelta] = []
    for keeper in (Reconciler, Worker):
        monkeypatch.setattr(keeper, "clock_was_set", lambda _self, by: moved.append(by))
    begin_term(parts, 1).clock_was_set(-3600.0)
    assert moved == [timedelta(hours=-1)] * 2
