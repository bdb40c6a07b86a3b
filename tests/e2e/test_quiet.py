"""Once nothing changes nothing is written; what is written holds no secret; probes and metrics answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

from controller.api.match import Match
from controller.api.names import token_secret_name
from tests import manifests
from tests.support.gateways import send
from tests.support.kube import is_true
from tests.support.metrics import read_metrics
from tests.support.waiting import consistently, eventually
from tests.support.world import World

_QUIET_SECONDS = 5.0


async def test_a_call_that_goes_on_costs_no_write(world: World) -> None:
    """L5, over several polls."""
    await world.active()
    await world.ready("carol", "dave", name="waiting")
    await world.kube.create(manifests.room())
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
    """S7: whatever the operator writes and says about a whole call holds neither a token nor the API secret."""
    await world.enqueue("alice", "bob")
    match, _ = await world.active(tokens={"delivery": "Both"})
    canaries = await _canaries(world, match)

    async def made_again() -> set[str]:
        await send(world, "token", "bob", match=match.metadata.uid)
        found = await _canaries(world, match)
        assert not found & canaries - {world.where.livekit_api_secret}
        return found

    canaries |= await eventually(made_again)
    _assert_nowhere(canaries, await _all_that_is_said(world, match))
    written = {"user", "match", "room", "notify", "events", "signals", "webhooks"}
    assert written <= await _kinds_of_keys(world, match)

    await send(world, "disconnect", "bob", match=match.metadata.uid, by="moderator", reason="spam")
    await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert await world.kube.list("Room") == []
    said = await _all_that_is_said(world, match)
    _assert_nowhere(canaries, said)
    assert written | {"disconnects", "room-deleted"} <= await _kinds_of_keys(world, match)
    # Whatever is looked at tells of this call, and so do the operator's records of what it saw and decided.
    for what in ("kubectl describe", "kubectl get -o yaml", "Redis", "records", "the log"):
        assert match.metadata.name in said[what], what
        assert world.kube.namespace in said[what], what


async def _canaries(world: World, match: Match) -> set[str]:
    """What is secret now: the tokens, the parts of them that say or prove something, and all as a Secret has it."""
    secret = await world.kube.get("Secret", token_secret_name(match.metadata.uid))
    assert secret is not None
    entries = (await world.tokens(match)).values()
    hashed = await world.hash(world.keys.tokens(match.metadata.uid))
    tokens = {entry["token"] for entry in entries} | {json.loads(text)["token"] for text in hashed.values()}
    assert len(tokens) == 2, "the Secret and Redis are not of one time"
    parts = {part for token in tokens for part in token.split(".")[1:]}
    return {world.where.livekit_api_secret, *tokens, *parts, *secret["data"].values()}


async def _all_that_is_said(world: World, match: Match) -> dict[str, str]:
    """Everything but the Secret and the hash that are there for the tokens."""
    ours = "matches,rooms,events,leases"
    return {
        "kubectl describe": await world.kube.ask("describe", "matches,rooms,events"),
        "kubectl get -o yaml": await world.kube.ask("get", ours, "-o", "yaml", "--show-managed-fields"),
        "kubectl get -o wide": await world.kube.ask("get", ours, "-o", "wide"),
        "the lease": await world.kube.ask("get", "leases", "-A", "-o", "yaml", "--show-managed-fields"),
        "Redis": "\n".join([f"{key}: {await _value(world, key)}" for key in await _keys(world, match)]),
        "LiveKit": str(list((await world.livekit_rooms()).values())),
        "records": "".join(_dumps(world)),
        "the log": (world.where.log_directory / "operator.log").read_text(),
        "the metrics": (await read_metrics(world.where.metrics_url)).text,
    }


def _assert_nowhere(canaries: set[str], said: dict[str, str]) -> None:
    for what, text in said.items():
        assert text, f"nothing is said in {what}"
        assert not any(canary in text for canary in canaries), f"a secret is in {what}"


async def _keys(world: World, match: Match) -> list[str]:
    tokens = world.keys.tokens(match.metadata.uid)
    return [key async for key in world.redis.scan_iter(f"{world.keys.prefix}*") if key != tokens]


async def _kinds_of_keys(world: World, match: Match) -> set[str]:
    return {key.removeprefix(world.keys.prefix).partition(":")[0] for key in await _keys(world, match)}


async def _value(world: World, key: str) -> str:
    redis: Any = world.redis
    reads = {
        "string": lambda: redis.get(key),
        "hash": lambda: redis.hgetall(key),
        "zset": lambda: redis.zrange(key, 0, -1, withscores=True),
        "stream": lambda: redis.xrange(key),
        "none": lambda: redis.get(key),  # it has gone meanwhile
    }
    return json.dumps(await reads[await redis.type(key)]())


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
