"""Signals of gateways end calls and ask for tokens, and never affect another call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from controller.api.match import Match
from tests import manifests
from tests.support.gateways import heard, send
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

# CONNECTING, IN_CALL, DISCONNECTING, and back to WAITING, after entering the queue.
_CHANGES_OF_A_CALL = "5"


@dataclass(frozen=True)
class Case:
    """A signal, whether the two had met before, and where alice and bob go: (state, place)."""

    signal: dict[str, str]
    reason: str
    initiator: str
    alice: tuple[str, str | None]
    bob: tuple[str, str | None]
    had_call: bool = True
    names_match: bool = True
    spec: dict[str, Any] = field(default_factory=dict)


NOW, ORIGINAL, IDLE = ("Waiting", "Now"), ("Waiting", "Original"), ("Idle", None)
CASES = {
    "skip": Case({"type": "skip", "user": "alice", "by": "alice"}, "Skipped", "alice", NOW, NOW),
    "skip by the other one, without a match": Case(
        {"type": "skip", "user": "bob"}, "Skipped", "bob", NOW, NOW, names_match=False
    ),
    "end": Case({"type": "end", "user": "alice"}, "Ended", "alice", IDLE, NOW),
    "end by the other one": Case({"type": "end", "user": "bob"}, "Ended", "bob", NOW, IDLE),
    "disconnect": Case(
        {"type": "disconnect", "user": "bob", "by": "moderator"}, "Disconnected", "moderator", NOW, IDLE
    ),
    "skip before they met": Case(
        {"type": "skip", "user": "bob"}, "Skipped", "bob", ORIGINAL, NOW, had_call=False, names_match=False
    ),
    "end before they met": Case({"type": "end", "user": "alice"}, "Ended", "alice", IDLE, ORIGINAL, had_call=False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_signal_ends_the_call(rig: Rig, case: Case) -> None:
    before = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    people = (await rig.active(**case.spec))[1] if case.had_call else ()
    made = await rig.kube.match() if case.had_call else await rig.ready(**case.spec)
    signal: dict[str, Any] = {**case.signal, "reason": "because"}
    await send(rig, **signal, match=made.metadata.uid if case.names_match else "")
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))

    end = match.status.end
    assert end is not None
    assert (match.status.phase, end.reason, end.initiator) == ("Ended", case.reason, case.initiator)
    assert case.signal["user"] in (end.message or "")
    assert "because" in (end.message or "")
    assert [(one.identity, one.state, one.place) for one in end.outcomes] == [
        ("alice", *case.alice),
        ("bob", *case.bob),
    ]
    queue = await rig.queue()
    for identity, (state, place) in (("alice", case.alice), ("bob", case.bob)):
        user = await rig.user(identity)
        assert (user.state, user.reason) == (state.upper(), case.reason)
        assert (identity in queue) == (state == "Waiting")
        if place is not None:
            assert (queue[identity] == before[identity]) == (place == "Original")
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    assert case.reason in await rig.kube.ask("get", "match", "match")


async def test_two_who_skip_at_once_skip_once(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    match, _ = await rig.active()
    async with rig.redis.pipeline(transaction=True) as both:
        for user in ("alice", "bob"):
            both.xadd(rig.keys.signals(), {"type": "skip", "user": user, "match": match.metadata.uid})
        first, last = await both.execute()
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    await heard(rig, last)
    assert first != last
    end = over.status.end
    assert end is not None
    assert (end.reason, end.initiator, end.message) == ("Skipped", "alice", "alice skipped to the next person")
    assert sorted(await rig.queue()) == ["alice", "bob"]
    for user in ("alice", "bob"):
        assert (await rig.hash(rig.keys.user(user)))["epoch"] == _CHANGES_OF_A_CALL

    async def told_once() -> None:
        told = [event["count"] for event in await rig.events() if event["reason"] == "Skipped"]
        assert told == [1]

    await eventually(told_once)


async def test_a_late_skip_does_not_touch_the_next_call(rig: Rig) -> None:
    """It names the previous call, or it names none and was sent before this call began."""
    await rig.enqueue("alice", "bob")
    first = await rig.ready(name="first")
    await rig.kube.patch("Match", "first", manifests.termination("Skip", "alice"))
    await rig.kube.match_until(lambda found: is_true(found, "Finished"), "first")
    before_ms = (await rig.user("alice")).since_ms
    second, people = await rig.active(name="second")
    await send(rig, "skip", "alice", at_ms=before_ms)
    for user in ("alice", "bob"):
        await send(rig, "end", user, match=first.metadata.uid)
    await heard(rig, await send(rig, "disconnect", "bob", match="of-no-match"))

    async def goes_on() -> None:
        match = await rig.kube.match("second")
        assert (match.status.phase, match.status.connected) == ("Active", "2/2")
        assert await rig.states("alice", "bob") == {"alice": "IN_CALL", "bob": "IN_CALL"}

    await consistently(goes_on, 1)
    assert (await rig.user("alice")).match == second.metadata.uid
    assert not any(person.seen("disconnected") for person in people)


async def test_signals_that_make_no_sense_hold_up_none_behind_them(rig: Rig) -> None:
    match = await rig.ready()
    uid = match.metadata.uid
    await rig.redis.xadd(rig.keys.signals(), {"what": "is this"})
    await rig.redis.xadd(rig.keys.signals(), {"type": "skip"})
    await send(rig, "explode", "alice", match=uid)
    await send(rig, "skip", "carol", match=uid)
    await send(rig, "skip", "carol")
    last = await send(rig, "end", "bob", match=uid, reason="x" * 10_000)
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    await heard(rig, last)
    assert over.status.end is not None
    assert (over.status.end.reason, over.status.end.initiator) == ("Ended", "bob")


async def test_a_skip_after_a_goodbye_is_a_skip(rig: Rig) -> None:
    """The page closes the connection, and only then tells its gateway why: the ending is the skip, not the goodbye."""
    await rig.enqueue("alice", "bob")
    match, (_, bob) = await rig.active(timeouts={"leaveSeconds": 20})
    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    await send(rig, "skip", "bob", match=match.metadata.uid)
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert (over.status.end.reason, over.status.end.initiator) == ("Skipped", "bob")
    await rig.expect_states(alice="WAITING", bob="WAITING")


async def test_a_user_who_asks_gets_new_tokens(rig: Rig) -> None:
    """A token is about to expire, or a client has lost it: the gateway asks for another, and the call goes on."""
    match, _ = await rig.active(tokens={"delivery": "Both"})
    old = await rig.tokens(match)

    async def are_new() -> dict[str, dict[str, str]]:
        await send(rig, "token", "bob", match=match.metadata.uid)
        new = await rig.tokens(match)
        assert {who: entry["token"] for who, entry in new.items()} != {who: e["token"] for who, e in old.items()}
        return new

    new = await eventually(are_new)
    assert {entry["room"] for entry in new.values()} == {entry["room"] for entry in old.values()}
    assert all(new[who]["expiresAt"] > old[who]["expiresAt"] for who in old)
    assert await rig.redis.hget(rig.keys.tokens(match.metadata.uid), "bob") is not None

    def expires_later(found: Match) -> bool:
        tokens = found.status.tokens
        return (
            tokens is not None
            and match.status.tokens is not None
            and (tokens.expires_at > match.status.tokens.expires_at)
        )

    after = await rig.kube.match_until(expires_later)
    assert (after.status.phase, after.status.connected, is_true(after, "Ready")) == ("Active", "2/2", True)
    await rig.people("bob", new["bob"]["token"]).join()
