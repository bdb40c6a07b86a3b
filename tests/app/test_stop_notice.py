"""The notice that the operator stops: who gets it, and who does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.app import stop_notice
from controller.app.stop_notice import tell_of_stop
from controller.backends.bundle import Backends
from controller.errors import Backend, BackendUnavailable
from controller.views.calls import CallIndex
from tests import values as b


class Rig:
    """Calls in two namespaces, and the users that were told, by namespace."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: dict[str, list[str]] = {}
        self.away = ""
        self.calls = CallIndex()
        for namespace in ("ours", "theirs"):
            self.add(namespace)
        fake = SimpleNamespace(
            calls=self.calls,
            clock=SimpleNamespace(now=lambda: b.at(9)),
            pools=SimpleNamespace(get=self._pool, check=lambda *_: None),
        )
        self.backends = cast("Backends", fake)
        monkeypatch.setattr(stop_notice, "Outbox", lambda namespace: SimpleNamespace(stops=self._stops(namespace)))

    def add(self, namespace: str, **status: Any) -> None:
        """One more call, of the people NAMESPACE-alice and NAMESPACE-bob."""
        people = [{"identity": f"{namespace}-{who}"} for who in b.PEOPLE]
        match = b.active(uid=f"{namespace}{len(status)}", participants=people, status=status)
        metadata = match.metadata.model_copy(update={"namespace": namespace})
        self.calls.kept(match.model_copy(update={"metadata": metadata}))

    async def _pool(self, namespace: str) -> str:
        if namespace == self.away:
            raise BackendUnavailable(Backend.REDIS, "GET", "no answer")
        return namespace

    def _stops(self, namespace: str) -> Any:
        async def stops(users: list[str], _replica: str, message: str, *, now_ms: int) -> object:
            assert (message, now_ms) == ("We are back at ten.", b.ms(9))
            self.told.setdefault(namespace, []).extend(users)
            return object()

        return stops

    async def tell(self, *served: str) -> dict[str, list[str]]:
        """Tell of the stop, as an operator that serves these namespaces; return who was told."""
        await tell_of_stop(self.backends, served.__contains__, "replica", "We are back at ten.")
        return self.told


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    return Rig(monkeypatch)


async def test_only_the_users_in_namespaces_that_we_serve_are_told(rig: Rig) -> None:
    assert await rig.tell("ours") == {"ours": ["ours-alice", "ours-bob"]}


async def test_users_whose_call_is_not_up_are_not_told(rig: Rig) -> None:
    rig.add("pending", phase="Terminating")
    assert await rig.tell("pending") == {}


async def test_a_pool_that_does_not_answer_delays_no_other(rig: Rig) -> None:
    rig.away = "theirs"
    assert await rig.tell("ours", "theirs") == {"ours": ["ours-alice", "ours-bob"]}
