"""A participant who needs a token finds a valid one: after a late reload, a deletion, with a full quota."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from controller.api.match import Match
from controller.api.names import token_secret_name
from tests import manifests
from tests.support.kube import condition, is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_TTL_SECONDS = 10


async def test_a_page_that_is_reloaded_after_its_token_ran_out_finds_a_younger_one(rig: Rig) -> None:
    """The operator makes new tokens when a participant drops out; until then it writes nothing."""
    match, (_, bob) = await rig.active(
        tokens={"delivery": "Secret", "ttlSeconds": _TTL_SECONDS}, timeouts={"leaveSeconds": 40}
    )
    first = await _expiry(rig, match)
    await eventually(lambda: _is_past(rig, first), _TTL_SECONDS)
    assert await _expiry(rig, match) == first, "both are in the room, so no token is needed"
    assert is_true(await rig.kube.match(), "Ready")

    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")

    async def is_younger() -> None:
        assert await _expiry(rig, match) > first

    await eventually(is_younger)
    await rig.people("bob", (await rig.tokens(match))["bob"]["token"]).join()
    after = await rig.kube.match_until(lambda found: (found.status.phase, found.status.connected) == ("Active", "2/2"))
    assert after.status.connected_at == match.status.connected_at


async def test_tokens_are_renewed_while_a_participant_has_not_come_yet(rig: Rig) -> None:
    match = await rig.ready(
        tokens={"delivery": "Both", "ttlSeconds": _TTL_SECONDS},
        timeouts={"connectSeconds": 120},
        room={"emptyTimeoutSeconds": 125},
    )
    first = await _times(rig, match)

    async def outlives() -> tuple[int, int]:
        times = await _times(rig, match)
        assert times > first
        return times

    made, _ = await eventually(outlives)
    # Late enough to be rare, but before the token that it replaces has expired.
    assert first[0] + _TTL_SECONDS * 0.6 <= made < first[1]


@pytest.mark.parametrize("delivery", ["Secret", "Redis"])
@pytest.mark.parametrize("phase", ["Connecting", "Active"])
async def test_tokens_that_another_client_deletes_come_back(rig: Rig, delivery: str, phase: str) -> None:
    spec: dict[str, Any] = {"tokens": {"delivery": delivery}, "timeouts": {"connectSeconds": 120}}
    spec["room"] = {"emptyTimeoutSeconds": 125}
    match = await rig.ready(**spec)
    if phase == "Active":
        found = await _entries(rig, match, delivery)
        await asyncio.gather(*(rig.people(who, one["token"], one["url"]).join() for who, one in found.items()))
        await rig.kube.match_until(lambda found: found.status.phase == "Active")
    before = await _entries(rig, match, delivery)
    if delivery == "Secret":
        await rig.kube.delete("Secret", token_secret_name(match.metadata.uid))
    else:
        await rig.redis.delete(rig.keys.tokens(match.metadata.uid))

    async def are_back() -> None:
        assert (await _entries(rig, match, delivery)).keys() == before.keys()

    await eventually(are_back)
    await rig.kube.match_until(lambda found: is_true(found, "Ready") and is_true(found, "TokensIssued"))


async def test_a_full_quota_stops_no_renewal(rig: Rig) -> None:
    match = await rig.ready(
        tokens={"ttlSeconds": _TTL_SECONDS}, timeouts={"connectSeconds": 120}, room={"emptyTimeoutSeconds": 125}
    )
    first = await _expiry(rig, match)
    await rig.kube.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "full"},
            "spec": {"hard": {"count/secrets": "0"}},
        }
    )

    async def is_renewed() -> None:
        assert await _expiry(rig, match) > first

    await eventually(is_renewed, _TTL_SECONDS)
    assert is_true(await rig.kube.match(), "Ready")


async def test_a_condition_says_that_a_secret_is_immutable_and_deleting_it_mends_it(rig: Rig) -> None:
    match = await rig.ready(
        tokens={"ttlSeconds": _TTL_SECONDS}, timeouts={"connectSeconds": 120}, room={"emptyTimeoutSeconds": 125}
    )
    name = token_secret_name(match.metadata.uid)
    await rig.kube.patch("Secret", name, {"immutable": True})
    told = await rig.kube.match_until(lambda found: condition(found, "TokensIssued").reason == "TokensRefused")
    assert f"Secret {name} is immutable" in condition(told, "TokensIssued").message
    await rig.kube.delete("Secret", name)
    await rig.kube.match_until(lambda found: is_true(found, "TokensIssued"))
    assert (await rig.tokens(match)).keys() == {"alice", "bob"}


async def test_tokens_are_nowhere_once_the_call_is_over(rig: Rig) -> None:
    """They are gone although they would be valid for long, and although the Match still exists."""
    match, _ = await rig.active(tokens={"delivery": "Both", "ttlSeconds": 3600})
    assert await rig.redis.exists(rig.keys.tokens(match.metadata.uid))
    await rig.kube.patch("Match", "match", manifests.termination("End", "bob"))
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.tokens is None
    assert await rig.kube.get("Secret", token_secret_name(match.metadata.uid)) is None
    assert not await rig.redis.exists(rig.keys.tokens(match.metadata.uid))


async def _times(rig: Rig, match: Match) -> tuple[int, int]:
    """Return from when to when the tokens are valid: the same in both places, and for both participants."""

    async def agree() -> tuple[int, int]:
        hashed = await rig.hash(rig.keys.tokens(match.metadata.uid))
        entries = {who: json.loads(text) for who, text in hashed.items()}
        assert entries == await rig.tokens(match)
        claims = [_claims(rig, entry["token"]) for entry in entries.values()]
        (times,) = {(one["nbf"], one["exp"]) for one in claims}
        assert {entry["expiresAt"] for entry in entries.values()} == {
            datetime.fromtimestamp(times[1], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        }
        return times

    return await eventually(agree)


async def _entries(rig: Rig, match: Match, delivery: str) -> dict[str, dict[str, str]]:
    """Return the tokens by identity from where they are delivered."""
    if delivery == "Secret":
        return await rig.tokens(match)
    hashed = await rig.hash(rig.keys.tokens(match.metadata.uid))
    assert hashed, "there are no tokens in Redis"
    return {who: json.loads(text) for who, text in hashed.items()}


async def _expiry(rig: Rig, match: Match) -> int:
    """Return until when the tokens in the Secret are valid."""
    (expiry,) = {int(_claims(rig, entry["token"])["exp"]) for entry in (await rig.tokens(match)).values()}
    return expiry


async def _is_past(rig: Rig, moment: int) -> None:
    assert (await rig.redis.time())[0] > moment


def _claims(rig: Rig, token: str) -> dict[str, Any]:
    """Return the claims of a token; our own clock is not checked, because another one has set its times."""
    options: Any = {"verify_nbf": False, "verify_exp": False}
    claims: dict[str, Any] = jwt.decode(token, rig.where.livekit_api_secret, algorithms=["HS256"], options=options)
    return claims
