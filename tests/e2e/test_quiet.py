"""While nothing changes, nothing is written. No text contains a secret. Probes and metrics answer."""

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
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

_QUIET_SECONDS = 5.0


async def test_a_call_that_goes_on_costs_no_write(rig: Rig) -> None:
    """L5, over several polls."""
    await rig.active()
    await rig.ready("carol", "dave", name="waiting")
    await rig.kube.create(manifests.room())
    await rig.kube.room_until(lambda room: room.status.num_participants == 0 and is_true(room, "Ready"), "lobby")

    async def versions() -> dict[str, str]:
        objects = [body for kind in ("Match", "Room", "Secret", "Event") for body in await rig.kube.list(kind)]
        return {body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in objects}

    async def settled() -> dict[str, str]:
        """Wait for the Event of the connection, which is posted by a task of its own."""
        assert any(event["reason"] == "Connected" for event in await rig.events())
        match = await rig.kube.match()
        rooms = [body for body in await rig.kube.list("Room") if body["status"]["numParticipants"] == 2]
        assert (match.status.connected, len(rooms)) == ("2/2", 1)
        return await versions()

    await eventually(settled)
    # Another client that annotates and labels objects costs no write of ours either. This is nearly all that fits.
    text = {"example.com/note": "x" * 200_000}
    note = {"metadata": {"annotations": text, "labels": {"example.com/team": "calls"}}}
    for kind in ("Match", "Room"):
        for body in await rig.kube.list(kind):
            await rig.kube.patch(kind, body["metadata"]["name"], note)
    before = await versions()
    seqs = [(await rig.user(identity)).seq for identity in ("alice", "bob")]

    async def nothing_is_written() -> None:
        assert await versions() == before

    await consistently(nothing_is_written, _QUIET_SECONDS)
    assert [(await rig.user(identity)).seq for identity in ("alice", "bob")] == seqs


async def test_the_canary_is_nowhere(rig: Rig) -> None:
    """S7: all that the operator writes about a whole call contains neither a token nor the API secret."""
    await rig.enqueue("alice", "bob")
    match, _ = await rig.active(tokens={"delivery": "Both"})
    canaries = await _canaries(rig, match)

    async def made_again() -> set[str]:
        await send(rig, "token", "bob", match=match.metadata.uid)
        found = await _canaries(rig, match)
        assert not found & canaries - {rig.where.livekit_api_secret}
        return found

    canaries |= await eventually(made_again)
    _assert_nowhere(canaries, await _all_that_is_said(rig, match))
    written = {"user", "match", "room", "notify", "events", "signals", "webhooks"}
    assert written <= await _kinds_of_keys(rig, match)

    await send(rig, "disconnect", "bob", match=match.metadata.uid, by="moderator", reason="spam")
    await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert await rig.kube.list("Room") == []
    said = await _all_that_is_said(rig, match)
    _assert_nowhere(canaries, said)
    assert written | {"disconnects", "room-deleted"} <= await _kinds_of_keys(rig, match)
    # Each of the texts is about this call, the recordings of the operator included.
    for what in ("kubectl describe", "kubectl get -o yaml", "Redis", "records", "the log"):
        assert match.metadata.name in said[what], what
        assert rig.kube.namespace in said[what], what


async def _canaries(rig: Rig, match: Match) -> set[str]:
    """Return what is secret: the tokens, their parts with claims and signatures, and all of these in base64."""
    secret = await rig.kube.get("Secret", token_secret_name(match.metadata.uid))
    assert secret is not None
    entries = (await rig.tokens(match)).values()
    hashed = await rig.hash(rig.keys.tokens(match.metadata.uid))
    tokens = {entry["token"] for entry in entries} | {json.loads(text)["token"] for text in hashed.values()}
    assert len(tokens) == 2, "the Secret and Redis are not of one time"
    parts = {part for token in tokens for part in token.split(".")[1:]}
    return {rig.where.livekit_api_secret, *tokens, *parts, *secret["data"].values()}


async def _all_that_is_said(rig: Rig, match: Match) -> dict[str, str]:
    """Return all texts, except the Secret and the hash that exist for the tokens."""
    ours = "matches,rooms,events,leases"
    return {
        "kubectl describe": await rig.kube.ask("describe", "matches,rooms,events"),
        "kubectl get -o yaml": await rig.kube.ask("get", ours, "-o", "yaml", "--show-managed-fields"),
        "kubectl get -o wide": await rig.kube.ask("get", ours, "-o", "wide"),
        "the lease": await rig.kube.ask("get", "leases", "-A", "-o", "yaml", "--show-managed-fields"),
        "Redis": "\n".join([f"{key}: {await _value(rig, key)}" for key in await _keys(rig, match)]),
        "LiveKit": str(list((await rig.livekit_rooms()).values())),
        "records": "".join(_dumps(rig)),
        "the log": (rig.where.log_directory / "operator.log").read_text(),
        "the metrics": (await read_metrics(rig.where.metrics_url)).text,
    }


def _assert_nowhere(canaries: set[str], said: dict[str, str]) -> None:
    for what, text in said.items():
        assert text, f"{what} is empty"
        assert not any(canary in text for canary in canaries), f"a secret is in {what}"


