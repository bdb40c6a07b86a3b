"""Tokens that another client has deleted: who is asked about, how, and what follows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.api.match import Match
from controller.api.names import token_secret_name
from controller.backends.bundle import Backends
from controller.backends.tokens import IssuedTokens
from controller.clients.kubernetes import Body
from controller.errors import Backend, BackendError, BackendUnavailable, Invalid, NotFound
from controller.facts.observation import Present, Unknown
from controller.loop.key import Key
from controller.loop.wakes import Wake
from controller.triggers.router import Router
from controller.triggers.tokens import TokenChecker
from controller.views.calls import CallIndex
from tests import values as b

GONE = NotFound(Backend.KUBERNETES, "replace", "not found")
IMMUTABLE = Invalid(Backend.KUBERNETES, "replace", "data: field is immutable when `immutable` is set")
AWAY = BackendUnavailable(Backend.KUBERNETES, "replace", "no answer")


class Rig:
    """Calls, their Secrets and their keys in Redis; what is asked about is in `asked`."""

    def __init__(self, *matches: Match, seconds: float = 9) -> None:
        self.asked: list[str] = []
        self.woken: list[str] = []
        self.secrets: dict[str, BackendError | None] = {}
        self.bodies: list[Body] = []
        self.keys: dict[str, bool] = {}
        self.calls = CallIndex()
        clock = SimpleNamespace(now=lambda: b.at(seconds))
        self.tokens = IssuedTokens(clock, lambda _: True)
        for match in matches:
            self.calls.kept(match)
            self.tokens.delivered(match.metadata.uid, b.tokens(), b.at(1))
        fake = SimpleNamespace(
            calls=self.calls,
            clock=clock,
            tokens=self.tokens,
            kubernetes=SimpleNamespace(would_replace=self._would_replace),
            pools=SimpleNamespace(unbound=lambda _namespace: SimpleNamespace(has_tokens=self._has_tokens)),
        )
        router = Router(b.CLUSTER, self._wake)
        self.foreign: set[str] = set()
        self.checker = TokenChecker(cast("Backends", fake), router, 2.0, lambda of: of not in self.foreign)

    def _wake(self, key: Key, wake: Wake) -> None:
        assert wake is Wake.TOKENS
        self.woken.append(key.name)

    async def _would_replace(self, _resource: Any, _namespace: str, name: str, body: Body) -> None:
        self.asked.append(name)
        self.bodies.append(body)
        if (error := self.secrets.get(name)) is not None:
            raise error

    async def _has_tokens(self, uid: str) -> bool:
        self.asked.append(uid)
        return self.keys.get(uid, True)


def call(uid: str = "one", *, delivery: str = "Secret", both: bool = True, expires: float = 900) -> Match:
    """A call whose tokens are delivered; with both participants in the room, or only alice."""
    people = [
        {"identity": who, "state": "Connected" if both or who == "alice" else "Reconnecting", "since": b.at(3)}
        for who in b.PEOPLE
    ]
    status = {
        "phase": "Active" if both else "Reconnecting",
        "participants": people,
        "tokens": {"secret_name": "it", "expires_at": b.at(expires)},
    }
    return b.active(name=uid, uid=uid, tokens={"delivery": delivery}, status=status)


@pytest.mark.parametrize(
    ("answer", "is_lost"),
    [(None, False), (GONE, True), (IMMUTABLE, False), (AWAY, False)],
    ids=lambda one: str(one)[:9],
)
async def test_only_a_secret_that_is_not_found_is_gone(answer: BackendError | None, is_lost: bool) -> None:
    rig = Rig(call())
    rig.secrets[token_secret_name("one")] = answer
    await rig.checker.check()
    known = rig.tokens.get("one")
    assert (isinstance(known, Unknown), rig.woken) == (is_lost, ["one"] if is_lost else [])
    assert "data" not in rig.bodies[0], "the question carries no token"


async def test_a_key_in_redis_that_is_deleted_is_gone_unless_its_tokens_ran_out() -> None:
    for expires, woken in ((900.0, ["one"]), (8.0, [])):
        rig = Rig(call(delivery="Redis", expires=expires))
        rig.keys["one"] = False
        await rig.checker.check()
        assert rig.woken == woken


@pytest.mark.parametrize("both", [True, False])
async def test_tokens_in_a_namespace_that_another_operator_serves_are_not_asked_about(both: bool) -> None:
    rig = Rig(call(both=both))
    rig.secrets[token_secret_name("one")] = GONE
    rig.foreign.add(b.NAMESPACE)
    await rig.checker.check()
    assert (rig.asked, rig.woken) == ([], [])
    rig.foreign.clear()
    await rig.checker.check()
    assert rig.woken == ["one"]


async def test_tokens_that_we_have_just_deleted_ourselves_are_not_lost() -> None:
    rig = Rig(call())
    rig.secrets[token_secret_name("one")] = GONE
    rig.tokens.revoked("one", b.at(9))
    await rig.checker.check()
    assert rig.woken == []


async def test_each_round_asks_about_a_bounded_number_and_first_about_those_who_may_need_a_token() -> None:
    rig = Rig(*(call(f"call-{number}", both=number != 99) for number in range(100)))
    await rig.checker.check()
    first = list(rig.asked)
    assert (len(first), first[0]) == (10, token_secret_name("call-99"))
    for _ in range(10):
        await rig.checker.check()
    assert set(rig.asked) == {token_secret_name(f"call-{number}") for number in range(100)}


async def test_a_call_without_delivery_and_one_that_cannot_be_joined_are_not_asked_about() -> None:
    rig = Rig(call(delivery="None"), b.a_match(name="new", uid="new", status={"phase": "Creating"}))
    await rig.checker.check()
    assert rig.asked == []


def test_a_delivery_that_was_refused_leaves_what_was_delivered_before() -> None:
    rig = Rig(call())
    rig.tokens.refused("one", "immutable")
    assert (rig.tokens.refusal("one"), isinstance(rig.tokens.get("one"), Present)) == ("immutable", True)
    rig.tokens.delivered("one", b.tokens(), b.at(9))
    assert rig.tokens.refusal("one") == ""
