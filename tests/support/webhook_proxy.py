"""A bad line between LiveKit and the operator: it drops, duplicates or delays webhooks, or changes their order.

The proxy listens where LiveKit sends its webhooks and answers 200 to each, as a proxy with a queue would. Its `Line`
says which copies it forwards to the operator, which listens on another port. Bodies and signatures stay unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web


@dataclass(frozen=True)
class Webhook:
    """One POST as it was received."""

    body: bytes
    headers: dict[str, str]


Line = Callable[[int], tuple[float, ...]]
"""Maps the number of a webhook to the seconds after which each copy of it is forwarded. Empty: it is lost."""


def a_call_late(_number: int) -> tuple[float, ...]:
    """A line that delays each webhook for longer than a call of a test lasts."""
    return (15.0,)


LINES: dict[str, Line] = {
    "duplicated": lambda number: (0.0, 0.05, 1.0),
    # Every three webhooks arrive in reverse order.
    "reordered": lambda number: ((0.9, 0.5, 0.1)[number % 3],),
    "delayed": lambda number: (2.0,),
    "dropped": lambda number: (),
    "every other one dropped": lambda number: () if number % 2 else (0.0,),
}


class WebhookProxy:
    """`async with WebhookProxy(where.webhook_url, operator.webhook_url, LINES["delayed"]) as proxy`."""

    def __init__(self, listens_at: str, passes_to: str, line: Line) -> None:
        self.answers: list[int] = []
        self._listens_at = urlsplit(listens_at)
        self._passes_to = passes_to
        self._line = line
        self._count = 0
        self._on_the_way: set[asyncio.Task[None]] = set()
        app = web.Application()
        app.router.add_post(self._listens_at.path, self._take)
        self._runner = web.AppRunner(app, access_log=None)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        await self._runner.setup()
        await web.TCPSite(self._runner, self._listens_at.hostname, self._listens_at.port, reuse_address=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        for task in self._on_the_way:
            task.cancel()
        await asyncio.gather(*self._on_the_way, return_exceptions=True)
        await self._session.close()

    async def arrived(self) -> None:
        """Return once no webhook is on its way."""
        while self._on_the_way:
            await asyncio.wait(self._on_the_way)

    async def _take(self, request: web.Request) -> web.Response:
        names = ("Authorization", "Content-Type")
        webhook = Webhook(await request.read(), {name: request.headers[name] for name in names})
        for delay_seconds in self._line(self._count):
            task = asyncio.create_task(self._pass_on(webhook, delay_seconds), name="webhook")
            self._on_the_way.add(task)
            task.add_done_callback(self._on_the_way.discard)
        self._count += 1
        return web.Response(text="queued\n")

    async def _pass_on(self, webhook: Webhook, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        # An operator that is away misses it.
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with self._session.post(self._passes_to, data=webhook.body, headers=webhook.headers) as answer:
                self.answers.append(answer.status)