async def _keys(rig: Rig, match: Match) -> list[str]:
    tokens = rig.keys.tokens(match.metadata.uid)
    return [key async for key in rig.redis.scan_iter(rig.keys.pattern) if key != tokens]


async def _kinds_of_keys(rig: Rig, match: Match) -> set[str]:
    return {rig.keys.name(key).partition(":")[0] for key in await _keys(rig, match)}


async def _value(rig: Rig, key: str) -> str:
    redis: Any = rig.redis
    reads = {
        "string": lambda: redis.get(key),
        "hash": lambda: redis.hgetall(key),
        "zset": lambda: redis.zrange(key, 0, -1, withscores=True),
        "stream": lambda: redis.xrange(key),
        "none": lambda: redis.get(key),  # it has gone meanwhile
    }
    return json.dumps(await reads[await redis.type(key)]())


def _dumps(rig: Rig) -> list[str]:
    record = Path(rig.where.operator_env["ROOMKEEPER_RECORD_DIR"])
    return [file.read_text() for file in record.glob(f"*{rig.kube.namespace}*")]


async def test_the_probes_answer_and_the_metrics_count(rig: Rig) -> None:
    before = await read_metrics(rig.where.metrics_url)
    await rig.active()
    during = await read_metrics(rig.where.metrics_url)
    assert during("roomkeeper_objects", kind="Match", phase="Active") >= 1
    assert during("roomkeeper_objects", kind="Room", phase="Active") >= 1
    await rig.delete()
    after = await read_metrics(rig.where.metrics_url)
    for name in (
        "roomkeeper_match_ready_seconds_count",
        "roomkeeper_match_connected_seconds_count",
        "roomkeeper_webhook_last_timestamp_seconds",
        "roomkeeper_reconcile_duration_seconds_count",
        "roomkeeper_api_writes_total",
        "roomkeeper_triggers_total",
    ):
        assert after(name) > before(name), name
    assert after("roomkeeper_leader") == 1
    assert after("roomkeeper_reconciles_total", result="bug") == 0
    async with aiohttp.ClientSession() as session:
        for probe in ("livez", "readyz"):
            async with session.get(f"{rig.where.operator_url}/{probe}") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")


async def test_a_log_line_names_key_and_reconcile(rig: Rig) -> None:
    await rig.ready()
    ready: list[dict[str, Any]] = []

    async def told() -> None:  # a moment after the status that it tells of
        text = await asyncio.to_thread((rig.where.log_directory / "operator.log").read_text)
        ours = [json.loads(line) for line in text.splitlines() if rig.kube.namespace in line]
        ready[:] = [line for line in ours if line["event"] == "match" and line.get("phase") == "Connecting"]
        assert ready

    await eventually(told)
    assert ready[0]["key"] == f"match/{rig.kube.namespace}/match"
    assert isinstance(ready[0]["reconcile"], int)
    assert {"timestamp", "level", "logger"} <= set(ready[0])


async def test_one_line_per_match_says_how_it_ended_under_every_name_of_the_call(rig: Rig) -> None:
    """One match ends by a wish, the other is deleted in the middle."""
    match, _ = await rig.active()
    assert match.status.room is not None
    await rig.kube.patch("Match", "match", manifests.termination("End", "bob", "late"))
    await rig.ready("carol", "dan", name="deleted")
    await rig.kube.delete("Match", "deleted")
    await rig.kube.gone("Match", "deleted")
    over: list[dict[str, Any]] = []

    async def told() -> None:
        text = await asyncio.to_thread((rig.where.log_directory / "operator.log").read_text)
        lines = [json.loads(line) for line in text.splitlines() if '"match is over"' in line]
        over[:] = [line for line in lines if line["namespace"] == rig.kube.namespace]
        assert len(over) == 2

    await eventually(told)
    ended, deleted = sorted(over, key=lambda line: line["name"], reverse=True)
    assert list(ended)[-12:] == [
        *("namespace", "name", "uid", "session", "livekit_room", "server", "people", "phase", "reason", "initiator"),
        *("message", "duration_seconds"),
    ]
    assert (ended["uid"], ended["session"]) == (match.metadata.uid,) * 2
    assert ended["trace_id"] == match.metadata.uid.replace("-", "")
    assert (ended["livekit_room"], ended["people"]) == (match.status.room.livekit_name, ["alice", "bob"])
    assert (ended["phase"], ended["reason"], ended["initiator"]) == ("Ended", "Ended", "bob")
    assert ended["message"].startswith("bob ended the call")
    assert ended["duration_seconds"] > 0
    assert (deleted["name"], deleted["reason"], deleted["people"]) == ("deleted", "Deleted", ["carol", "dan"])
    assert (deleted["duration_seconds"], deleted["trace_id"]) == (None, deleted["uid"].replace("-", ""))

    async def has_event() -> None:
        events = {event["reason"]: event for event in await rig.events()}
        assert "Deleted" in events
        assert events["Deleted"]["involvedObject"]["name"] == "deleted"
        assert "carol and dan" in events["Deleted"]["message"]

    await eventually(has_event)
