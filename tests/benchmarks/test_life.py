"""What the benchmark of a call's life is built from: what is seen, what is sent, in which order, and how much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
from aiohttp import web

from benchmarks.access import Access
from benchmarks.figures import Subject
from benchmarks.life.calls import JOINED, LEFT
from benchmarks.life.run import FULL, Part
from benchmarks.life.sight import ACTIVE, READY, facts, person_is
from benchmarks.life.signals import rate_of
from benchmarks.life.tap import Tap, event_body, signature
from benchmarks.measure import Case
from benchmarks.plan import Plan
from controller.facts.livekit import Mark, parse_mark
from controller.triggers.webhooks import Event
from sandbox.ports import PortLocks

MARK = Mark("sandbox", "benchmark", "rk-1", "match-uid", "room-uid")
SUBJECTS = tuple(Subject)


def an_access() -> Access:
    return Access("https://x", "", "", "", "ws://x", "http://x", "key", "s" * 32, "redis://x", "sandbox")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


# ---- what is seen


def test_a_match_without_a_status_says_nothing_that_anybody_waits_for() -> None:
    assert not {READY, ACTIVE}.intersection(facts({"metadata": {}}))


def test_of_a_status_phase_readiness_and_people_are_seen() -> None:
    status = {
        "phase": "Active",
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "Finished", "status": "False"}],
        "participants": [{"identity": "alice", "state": "Connected"}, {"identity": "bob", "state": "Reconnecting"}],
    }
    assert set(facts({"status": status})) == {
        ACTIVE,
        READY,
        person_is("alice", "Connected"),
        person_is("bob", "Reconnecting"),
    }


def test_the_rate_of_signals_is_that_between_the_first_and_the_last() -> None:
    assert rate_of([1_000_000_000, 1_100_000_000, 1_200_000_000]) == pytest.approx(10.0)
    assert rate_of([5]) == 0.0


# ---- what is sent


def test_a_webhook_of_ours_reads_like_one_of_livekit() -> None:
    joined = Event.model_validate_json(event_body(JOINED, "rk-room", MARK, "alice"))
    assert (joined.event, joined.room.name, joined.participant.identity) == ("participant_joined", "rk-room", "alice")
    assert parse_mark(joined.room.metadata) == MARK
    assert joined.participant.joined_at_ms > 0
    left = Event.model_validate_json(event_body(LEFT, "rk-room", MARK, "alice", "CONNECTION_TIMEOUT"))
    assert left.participant.disconnect_reason == "CONNECTION_TIMEOUT"
    assert left.id != joined.id


async def test_the_tap_notes_a_webhook_and_passes_it_on_as_it_is(http: aiohttp.ClientSession, ports: PortLocks) -> None:
    came: list[tuple[str, bytes]] = []

    async def take(request: web.BaseRequest) -> web.Response:
        came.append((request.headers["Authorization"], await request.read()))
        return web.Response(status=503, text="not now")

    url, onward = (f"http://127.0.0.1:{ports.take()}/livekit/webhook" for _ in range(2))
    runner = web.ServerRunner(web.Server(take, access_log=None))
    await runner.setup()
    body = event_body(JOINED, "rk-room", MARK, "alice")
    headers = {"Authorization": signature(an_access(), body), "Content-Type": "application/webhook+json"}
    async with Tap(http, url, onward) as tap:
        waiting = asyncio.create_task(tap.when(JOINED, "rk-room", "alice"))
        async with http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 503, "an operator that does not run is one that LiveKit should try again"
        noted = await waiting
        await web.TCPSite(runner, "127.0.0.1", int(onward.split(":")[2].split("/")[0]), reuse_address=True).start()
        try:
            async with http.post(url, data=body, headers=headers) as answer:
                assert (answer.status, await answer.text()) == (503, "not now")
        finally:
            await runner.cleanup()
        assert await tap.when(JOINED, "rk-room", "alice") == noted, "a repetition is no news"
    assert came == [(headers["Authorization"], body)]


def test_the_signature_covers_the_body() -> None:
    claims = jwt.decode(signature(an_access(), b"{}"), "s" * 32, algorithms=["HS256"])
    assert (claims["iss"], claims["sha256"]) == ("key", "RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=")


# ---- in which order, and how much


def a_plan(*parts: Part, subjects: tuple[Subject, ...] = SUBJECTS, rounds: int = 2) -> Plan:
    return Plan(subjects, (Case(1, 1, 1),), parts, FULL.changed([16], None), rounds)


def test_each_subject_is_the_first_in_turn() -> None:
    order = [subject for _, _, subject in a_plan().ready_steps()]
    assert order == [Subject.FLOOR, Subject.KOPF, Subject.ROOMKEEPER, Subject.KOPF, Subject.ROOMKEEPER, Subject.FLOOR]


def test_full_cycles_are_measured_against_the_floor_alone() -> None:
    plan = a_plan(Part.SIGNALS, Part.CYCLES, rounds=1)
    assert [(case.in_flight, subject) for _, case, subject in plan.cycle_steps()] == [
        (16, Subject.FLOOR),
        (16, Subject.ROOMKEEPER),
    ]
    assert plan.latencies() == (Part.SIGNALS,)
    assert list(a_plan(Part.SIGNALS).cycle_steps()) == []


def test_latencies_are_those_of_roomkeeper() -> None:
    plan = a_plan(Part.SIGNALS, Part.CYCLES, subjects=(Subject.FLOOR,), rounds=1)
    assert plan.latencies() == ()
    assert [subject for _, _, subject in plan.cycle_steps()] == [Subject.FLOOR]


def test_a_number_of_matches_counts_for_every_part() -> None:
    sizes = FULL.changed([3], 5)
    parts = (sizes.webhooks, sizes.leaves, sizes.kills, sizes.heartbeats, sizes.signals, sizes.terminations)
    assert parts == (5,) * 6
    assert [(case.in_flight, case.warm_up, case.count) for case in sizes.cycles] == [(3, 3, 5)]
    assert FULL.changed(None, None) == FULL
