"""LiveKit's API key is replaced while calls go on, in the order of docs/environments.md, and in a wrong one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest

from controller.api.match import Match
from sandbox.endpoints import Endpoints
from sandbox.people import Person
from tests.environments.livekit_nodes import LiveKitNodes
from tests.support.kube import condition, is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

_BEFORE = {"key-of-before": "the-secret-of-the-key-of-before-0123456789"}
_SPEC: dict[str, Any] = {
    "timeouts": {"reconnectSeconds": 60, "connectSeconds": 300},
    "room": {"departureTimeoutSeconds": 70, "emptyTimeoutSeconds": 310},
}


@pytest.fixture
async def livekit_server(bare: Endpoints, tmp_path: Path) -> AsyncIterator[LiveKitNodes]:
    """A LiveKit that has the key of before; the present one of the stack is the new one."""
    async with LiveKitNodes(bare, tmp_path, keys=_BEFORE) as one:
        yield one


@pytest.fixture
def where(livekit_server: LiveKitNodes) -> Endpoints:
    """The stack, with this LiveKit in the place of its own."""
    return livekit_server.where


def _named(key: dict[str, str], **names: str) -> dict[str, str]:
    ((name, secret),) = key.items()
    return {names["name"]: name, names["secret"]: secret}


_SIGNS = partial(_named, name="livekit_api_key", secret="livekit_api_secret")
_IS_OLD = partial(_named, name="livekit_old_api_key", secret="livekit_old_api_secret")


async def _restart(operator: Operator, **settings: str) -> None:
    await operator.end()
    for name in ("ROOMKEEPER_LIVEKIT_OLD_API_KEY", "ROOMKEEPER_LIVEKIT_OLD_API_SECRET"):
        operator.environment.pop(name, None)
    operator.environment.update({f"ROOMKEEPER_{name.upper()}": value for name, value in settings.items()})
    await operator.start()


async def _restart_livekit(server: LiveKitNodes, keys: dict[str, str], signs: dict[str, str]) -> None:
    """Restart LiveKit with these keys, the one of `signs` for its webhooks."""
    server.keys = keys
    server.write_settings(webhook_key=next(iter(signs)))
    await server.kill()
    await server.start()


async def _come_back(rig: Rig, match: Match, people: tuple[Person, ...], after: Sequence[int]) -> None:
    """Clients come back by themselves. LiveKit has given each a token that any of its keys has signed, so one whose key
    is gone is refused; it takes the token that Roomkeeper has issued again."""
    for person, seen in zip(people, after, strict=True):
        event = await person.wait_for("reconnected", "disconnected", after=seen, timeout=60)
        if event["event"] == "disconnected":
            await rig.people(person.identity, (await rig.tokens(match))[person.identity]["token"]).join()


async def _signed_by(rig: Rig, match: Match) -> set[str]:
    return {
        jwt.decode(entry["token"], options={"verify_signature": False})["iss"]
        for entry in (await rig.tokens(match)).values()
    }


async def _counted(operator: Operator, result: str) -> float:
    return (await operator.metrics())("roomkeeper_webhooks_total", result=result)


async def test_a_key_is_replaced_without_a_gap(rig: Rig, livekit_server: LiveKitNodes) -> None:
    new = {rig.where.livekit_api_key: rig.where.livekit_api_secret}
    operator = await rig.operators.start(livekit_url=livekit_server.url, **_SIGNS(_BEFORE))
    call, inside = await rig.active("alice", "bob", name="call", **_SPEC)
    waiting = await rig.ready("carol", "dave", name="waiting", **_SPEC)
    assert waiting.status.tokens is not None
    assert (waiting.status.tokens.api_key, await _signed_by(rig, waiting)) == ("key-of-before", {"key-of-before"})

    seen = [len(person.events) for person in inside]
    await _restart_livekit(livekit_server, {**_BEFORE, **new}, _BEFORE)
    for person, after in zip(inside, seen, strict=True):
        await person.wait_for("reconnected", after=after, timeout=60)
    await _restart(operator, **_SIGNS(new), **_IS_OLD(_BEFORE))
    for name in ("call", "waiting"):
        renewed = await rig.kube.match_until(
            lambda match: match.status.tokens is not None and match.status.tokens.api_key == next(iter(new)), name
        )
        assert await _signed_by(rig, renewed) == set(new)
    token = (await rig.tokens(call))["bob"]["token"]
    again = rig.people("bob", token)
    await again.join()  # LiveKit still signs its webhooks with the key of before
    await eventually(partial(_is_session_of, rig, again))
    assert await _counted(operator, "unknown-key") == 0

    inside = (inside[0], again)
    seen = [len(person.events) for person in inside]
    await _restart_livekit(livekit_server, new, new)
    await _come_back(rig, call, inside, seen)
    await _restart(operator, **_SIGNS(new))
    await rig.join(waiting)
    await rig.kube.match_until(lambda match: match.status.phase == "Active", "waiting")
    lasting = await rig.kube.match_until(lambda match: match.status.connected == "2/2", "call")
    assert lasting.status.connected_at == call.status.connected_at
    assert (await _counted(operator, "unknown-key"), await _counted(operator, "bad-signature")) == (0, 0)
    assert await _counted(operator, "accepted") >= 2
    for secret in (*_BEFORE.values(), *new.values()):
        assert secret not in rig.operators.logs


async def _is_session_of(rig: Rig, person: Person) -> None:
    joined = person.seen("connected")
    assert joined is not None
    match = await rig.kube.match("call")
    assert [one.participant_sid for one in match.status.participants if one.identity == person.identity] == [
        joined["sid"]
    ]
    assert match.status.connected == "2/2"


async def test_the_wrong_order_is_said_and_harms_no_call(rig: Rig, livekit_server: LiveKitNodes) -> None:
    new = {rig.where.livekit_api_key: rig.where.livekit_api_secret}
    operator = await rig.operators.start(livekit_url=livekit_server.url, **_SIGNS(_BEFORE))
    call, inside = await rig.active("alice", "bob", name="call", **_SPEC)
    # LiveKit no longer knows the key of the operator, and signs its webhooks with one that the operator does not have.
    await _restart_livekit(livekit_server, new, new)
    degraded = await rig.kube.match_until(lambda match: is_true(match, "Degraded"), "call")
    assert "LiveKit refused our API key; check API key and secret" in condition(degraded, "Degraded").message
    tokens = {
        who: jwt.encode(
            {**jwt.decode(entry["token"], options={"verify_signature": False}), "iss": next(iter(new))},
            next(iter(new.values())),
        )
        for who, entry in (await rig.tokens(call)).items()
    }
    await asyncio.gather(*(person.kill() for person in inside))
    await asyncio.gather(*(rig.people(who, token).join() for who, token in tokens.items()))

    async def is_said() -> None:
        refused = [json.loads(line) for line in operator.log.splitlines() if '"unknown-key"' in line]
        told = f"the webhook is signed with an API key {next(iter(new))} that is not ours; give it to the operator"
        assert any(told in str(entry) for entry in refused), refused

    await eventually(is_said)
    assert (await rig.kube.match("call")).status.end is None
    await _restart(operator, **_SIGNS(new))
    after = await rig.kube.match_until(
        lambda match: match.status.connected == "2/2" and not is_true(match, "Degraded"), "call"
    )
    assert after.status.connected_at == call.status.connected_at
