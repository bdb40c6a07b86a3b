"""During a call there is always a token with which its participants get in again, however late a page is reloaded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jwt

from controller.api.match import Match
from controller.api.names import token_secret_name
from tests import manifests
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_TTL_SECONDS = 10


async def test_a_page_that_is_reloaded_after_its_token_ran_out_finds_a_younger_one(rig: Rig) -> None:
    """The operator makes new tokens after two thirds of their lifetime, and the call is not disturbed."""
    match, (_, bob) = await rig.active(
        tokens={"delivery": "Both", "ttlSeconds": _TTL_SECONDS}, timeouts={"leaveSeconds": 20}
    )
    first = await _times(rig, match)

    async def outlives(previous: tuple[int, int]) -> tuple[int, int]:
        times = await _times(rig, match)
        assert times > previous
        return times

    second = await eventually(lambda: outlives(first))
    third = await eventually(lambda: outlives(second))
    for made, (before, until) in ((second[0], first), (third[0], second)):
        # Late enough to be rare, but before the token that it replaces has expired.
        assert before + _TTL_SECONDS * 0.6 <= made < until
    assert third[0] >= first[1]
    after = await rig.kube.match_until(lambda found: _until(found) == third[1])
    assert (after.status.phase, after.status.connected, is_true(after, "Ready")) == ("Active", "2/2", True)
    assert [step.phase for step in after.status.history][-1] == "Active"
    assert after.status.connected_at == match.status.connected_at
    assert not bob.seen("disconnected", "reconnecting")

    token = (await rig.tokens(match))["bob"]["token"]
    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    await rig.people("bob", token).join()
    await rig.kube.match_until(lambda found: (found.status.phase, found.status.connected) == ("Active", "2/2"))


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


def _claims(rig: Rig, token: str) -> dict[str, Any]:
    """Return the claims of a token; our own clock is not checked, because another one has set its times."""
    options: Any = {"verify_nbf": False, "verify_exp": False}
    claims: dict[str, Any] = jwt.decode(token, rig.where.livekit_api_secret, algorithms=["HS256"], options=options)
    return claims


def _until(match: Match) -> int:
    assert match.status.tokens is not None
    return int(match.status.tokens.expires_at.timestamp())
