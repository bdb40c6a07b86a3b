"""`python -m tests.chaos` (= `make chaos`): faults by the hundred while calls run, then a table and a verdict."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import aiohttp
import redis.asyncio as redis_py
import typer
from livekit import api

from controller.api.names import MANAGED_LABEL
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from controller.telemetry import logs
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.parts import STACK_PROGRAMS, ensure
from sandbox.progress import Progress
from sandbox.stack import Stack, StackOptions
from tests.chaos.calls import Calls
from tests.chaos.plan import draw
from tests.chaos.run import live_through
from tests.chaos.scene import scene
from tests.support.crowd import Crowd
from tests.support.kube import Kube
from tests.support.logins import LoginsRedis
from tests.support.operators import Operators
from tests.support.people import People
from tests.support.rig import Rig

_NAMESPACE = "chaos"
_ATTEMPT_SECONDS = 10.0


def main(
    seed: Annotated[int | None, typer.Option(help="the plan follows from it; by default it is drawn")] = None,
    seconds: Annotated[float, typer.Option(help="for how long faults come", min=1)] = 600.0,
    faults: Annotated[int, typer.Option(help="how many", min=0)] = 1000,
    at_once: Annotated[int, typer.Option(help="calls at once", min=1)] = 6,
    show: Annotated[bool, typer.Option("--show", help="print the plan and do nothing")] = False,
) -> None:
    """Let calls run through random faults; nothing may be left in Kubernetes, LiveKit or Redis."""
    chosen = secrets.randbelow(1_000_000) if seed is None else seed
    typer.echo(f"seed {chosen}: {faults} faults in {seconds:g} s")
    if show:
        typer.echo("\n".join(map(str, draw(chosen, seconds, faults))))
        return
    ensure(STACK_PROGRAMS, Progress(sys.stderr))
    logs.configure("console", "error", ())
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    again = f'make chaos ARGS="--seed {chosen} --seconds {seconds:g} --faults {faults} --at-once {at_once}"'
    directory = Path(tempfile.mkdtemp(prefix="roomkeeper-chaos-"))
    try:
        asyncio.run(_run(directory, chosen, seconds, faults, at_once))
    except BaseException:
        typer.echo(f"the logs are in {directory}; run it again by: {again}")
        raise
    typer.echo("no orphan is left")


async def _run(directory: Path, seed: int, seconds: float, faults: int, at_once: int) -> None:
    plan = draw(seed, seconds, faults)
    (directory / "plan").write_text("\n".join(map(str, plan)), encoding="utf-8")
    typer.echo(f"the plan is in {directory / 'plan'}")
    async with AsyncExitStack() as entered:
        stack = await entered.enter_async_context(Stack(StackOptions(directory / "stack", operator=False)))
        rig = await _rig(stack.endpoints, directory, entered)
        crowd = await entered.enter_async_context(Crowd())
        calls = Calls(rig, crowd, seed, users=6 * at_once, at_once=at_once, share=0.3)
        disturbed = await entered.enter_async_context(scene(rig, stack, directory, seed))
        story = await live_through(disturbed, plan, calls, typer.echo)
    typer.echo(story.table())


async def _rig(where: Endpoints, directory: Path, entered: AsyncExitStack) -> Rig:
    admin = await entered.enter_async_context(
        Administrator(where.server, where.ca, where.admin_token, timeout_seconds=_ATTEMPT_SECONDS)
    )
    metadata = {"name": _NAMESPACE, "labels": {MANAGED_LABEL: "true"}}
    await admin.call("POST", "/api/v1/namespaces", {"metadata": metadata})
    redis = redis_py.Redis.from_url(where.redis_url, decode_responses=True)
    entered.push_async_callback(redis.aclose)
    client = LoginsRedis(where.redis_url, where.redis_urls)
    entered.push_async_callback(client.close)
    session = await entered.enter_async_context(aiohttp.ClientSession())
    keys = Keys(where.cluster_id, _NAMESPACE)
    return Rig(
        where,
        Kube(where, _NAMESPACE, admin),
        redis,
        keys,
        api.LiveKitAPI(
            where.livekit_http_url, where.livekit_api_key, where.livekit_api_secret, session=session, failover=False
        ),
        Gateway(client, keys),
        await entered.enter_async_context(People(where)),
        await entered.enter_async_context(Operators(where, _NAMESPACE, directory)),
    )


if __name__ == "__main__":
    typer.run(main)
