"""Probes: one look at a container, and what a row of looks means.

A probe that has not succeeded yet looks more often than the Pod asks: that only makes the tests faster. Failures count
at the Pod's own pace.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from sandbox.kubelet.errors import ConfigError
from sandbox.kubelet.network import HOST, PodAddress

Body = dict[str, Any]

_EAGER_SECONDS: Final = 0.15


@dataclass(frozen=True)
class Probe:
    """One probe of a container: where it looks, and how patient it is."""

    port: int
    path: str | None
    """None: a TCP connection is enough."""
    headers: tuple[tuple[str, str], ...]
    period_seconds: float
    timeout_seconds: float
    initial_delay_seconds: float
    failure_threshold: int
    success_threshold: int

    @classmethod
    def read(cls, body: Body, container: Body, address: PodAddress) -> Probe:
        """The probe that the Pod describes. Raises ConfigError for a port that the container does not name."""
        kind = next((name for name in ("httpGet", "tcpSocket") if name in body), None)
        if kind is None or body.get("httpGet", {}).get("scheme", "HTTP") != "HTTP":
            raise ConfigError("the sandbox's kubelet knows only httpGet (HTTP) and tcpSocket probes")
        target = body[kind]
        return cls(
            port=address.ports.get(_number(target["port"], container), 0),
            path=target.get("path", "/") if kind == "httpGet" else None,
            headers=tuple((entry["name"], entry["value"]) for entry in target.get("httpHeaders", ())),
            period_seconds=float(body.get("periodSeconds", 10)),
            timeout_seconds=float(body.get("timeoutSeconds", 1)),
            initial_delay_seconds=float(body.get("initialDelaySeconds", 0)),
            failure_threshold=int(body.get("failureThreshold", 3)),
            success_threshold=int(body.get("successThreshold", 1)),
        )

    async def look(self) -> str:
        """What is wrong; empty if it succeeds."""
        if self.port == 0:
            return "no container of the Pod names this port"
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._look()
        except TimeoutError:
            return f"no answer within {self.timeout_seconds:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return str(error) or type(error).__name__

    async def follow(self, changed: Callable[[bool, str], None]) -> None:
        """Look for ever. `changed` gets each verdict that differs from the one before; the first is False."""
        await asyncio.sleep(self.initial_delay_seconds)
        healthy, good, bad, counted = False, 0, 0, time.monotonic() - self.period_seconds
        while True:
            problem = await self.look()
            if not problem:
                good, bad = good + 1, 0
                if not healthy and good >= self.success_threshold:
                    healthy = True
                    changed(True, "")
            elif time.monotonic() - counted >= self.period_seconds - _EAGER_SECONDS / 2:
                good, bad, counted = 0, bad + 1, time.monotonic()
                if bad >= self.failure_threshold:
                    healthy, bad = False, 0
                    changed(False, problem)
            await asyncio.sleep(self.period_seconds if healthy else min(_EAGER_SECONDS, self.period_seconds))

    async def _look(self) -> str:
        if self.path is None:
            _, writer = await asyncio.open_connection(HOST, self.port)
            writer.close()
            return ""
        url = f"http://{HOST}:{self.port}{self.path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=self.headers) as answer:
            if answer.status < 400:
                return ""
            return f"HTTP probe failed with statuscode: {answer.status}: {(await answer.text())[:200].strip()}"


def _number(port: int | str, container: Body) -> int:
    if isinstance(port, int):
        return port
    named = {entry.get("name"): int(entry["containerPort"]) for entry in container.get("ports", ())}
    if port not in named:
        raise ConfigError(
            f"a probe names the port {port}, but the container has {', '.join(map(str, named)) or 'none'}"
        )
    return named[port]
