"""How each fault is done. A hand takes the scene and its step, and puts things right again at the end of the step."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast

from livekit import api

from controller.api.names import MANAGED_LABEL
from tests.chaos.faults import FAULTS, Fault, Lane
from tests.chaos.plan import Step
from tests.chaos.scene import Scene
from tests.support.chaos import frozen
from tests.support.operators import Operator
from tests.support.waiting import eventually

Hand = Callable[[Scene, Step, random.Random], Awaitable[None]]

LIVEKIT, REDIS, API_SERVER = "livekit-server", "redis-server", "kube-apiserver"
_CLOCK_SECONDS = 600.0
_NAMESPACE_SECONDS = 120.0
_FALSE: Final = ("", "x", "-1", "IN_CALL", "{", "99999999999999999999")
_STATUSES: Final[tuple[dict[str, Any], ...]] = (
    {"phase": "Ended"},
    {"phase": "Failed"},
    {"phase": "Active"},
    {"phase": "Pending"},
    {"phase": None},
    {"readyAt": None},
    {"endedAt": "2020-01-01T00:00:00Z"},
    {"end": None},
    {"conditions": None},
    {"participants": None},
    {"history": None},
)


class NothingToHit(Exception):
    """There is no object, key or room for this fault."""


async def act(scene: Scene, step: Step) -> bool:
    """Do one fault. Returns whether there was something to hit."""
    row = FAULTS[step.fault]
    lane = scene.lanes[step.lane] if row.lane is not Lane.OBJECTS else contextlib.nullcontext()
    async with lane:
        try:
            await HANDS[step.fault](scene, step, random.Random(step.draw))
        except NothingToHit:
            return False
    return True


# ---- operators


def _operator(scene: Scene, step: Step) -> Operator:
    return scene.operators[int(step.lane.rpartition(" ")[2]) - 1]


async def _kill_operator(scene: Scene, step: Step, dice: random.Random) -> None:
    await _operator(scene, step).kill()
    await scene.start(_operator(scene, step))


async def _terminate_operator(scene: Scene, step: Step, dice: random.Random) -> None:
    operator = _operator(scene, step)
    if operator.running:
        await operator.end(dice.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))
    await scene.start(operator)


async def _freeze_operator(scene: Scene, step: Step, dice: random.Random) -> None:
    operator = _operator(scene, step)
    operator.send(signal.SIGSTOP)
    try:
        await asyncio.sleep(step.seconds)
    finally:
        operator.send(signal.SIGCONT)


async def _turn_clock(scene: Scene, step: Step, dice: random.Random) -> None:
    operator = _operator(scene, step)
    await operator.kill()
    operator.clock_off_seconds = dice.choice((-_CLOCK_SECONDS, 0.0, _CLOCK_SECONDS))
    await scene.start(operator)


# ---- programs of the stack


def _freezes(program: str) -> Hand:
    async def freeze(scene: Scene, step: Step, dice: random.Random) -> None:
        with frozen(scene.rig.where, program):
            await asyncio.sleep(step.seconds)

    return freeze


def _kills(program: str, *, empty: bool = False) -> Hand:
    async def kill(scene: Scene, step: Step, dice: random.Random) -> None:
        assert scene.stack is not None
        await scene.stack.kill(program)
        await asyncio.sleep(step.seconds)
        if empty:
            for file in (scene.rig.where.directory / "data" / "redis").glob("*.rdb"):
                file.unlink()
        await scene.stack.start_program(program)
        if program == REDIS:
            await scene.rig.redis.connection_pool.disconnect()

    return kill


# ---- LiveKit


async def _refuse(scene: Scene, step: Step, dice: random.Random) -> None:
    scene.livekit.share = dice.uniform(0.1, 1.0)
    try:
        await asyncio.sleep(step.seconds)
    finally:
        scene.livekit.share = 0.0


async def _slow(scene: Scene, step: Step, dice: random.Random) -> None:
    scene.livekit.delay_seconds = dice.uniform(0.1, 3.0)
    try:
        await asyncio.sleep(step.seconds)
    finally:
        scene.livekit.delay_seconds = 0.0


async def _delete_room(scene: Scene, step: Step, dice: random.Random) -> None:
    name = _one(dice, await scene.rig.livekit_rooms())
    await scene.rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))


# ---- Redis


async def _readonly(scene: Scene, step: Step, dice: random.Random) -> None:
    """A replica of a master that does not answer: it serves what it has."""
    redis = scene.rig.redis
    await redis.replicaof("127.0.0.1", "1")
    try:
        await asyncio.sleep(step.seconds)
    finally:
        await redis.replicaof("NO", "ONE")


async def _fill(scene: Scene, step: Step, dice: random.Random) -> None:
    await scene.rig.redis.config_set("maxmemory", 1)
    try:
        await asyncio.sleep(step.seconds)
    finally:
        await scene.rig.redis.config_set("maxmemory", 0)


def _commands(*words: str) -> Hand:
    async def command(scene: Scene, step: Step, dice: random.Random) -> None:
        await scene.rig.redis.execute_command(*words)  # type: ignore[no-untyped-call]

    return command


async def _delete_key(scene: Scene, step: Step, dice: random.Random) -> None:
    key = _one(dice, await _keys(scene))
    scene.told.touch(key)
    await scene.rig.redis.delete(key)


async def _damage_key(scene: Scene, step: Step, dice: random.Random) -> None:
    """A field of a hash is gone, or says something false."""
    redis = scene.rig.redis
    hashes = [key for key in await _keys(scene) if await redis.type(key) == "hash"]
    key = _one(dice, hashes)
    scene.told.touch(key)
    field = _one(dice, await cast("Awaitable[list[str]]", redis.hkeys(key)))
    if dice.random() < 0.5:
        await redis.hdel(key, field)
    else:
        await redis.hset(key, field, dice.choice(_FALSE))


async def _keys(scene: Scene) -> list[str]:
    return [key async for key in scene.rig.redis.scan_iter(scene.rig.keys.pattern)]


# ---- the API server, and objects


async def _answer_badly(scene: Scene, step: Step, dice: random.Random) -> None:
    scene.api.share = dice.uniform(0.1, 1.0)
    try:
        await asyncio.sleep(step.seconds)
    finally:
        scene.api.share = 0.0


async def _strip(scene: Scene, step: Step, dice: random.Random) -> None:
    await scene.rig.kube.patch(*await _object(scene, dice), {"metadata": {"finalizers": None}})


async def _delete(scene: Scene, step: Step, dice: random.Random) -> None:
    await scene.rig.kube.delete(*await _object(scene, dice))


async def _force(scene: Scene, step: Step, dice: random.Random) -> None:
    found = await _object(scene, dice)
    await scene.rig.kube.delete(*found)
    await scene.rig.kube.patch(*found, {"metadata": {"finalizers": None}})


async def _edit_status(scene: Scene, step: Step, dice: random.Random) -> None:
    status = dice.choice(_STATUSES)
    await scene.rig.kube.patch(*await _object(scene, dice), {"status": status}, subresource="status")


async def _delete_secret(scene: Scene, step: Step, dice: random.Random) -> None:
    names = [body["metadata"]["name"] for body in await scene.rig.kube.list("Secret")]
    await scene.rig.kube.delete("Secret", _one(dice, names))


async def _delete_namespace(scene: Scene, step: Step, dice: random.Random) -> None:
    """It comes back once it is gone."""
    kube = scene.rig.kube
    path = f"/api/v1/namespaces/{kube.namespace}"
    await kube.admin.answer("DELETE", path)

    async def is_gone() -> None:
        assert (await kube.admin.answer("GET", path)).status == 404, "the namespace is still there"

    await eventually(is_gone, _NAMESPACE_SECONDS)
    metadata = {"name": kube.namespace, "labels": {MANAGED_LABEL: "true"}}
    await kube.admin.call("POST", "/api/v1/namespaces", {"metadata": metadata})


async def _object(scene: Scene, dice: random.Random) -> tuple[str, str]:
    kind = dice.choice(("Match", "Room"))
    return kind, _one(dice, [body["metadata"]["name"] for body in await scene.rig.kube.list(kind)])


def _one(dice: random.Random, things: Iterable[str]) -> str:
    ordered = sorted(things)
    if not ordered:
        raise NothingToHit
    return dice.choice(ordered)


# ---- webhooks


def _copies(*delays: float) -> Hand:
    async def bend(scene: Scene, step: Step, dice: random.Random) -> None:
        scene.webhook_copies = delays
        try:
            await asyncio.sleep(step.seconds)
        finally:
            scene.webhook_copies = (0.0,)

    return bend


HANDS: Final[dict[Fault, Hand]] = {
    Fault.OPERATOR_KILLED: _kill_operator,
    Fault.OPERATOR_TERMINATED: _terminate_operator,
    Fault.OPERATOR_FROZEN: _freeze_operator,
    Fault.OPERATOR_CLOCK: _turn_clock,
    Fault.LIVEKIT_FROZEN: _freezes(LIVEKIT),
    Fault.LIVEKIT_KILLED: _kills(LIVEKIT),
    Fault.LIVEKIT_REFUSES: _refuse,
    Fault.LIVEKIT_SLOW: _slow,
    Fault.LIVEKIT_ROOM_DELETED: _delete_room,
    Fault.REDIS_FROZEN: _freezes(REDIS),
    Fault.REDIS_KILLED: _kills(REDIS),
    Fault.REDIS_EMPTY: _kills(REDIS, empty=True),
    Fault.REDIS_READONLY: _readonly,
    Fault.REDIS_FULL: _fill,
    Fault.REDIS_CLIENTS: _commands("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
    Fault.REDIS_SCRIPTS: _commands("SCRIPT", "FLUSH"),
    Fault.REDIS_FUNCTIONS: _commands("FUNCTION", "FLUSH"),
    Fault.KEY_DELETED: _delete_key,
    Fault.KEY_DAMAGED: _damage_key,
    Fault.API_FROZEN: _freezes(API_SERVER),
    Fault.API_KILLED: _kills(API_SERVER),
    Fault.API_ANSWERS: _answer_badly,
    Fault.FINALIZERS: _strip,
    Fault.DELETED: _delete,
    Fault.FORCED: _force,
    Fault.STATUS_EDITED: _edit_status,
    Fault.SECRET_DELETED: _delete_secret,
    Fault.NAMESPACE_DELETED: _delete_namespace,
    Fault.WEBHOOKS_DROPPED: _copies(),
    Fault.WEBHOOKS_DELAYED: _copies(2.0),
    Fault.WEBHOOKS_DUPLICATED: _copies(0.0, 0.05, 1.0),
}
"""The hand of each fault."""
