"""Once nothing changes nothing is written; what is written holds no secret; probes and metrics answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from tests import factories
from tests.support.kube import is_true
from tests.support.metrics import read_metrics
from tests.support.waiting import consistently, eventually
from tests.support.world import World

_QUIET_SECONDS = 5.0


async def test_a_call_that_goes_on_costs_no_write(world: World) -> None:
    """L5, over several polls."""
    await world.active()
    await world.ready("carol", "dave", name="waiting")
    await world.kube.create(factories.room())
    await world.kube.room_until(lambda room: room.status.num_participants == 0 and is_true(room, "Ready"), "lobby")

    async def versions() -> dict[str, str]:
        objects = [body for kind in ("Match", "Room", "Secret", "Event") for body in await world.kube.list(kind)]
        return {body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in objects}

    async def settled() -> dict[str, str]:
        """The Event of the connection comes beside the work."""
        assert any(event["reason"] == "Connected" for event in await world.events())
        match = await world.kube.match()
        rooms = [body for body in await world.kube.list("Room") if body["status"]["numParticipants"] == 2]
        assert (match.status.connected, len(rooms)) == ("2/2", 1)
        return await versions()

    before = await eventually(settled)
    seqs = [(await world.user(identity)).seq for identity in ("alice", "bob")]

    async def nothing_is_written() -> None:
        assert await versions() == before

    await consistently(nothing_is_written, _QUIET_SECONDS)
    assert [(await world.user(identity)).seq for identity in ("alice", "bob")] == seqs


async def test_the_canary_is_nowhere(world: World) -> None:
    """S7: what the operator writes and says about a whole call holds neither a token nor the API secret."""
    match, _ = await world.active(tokens={"delivery": "Both"})
    secrets = [entry["token"] for entry in (await world.tokens(match)).values()] + [world.where.livekit_api_secret]
    await world.kube.patch("Match", "match", factories.termination("End", "bob"))
    await world.kube.match_until(lambda found: is_true(found, "Finished"))
    rooms = [body["metadata"]["name"] for body in await world.kube.list("Room")]
    assert rooms == []
    objects = [await world.kube.list(kind) for kind in ("Match", "Event")]
    dumps = _dumps(world)
    log = (world.where.log_directory / "operator.log").read_text()
    metrics = (await read_metrics(world.where.metrics_url)).text
    keys = [key async for key in world.redis.scan_iter(f"{world.keys.prefix}*")]
    ledger = await world.hash(world.keys.match(match.metadata.uid))
    assert dumps
    assert match.metadata.name in log
    for text in (json.dumps(objects), *dumps, log, metrics, json.dumps(keys), json.dumps(ledger)):
        for secret in secrets:
            assert secret not in text
            # Nor a part that would do: the signature alone opens nothing, but the payload tells who.
            assert secret.rpartition(".")[2] not in text


def _dumps(world: World) -> list[str]:
    record = Path(world.where.operator_env["ROOMKEEPER_RECORD_DIR"])
    return [file.read_text() for file in record.glob(f"*{world.kube.namespace}*")]


async def test_the_probes_answer_and_the_metrics_count(world: World) -> None:
    before = await read_metrics(world.where.metrics_url)
    await world.active()
    await world.delete()
    after = await read_metrics(world.where.metrics_url)
    for name in (
        "roomkeeper_match_ready_seconds_count",
        "roomkeeper_match_connected_seconds_count",
        "roomkeeper_reconcile_duration_seconds_count",
        "roomkeeper_api_writes_total",
        "roomkeeper_triggers_total",
    ):
        assert after(name) > before(name), name
    assert after("roomkeeper_leader") == 1
    assert after("roomkeeper_reconciles_total", result="bug") == 0
    async with aiohttp.ClientSession() as session:
        for probe in ("livez", "readyz"):
            async with session.get(f"{world.where.operator_url}/{probe}") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_log_line_names_key_and_reconcile(world: World) -> None:
    await world.ready()
    ready: list[dict[str, Any]] = []

    async def told() -> None:  # a moment after the status that it tells of
        text = await asyncio.to_thread((world.where.log_directory / "operator.log").read_text)
        ours = [json.loads(line) for line in text.splitlines() if world.kube.namespace in line]
        ready[:] = [line for line in ours if line["event"] == "match" and line.get("phase") == "Connecting"]
        assert ready

    await eventually(told)
    assert ready[0]["key"] == f"match/{world.kube.namespace}/match"
    assert isinstance(ready[0]["reconcile"], int)
    assert {"timestamp", "level", "logger"} <= set(ready[0])
