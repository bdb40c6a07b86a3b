"""The safety invariants as checks on all three stores. They run after every test that has a stack.

S1 one live Match per user · S2 state matches place · S3 only legal transitions · S4, S5 freed and requeued once · S6
nothing of ours is left, nothing of others is touched · S7 no secret anywhere.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

from controller.api.match import Match
from controller.api.phases import MATCH_PHASES
from controller.api.states import USER_STATES, UserState
from tests.support.rig import Rig
from tests.support.waiting import eventually

_TOKEN = re.compile(r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}")
_FREE = {UserState.IDLE, UserState.WAITING}


async def assert_clean(rig: Rig) -> None:
    """Nothing of any Match or Room of the namespace is left, except keys with a TTL and the records of users.

    Tokens have a TTL too, but they must be gone with the call.
    """
    kube = rig.kube
    for kind in ("Match", "Room", "Secret"):
        names = [body["metadata"]["name"] for body in await kube.list(kind)]
        assert not names, f"{kind} left behind: {names}"
    assert not await rig.livekit_rooms(), "rooms left on LiveKit"
    await assert_users_are_free(rig)
    keys = rig.keys
    allowed = {
        keys.signals_done(),
        keys.queue(),
        keys.incarnation(),
        keys.heartbeats(),
        keys.fence(0),
        keys.webhooks(0),
    }
    streams = {keys.signals(), keys.disconnects(), keys.events(), keys.errors()}
    waiting = {keys.user(identity) for identity in await rig.queue()}
    tokens = [key async for key in rig.redis.scan_iter(keys.tokens("*"))]
    assert not tokens, f"tokens of calls that are over: {tokens}"
    lasting = {key async for key in rig.redis.scan_iter(keys.pattern) if await rig.redis.ttl(key) == -1}
    assert not lasting - allowed - streams - waiting, "keys in Redis that never expire"


async def assert_users_are_free(rig: Rig) -> None:
    """S2 without any Match: each user waits, and is in the queue exactly once, or is idle."""
    queue = await rig.queue()
    prefix = rig.keys.user("")
    async for key in rig.redis.scan_iter(f"{prefix}*"):
        user = await rig.user(key.removeprefix(prefix))
        assert user.state in _FREE, f"{user} is held, but there is no Match"
        assert (user.state is UserState.WAITING) == (user.id in queue), f"{user}, and the queue is {queue}"
        assert not user.match, f"{user} is free and names a match"
        assert not user.room, f"{user} is free and names a room"
    assert not await rig.redis.zrange(rig.keys.live(), 0, -1), "matches hold users, but are gone"


async def assert_one_match_per_user(rig: Rig) -> None:
    """S1 and S2 while there are Matches: a user who is held is held by exactly one live Match."""
    holders: Counter[str] = Counter()
    for body in await rig.kube.list("Match"):
        match = Match.model_validate(body)
        if match.status.phase is not None and MATCH_PHASES[match.status.phase].terminal:
            continue
        ledger = await rig.hash(rig.keys.match(match.metadata.uid))
        if ledger.get("claimed") and not ledger.get("settled"):
            holders.update(match.spec.identities)
    assert all(count == 1 for count in holders.values()), f"held more than once: {holders}"


async def assert_states_agree(rig: Rig) -> None:
    """S2 at a moment of rest: the Matches, the records of users and the queue say the same of each user."""
    holds: dict[str, str] = {}
    for body in await rig.kube.list("Match"):
        match = Match.model_validate(body)
        if match.status.phase is not None and not MATCH_PHASES[match.status.phase].terminal:
            holds |= dict.fromkeys(match.spec.identities, match.metadata.uid)
    queue = await rig.queue()
    prefix = rig.keys.user("")
    async for key in rig.redis.scan_iter(f"{prefix}*"):
        user = await rig.user(key.removeprefix(prefix))
        assert (user.state not in _FREE) == (user.id in holds), f"{user}, held by {holds.get(user.id)}"
        assert (user.state is UserState.WAITING) == (user.id in queue), f"{user}, and the queue is {queue}"
        if user.id in holds:
            assert user.match == holds.pop(user.id), f"{user} is held by another match"
    assert not holds, f"users of live matches without a record: {holds}"


async def assert_transitions_are_legal(rig: Rig) -> None:
    """S3, by the events in the stream: the states of each user follow each other as the table says."""
    legal = {(stage.name, way.to) for stage in USER_STATES.values() for way in stage.exits}
    states: dict[str, str] = {}
    for entry in await rig.stream(rig.keys.events()):
        event = json.loads(entry["event"])
        data = event["data"]
        told = [data] if event["subject"].startswith("user/") else data.get("users", ())
        for one in told:
            before, state = states.get(one["user"]), one.get("state")
            if state is None or state == before:
                continue
            assert before is None or (before, state) in legal, f"{one['user']}: {before} → {state} by {event}"
            states[one["user"]] = state


async def assert_no_secret(rig: Rig) -> None:
    """S7: no object, Event, log or metric contains the API secret or a participant's token."""
    for kind in ("Match", "Room", "Event"):
        for body in await rig.kube.list(kind):
            _without_secret(rig, f"{kind} {body['metadata']['name']}", json.dumps(body))
    _without_secret(rig, "the log of an operator", rig.operators.logs)


def assert_log_is_good(lines: Iterable[str], namespace: str) -> None:
    """No log record about the namespace reports a bug in the operator."""
    for line in lines:
        if namespace in line or "Traceback" in line:
            assert '"level": "error"' not in line, line
            assert "Traceback" not in line, line


async def tidy(rig: Rig) -> None:
    """End a test: check all objects, delete them, and check that nothing is left."""
    await assert_one_match_per_user(rig)
    await assert_transitions_are_legal(rig)
    await assert_no_secret(rig)
    for kind in ("Match", "Room"):
        for body in await rig.kube.list(kind):
            await rig.kube.delete(kind, body["metadata"]["name"])
    await eventually(lambda: assert_clean(rig))


def _without_secret(rig: Rig, what: str, text: str) -> None:
    assert rig.where.livekit_api_secret not in text, f"the API secret is in {what}"
    found = _TOKEN.search(text)
    assert found is None, f"a token is in {what}"
