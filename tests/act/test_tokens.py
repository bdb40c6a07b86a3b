"""How the Secret with the tokens is written without being read: replaced first where it is there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.act.tokens import issue_tokens
from controller.backends.bundle import Backends
from controller.backends.servers import Server, Servers
from controller.backends.tokens import IssuedTokens
from controller.clients.kubernetes import Body
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.errors import (
    AlreadyExists,
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Forbidden,
    Invalid,
    NotFound,
)
from controller.facts.observation import Present
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from controller.views.livekit import LiveKitView
from tests import values as b
from tests.plan.world import only

CASE = MatchCase(b.a_match(), b.seen(ledger=b.ledger(), room=b.a_room()), b.at(1))
FIRST = only(plan_match(CASE), a.IssueTokens)
QUOTA = Forbidden(Backend.KUBERNETES, "create", "exceeded quota: q", retryable=True)
TAKEN = AlreadyExists(Backend.KUBERNETES, "create", "already exists")
IMMUTABLE = Invalid(Backend.KUBERNETES, "replace", "data: Forbidden: field is immutable when `immutable` is set")


class Rig:
    """An API server that answers a creation and a replacement as told."""

    def __init__(self, *, created: BackendError | None = None, exists: bool = False, frozen: bool = False) -> None:
        self.verbs: list[str] = []
        self._created, self._exists, self._frozen = created, exists, frozen
        clock = SimpleNamespace(now=lambda: b.at(9))
        self.tokens = IssuedTokens(clock, lambda _: True)
        fake = SimpleNamespace(
            clock=clock,
            tokens=self.tokens,
            kubernetes=SimpleNamespace(create=self._create, replace=self._replace),
            rooms=SimpleNamespace(get=lambda _namespace, _name: b.a_room()),
            servers=Servers(
                [Server("default", b.URL, ApiKeys(ApiKey("key", "s" * 32)), cast("Any", None), LiveKitView())]
            ),
        )
        self.backends = cast("Backends", fake)

    async def _create(self, _resource: Any, _namespace: str, _body: Body) -> Body:
        self.verbs.append("create")
        if self._created is not None:
            raise self._created
        return {}

    async def _replace(self, _resource: Any, _namespace: str, _name: str, _body: Body) -> Body:
        self.verbs.append("replace")
        if not self._exists:
            raise NotFound(Backend.KUBERNETES, "replace", "not found")
        if self._frozen:
            raise IMMUTABLE
        return {}


@pytest.mark.parametrize(
    ("case", "rig", "replaces", "verbs"),
    [
        ("the first time", Rig(), False, ["create"]),
        ("renewed", Rig(exists=True, created=QUOTA), True, ["replace"]),
        ("renewed, and another client has deleted it", Rig(), True, ["replace", "create"]),
        ("after a restart that forgot it", Rig(created=TAKEN, exists=True), False, ["create", "replace"]),
        ("the same, with a full quota", Rig(created=QUOTA, exists=True), False, ["create", "replace"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_secret_is_written(case: str, rig: Rig, replaces: bool, verbs: list[str]) -> None:
    await issue_tokens(replace(FIRST, replaces=replaces), rig.backends)
    assert rig.verbs == verbs, case
    assert isinstance(rig.tokens.get(b.MATCH_UID), Present)


async def test_a_full_quota_is_the_reason_where_no_secret_is_there() -> None:
    rig = Rig(created=QUOTA)
    with pytest.raises(Forbidden, match="exceeded quota"):
        await issue_tokens(FIRST, rig.backends)
    assert "exceeded quota" in rig.tokens.refusal(b.MATCH_UID)


async def test_an_immutable_secret_is_refused_with_what_to_do() -> None:
    rig = Rig(exists=True, frozen=True)
    with pytest.raises(BackendRefused) as caught:
        await issue_tokens(replace(FIRST, replaces=True), rig.backends)
    assert caught.value.retryable
    assert "is immutable, so it cannot get new tokens; delete it" in rig.tokens.refusal(b.MATCH_UID)


class Pool:
    """Redis, which refuses the tokens at once."""

    async def get(self, _namespace: str) -> Any:
        raise BackendUnavailable(Backend.REDIS, "tokens", "no answer")


async def test_a_delivery_that_fails_leaves_no_other_one_under_way() -> None:
    """A Secret that is written later than the answer would be there again after it was revoked."""
    rig = Rig()
    fake = cast("Any", rig.backends)
    fake.pools = Pool()
    slow, written = asyncio.Event(), fake.kubernetes.create

    async def create(*args: Any) -> Body:
        await slow.wait()
        return cast("Body", await written(*args))

    fake.kubernetes.create = create
    spec = FIRST.spec.model_copy(update={"tokens": b.a_match(tokens={"delivery": "Both"}).spec.tokens})
    issuing = asyncio.create_task(issue_tokens(replace(FIRST, spec=spec), rig.backends))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not issuing.done()
    slow.set()
    with pytest.raises(BackendUnavailable):
        await issuing
    assert rig.verbs == ["create"]
    assert rig.tokens.get(b.MATCH_UID) is None
