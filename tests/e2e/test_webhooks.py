"""Webhooks: one that LiveKit has signed counts at once. Any other one is refused and counted, and changes nothing."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from livekit import api

from controller.api.names import room_name
from controller.api.phases import RoomPhase
from sandbox.endpoints import Endpoints
from tests.support.forgery import joined, signature
from tests.support.metrics import read_metrics
from tests.support.rig import Rig
from tests.support.waiting import eventually

Headers = dict[str, str]


@dataclass(frozen=True)
class Forgery:
    """A webhook that is wrong in one respect: what is sent for a good body, and the answer to it."""

    make: Callable[[Endpoints, bytes], tuple[bytes, Headers]]
    status: int
    counted_as: str


def _signed(**how: Any) -> Callable[[Endpoints, bytes], tuple[bytes, Headers]]:
    return lambda where, body: (body, {"Authorization": signature(where, body, **how)})


def _carrying(other: Callable[[bytes], bytes]) -> Callable[[Endpoints, bytes], tuple[bytes, Headers]]:
    """Send another body, which is signed correctly."""
    return lambda where, body: (other(body), {"Authorization": signature(where, other(body))})


def _altered(where: Endpoints, body: bytes) -> tuple[bytes, Headers]:
    return body.replace(b"PA_forged", b"PA_f0rged"), {"Authorization": signature(where, body)}


FORGERIES = {
    "without a signature": Forgery(lambda _, body: (body, {}), 401, "unsigned"),
    "signed with another secret": Forgery(_signed(secret="another-secret-of-enough-characters"), 401, "bad-signature"),
    "signed with another key": Forgery(_signed(iss="another-key"), 401, "unknown-key"),
    "expired": Forgery(_signed(exp=int(time.time()) - 3600), 401, "expired"),
    "without expiry": Forgery(_signed(exp=None), 401, "bad-token"),
    "signed with alg none": Forgery(_signed(algorithm="none"), 401, "bad-token"),
    "no token at all": Forgery(lambda _, body: (body, {"Authorization": "Basic YTpi"}), 401, "bad-token"),
    "altered on the way": Forgery(_altered, 401, "altered"),
    "signed for no body": Forgery(_signed(sha256=None), 401, "altered"),
    "of 1 MiB": Forgery(_carrying(lambda body: body + b" " * 1024 * 1024), 413, "too-large"),
    "not JSON": Forgery(_carrying(lambda _: b"participant_joined"), 400, "malformed"),
    "not UTF-8": Forgery(_carrying(lambda body: body.replace(b"PA_", b"\xff\xfe")), 400, "malformed"),
    "nested too deeply": Forgery(_carrying(lambda _: b'{"room":' * 5000 + b"1" + b"}" * 5000), 400, "malformed"),
}


async def _post(url: str, body: bytes, headers: Headers) -> int:
    content = {"Content-Type": "application/webhook+json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=content | headers) as answer,
    ):
        await answer.read()
        return answer.status


async def _only_room(rig: Rig) -> api.Room:
    (room,) = (await rig.livekit_rooms()).values()
    return room


async def _at_rest(rig: Rig) -> None:
    """Return when nothing is left to write: Ready does not wait for the status of the Room."""
    match = await rig.ready()
    await rig.kube.room_until(lambda found: found.status.phase is RoomPhase.ACTIVE, room_name(match.metadata.uid))


async def _everything(rig: Rig) -> dict[str, Any]:
    """Return all that a webhook could change."""
    redis = rig.redis
    keys = [key async for key in redis.scan_iter(rig.keys.pattern)]
    values = {key: await redis.dump(key) for key in keys if await redis.type(key) != "string"}
    objects = {kind: await rig.kube.list(kind) for kind in ("Match", "Room", "Event")}
    return {"redis": values, **objects}


async def test_a_signed_webhook_counts_at_once(rig: Rig) -> None:
    """The control for the refusals below: the same event, correctly signed, does change something."""
    await rig.ready()
    body = joined(await _only_room(rig), "alice")
    assert await _post(rig.where.webhook_url, body, {"Authorization": signature(rig.where, body)}) == 200
    match = await rig.kube.match_until(lambda found: found.status.connected == "1/2")
    assert match.status.participants[0].evidence == "webhook"


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
async def test_a_webhook_is_refused(rig: Rig, forgery: Forgery) -> None:
    await _at_rest(rig)
    body, headers = forgery.make(rig.where, joined(await _only_room(rig), "alice"))
    counted = ("roomkeeper_webhooks_total", forgery.counted_as)
    before = await _everything(rig)
    count = (await read_metrics(rig.where.metrics_url))(counted[0], result=counted[1])
    assert await _post(rig.where.webhook_url, body, headers) == forgery.status
    assert (await read_metrics(rig.where.metrics_url))(counted[0], result=counted[1]) > count
    assert await _everything(rig) == before


async def test_a_webhook_about_a_room_that_is_not_ours_changes_nothing(rig: Rig) -> None:
    await _at_rest(rig)
    room = await _only_room(rig)
    metadata = room.metadata.replace(rig.where.cluster_id, "another-cluster")
    body = joined(api.Room(name=room.name, sid=room.sid, metadata=metadata), "alice")
    before = await _everything(rig)
    assert await _post(rig.where.webhook_url, body, {"Authorization": signature(rig.where, body)}) == 200
    assert await _everything(rig) == before


async def test_livekits_own_webhooks_are_written_to_the_stream(rig: Rig) -> None:
    before = (await read_metrics(rig.where.metrics_url))("roomkeeper_webhooks_total", result="accepted")
    match, _ = await rig.active()

    async def both_are_in_the_stream() -> None:
        entries = await rig.stream(rig.keys.webhooks(0))
        joined = [entry for entry in entries if entry["event"] == "participant_joined"]
        assert {entry["identity"] for entry in joined} == {"alice", "bob"}
        assert {entry["match"] for entry in joined} == {match.metadata.uid}

    await eventually(both_are_in_the_stream)
    metrics = await read_metrics(rig.where.metrics_url)
    assert metrics("roomkeeper_webhooks_total", result="accepted") >= before + 2
