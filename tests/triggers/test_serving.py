"""Which pools are served: open ones all the time, and those that a gateway asks for if their namespace exists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.backends.bundle import Backends
from controller.errors import Backend, BackendError, BackendUnavailable
from controller.triggers import serving
from controller.triggers.serving import Serving
from tests.support.pulses import a_pulse
from tests.support.waiting import eventually


class Rig:
    """Pools that open when they are asked for, namespaces, and a channel on which gateways ask."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.served: list[str] = []
        self.refused: set[str] = set()
        self.existing = {"calls", "other"}
        self.channel = ""
        self.publish: Callable[[str], None] = lambda _: None
        self.listened = 0
        self.backends = cast("Backends", SimpleNamespace(cluster_id="test", pools=self, namespaces=self))

    # as pools

    def unbound(self, _namespace: str) -> Any:
        return SimpleNamespace(redis=self)

    def namespaces(self) -> tuple[str, ...]:
        return tuple(self.open)

    async def get(self, namespace: str) -> None:
        self._may(namespace)
        self.open.append(namespace)

    async def serve(self, namespace: str) -> None:
        self._may(namespace)
        self.served.append(namespace)

    def _may(self, namespace: str) -> None:
        if namespace in self.refused:
            raise BackendUnavailable(Backend.REDIS, "serve", "no answer")

    # as namespaces

    async def exists(self, name: str) -> bool:
        return name in self.existing

    # as Redis

    async def listen(self, channel: str, heard: Callable[[str], None], *, alive: Callable[[], None]) -> None:
        alive()
        self.channel, self.publish = channel, heard
        self.listened += 1
        if self.listened == 1:
            raise BackendError(Backend.REDIS, "SUBSCRIBE", "the connection failed")
        await asyncio.Event().wait()


@asynccontextmanager
async def running(rig: Rig, monkeypatch: pytest.MonkeyPatch, *namespaces: str) -> AsyncIterator[None]:
    monkeypatch.setattr(serving, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(serving, "_RETRY_SECONDS", 0.01)
    served = Serving(rig.backends, namespaces)
    loops = (served.renew, served.listen, served.open_asked)
    task = asyncio.gather(*(loop(a_pulse()) for loop in loops))

    async def listens() -> None:
        assert rig.listened == 2, "it listens again after a lost connection"

    await eventually(listens)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_open_pools_are_served_again_and_again_and_one_in_trouble_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    rig.open, rig.refused = ["bad", "calls"], {"bad"}
    async with running(rig, monkeypatch):

        async def is_served_twice() -> None:
            assert rig.served[:2] == ["calls", "calls"]

        await eventually(is_served_twice)


async def test_a_pool_that_a_gateway_asks_for_is_opened_if_its_namespace_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    rig.refused = {"other"}
    async with running(rig, monkeypatch):
        assert rig.channel == "rk:unserved:test"
        for name in ("nowhere", "other", "calls", "calls"):
            rig.publish(name)

        async def is_open() -> None:
            assert rig.open == ["calls"]

        await eventually(is_open)
        rig.refused = set()
        rig.publish("other")

        async def is_open_too() -> None:
            assert rig.open == ["calls", "other"]

        await eventually(is_open_too)


async def test_an_operator_of_some_namespaces_serves_these_only_and_without_asking_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    rig.existing = set()
    async with running(rig, monkeypatch, "calls"):
        for name in ("other", "calls"):
            rig.publish(name)

        async def is_open() -> None:
            assert rig.open == ["calls"]

        await eventually(is_open)


async def test_a_flood_of_names_is_kept_in_bounds() -> None:
    made = Serving(Rig().backends, ())
    for number in range(100_000):
        made._ask(f"n{number}")
    assert len(made._asked) == 1000
