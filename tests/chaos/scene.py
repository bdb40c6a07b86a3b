"""What chaos disturbs: two operators, which reach LiveKit and the API server by lines that can be bad."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiohttp import web

from sandbox.ports import PortLocks
from sandbox.stack import Stack
from tests.chaos.faults import OPERATORS
from tests.chaos.told import Told
from tests.support.date_proxy import DateProxy
from tests.support.livekit_proxy import Failure, LiveKitProxy
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually
from tests.support.webhook_proxy import WebhookProxy

_KEEP_SECONDS = 1.0


class ApiProxy(DateProxy):
    """The API server, which answers a `share` of the requests with 429 or 500."""

    share = 0.0

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if random.random() < self.share:
            code, reason = random.choice(((429, "TooManyRequests"), (500, "InternalError")))
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
            return web.json_response(status, status=code, headers={"Retry-After": "1"} if code == 429 else None)
        try:
            return await super()._pass_on(request)
        except (aiohttp.ClientError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)


@dataclass
class Scene:
    """All that hands can reach."""

    rig: Rig
    stack: Stack | None
    """None: the programs of the stack must go on."""
    operators: tuple[Operator, ...]
    livekit: LiveKitProxy
    api: ApiProxy
    webhook_copies: tuple[float, ...] = (0.0,)
    """The delay of each copy of a webhook."""
    lanes: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    told: Told = field(default_factory=Told)
    exits: list[str] = field(default_factory=list)
    """Operators that ended by themselves."""

    async def start(self, operator: Operator) -> None:
        """Start an operator, which may have to wait for a backend before it is ready."""
        with contextlib.suppress(AssertionError):
            await operator.start()

    async def keep(self) -> None:
        """Start operators that have ended by themselves, as the kubelet does."""
        while True:
            for number, operator in enumerate(self.operators, 1):
                lane = self.lanes[f"operator {number}"]
                if not lane.locked() and not operator.running:
                    async with lane:
                        self.exits.append(f"{operator.name}: {operator.log[-500:]}")
                        await self.start(operator)
            await asyncio.sleep(_KEEP_SECONDS)

    async def heal(self) -> None:
        """End all faults; one operator leads."""
        self.livekit.share = self.api.share = self.livekit.delay_seconds = 0.0
        self.webhook_copies = (0.0,)
        for number, operator in enumerate(self.operators, 1):
            async with self.lanes[f"operator {number}"]:
                if operator.running and operator.clock_off_seconds:
                    await operator.kill()
                operator.clock_off_seconds = 0.0
                if not operator.running:
                    await operator.start()
        await eventually(self._one_leads, 60)

    async def _one_leads(self) -> None:
        leaders = [(await operator.metrics())("roomkeeper_leader") for operator in self.operators]
        assert sum(leaders) == 1, leaders


@contextlib.asynccontextmanager
async def scene(rig: Rig, stack: Stack | None, directory: Path, seed: int, **settings: str) -> AsyncIterator[Scene]:
    """Start the lines and two operators."""
    ports = PortLocks()
    where = rig.where
    livekit = LiveKitProxy(where.livekit_http_url, ports.take(), seed=seed, failures=tuple(Failure))
    api = ApiProxy(Path(where.operator_env["KUBECONFIG"]), ports.take())
    made = []
    for _ in range(OPERATORS):
        operator = rig.operators.make(
            livekit_url=livekit.url, livekit_public_url=where.livekit_url, webhook_port=str(ports.take()), **settings
        )
        operator.webhook_url = f"http://127.0.0.1:{operator.environment['ROOMKEEPER_WEBHOOK_PORT']}/livekit/webhook"
        operator.environment["KUBECONFIG"] = api.kubeconfig(directory / "chaos.kubeconfig")
        made.append(operator)
    found = Scene(rig, stack, tuple(made), livekit, api)
    webhooks = WebhookProxy(where.webhook_url, made[0].webhook_url, lambda _: found.webhook_copies)
    try:
        async with livekit, api, webhooks:
            await asyncio.gather(*(operator.start() for operator in made))
            yield found
            for operator in made:
                if operator.running:
                    await operator.end()
    finally:
        ports.release()
