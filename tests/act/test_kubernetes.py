"""Executors that write to Kubernetes: what they make of an answer that does not fit the one before."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.act.kubernetes import create_room
from controller.backends.bundle import Backends
from controller.errors import AlreadyExists, Backend, Conflict, NotFound
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import only

CREATE = only(plan_match(MatchCase(b.a_match(), b.seen(ledger=b.ledger()), b.at(1))), a.CreateRoom)


async def test_a_room_that_goes_while_it_is_looked_at_is_made_at_the_next_try() -> None:
    """The creation found a Room of this name, which is no longer there when it is read: the Match goes on."""
    given_up: list[str] = []

    async def create(*_: Any) -> None:
        raise AlreadyExists(Backend.KUBERNETES, "create", "already exists")

    async def get(*_: Any) -> None:
        raise NotFound(Backend.KUBERNETES, "get", "not found")

    servers = SimpleNamespace(place=lambda *_: "eu-1", give_up=lambda _namespace, name: given_up.append(name))
    fake = SimpleNamespace(servers=servers, kubernetes=SimpleNamespace(create=create, get=get))
    with pytest.raises(Conflict) as caught:
        await create_room(CREATE, cast("Backends", fake))
    assert caught.value.retryable
    assert len(given_up) == 1
