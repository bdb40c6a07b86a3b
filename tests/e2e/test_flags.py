"""Flags of older clients are treated as signals and answered with `force-disconnect`. None outlives its call."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests import manifests
from tests.support.gateways import raise_flag
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

# Several rounds of the poller, which reads flags twice a second.
_TURNS_SECONDS = 1.6


@dataclass(frozen=True)
class Case:
    """A flag set for bob, whether the two had met before, and where alice and bob go: (state, place)."""

    name: str
    names_match: bool
    reason: str
    alice: tuple[str, str | None]
    bob: tuple[str, str | None]
    had_call: bool = True


NOW, ORIGINAL, IDLE = ("Waiting", "Now"), ("Waiting", "Original"), ("Idle", None)
CASES = {
    "force-disconnect": Case("force-disconnect", False, "Disconnected", NOW, IDLE),
    "force-disconnect of a match": Case("force-disconnect", True, "Disconnected", NOW, IDLE),
    "skip-in-progress": Case("skip-in-progress", False, "Skipped", NOW, NOW),
    "skip-in-progress of a match": Case("skip-in-progress", True, "Skipped", NOW, NOW),
    "pre-skip before they met": Case("pre-skip", False, "Skipped", ORIGINAL, NOW, had_call=False),
    "pre-skip of a match before they met": Case("pre-skip", True, "Skipped", ORIGINAL, NOW, had_call=False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_flag_ends_the_call_and_goes(rig: Rig, case: Case) -> None:
    before = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    people = (await rig.active())[1] if case.had_call else ()
    made = await rig.kube.match() if case.had_call else await rig.ready()
    await raise_flag(rig, case.name, "bob", f"match:{made.metadata.uid}" if case.names_match else "true")
    match = await rig.kube.match_until(lambda found: is_true(found, "Finished"))

    end = match.status.end
    assert end is not None
    assert (match.status.phase, end.reason) == ("Ended", case.reason)
    # A user who skips is the initiator; a flag does not say who disconnects a user.
    assert end.initiator == (None if case.reason == "Disconnected" else "bob")
    assert case.name in (end.message or "")
    assert [(one.identity, one.state, one.place) for one in end.outcomes] == [
        ("alice", *case.alice),
        ("bob", *case.bob),
    ]
    queue = await rig.queue()
    for identity, (state, place) in (("alice", case.alice), ("bob", case.bob)):
        assert (await rig.user(identity)).state == state.upper()
        assert (identity in queue) == (state == "Waiting")
        if place is not None:
            assert (queue[identity] == before[identity]) == (place == "Original")
    for person in people:
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    # The value that is there now is ours, for clients that poll.
    value = await rig.redis.get(rig.keys.flag(case.name, "bob"))
    assert value == (_ours(match.metadata.uid) if case.name == "force-disconnect" else None)


async def test_polling_clients_learn_of_the_end_and_the_next_call_is_not_disturbed(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    first = await rig.ready(name="first")
    assert await _told(rig) == [None, None]
    await rig.kube.patch("Match", "first", manifests.termination("End", "alice"))
    await rig.kube.match_until(lambda found: is_true(found, "Finished"), "first")
    assert await _told(rig) == [_ours(first.metadata.uid)] * 2
    ttls = [await rig.redis.ttl(rig.keys.force_disconnect(user)) for user in ("alice", "bob")]
    assert all(20 < ttl <= 30 for ttl in ttls)

    second = await rig.ready("alice", "bob", name="second")
    assert await _told(rig) == [None, None]
    # The operator also ignores a flag of this form that an older operator, or a client, has left after the claim.
    await raise_flag(rig, "force-disconnect", "bob", _ours(first.metadata.uid))
    await _stays_ready(rig, "second")
    assert (await rig.user("bob")).match == second.metadata.uid


async def test_a_match_that_was_never_ready_sets_no_flag(rig: Rig) -> None:
    """A rollback leaves all users where they were, so polling clients have no call to leave."""
    await rig.enqueue("alice")
    await rig.kube.create(manifests.match("alice", "bob", admission="Queued"))
    await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert await _told(rig) == [None, None]


async def test_a_late_flag_does_not_touch_the_next_call(rig: Rig) -> None:
    """It names the previous call, or it names none and was set before this call began."""
    await rig.enqueue("alice", "bob")
    first = await rig.ready(name="first")
    await rig.kube.patch("Match", "first", manifests.termination("Skip", "alice"))
    await rig.kube.match_until(lambda found: is_true(found, "Finished"), "first")
    late = f"match:{first.metadata.uid}"
    for name in ("force-disconnect", "skip-in-progress", "pre-skip"):
        await raise_flag(rig, name, "alice", late)
        await raise_flag(rig, name, "bob", "true")
    await rig.ready(name="second")
    await _stays_ready(rig, "second")
    for name in ("skip-in-progress", "pre-skip"):
        assert await rig.redis.get(rig.keys.flag(name, "bob")) is None
        await raise_flag(rig, name, "alice", late)
    await _stays_ready(rig, "second")


async def test_both_flags_at_once_end_the_call_once(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    await rig.active()
    await rig.redis.mset({rig.keys.skip_in_progress(user): "1" for user in ("alice", "bob")})
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert over.status.end.reason == "Skipped"
    assert sorted(await rig.queue()) == ["alice", "bob"]
    for user in ("alice", "bob"):
        assert (await rig.hash(rig.keys.user(user)))["epoch"] == "5"

    async def are_gone() -> None:
        assert [await rig.redis.get(rig.keys.skip_in_progress(user)) for user in ("alice", "bob")] == [None, None]

    await eventually(are_gone)


async def _told(rig: Rig) -> list[object]:
    return [await rig.redis.get(rig.keys.force_disconnect(user)) for user in ("alice", "bob")]


async def _stays_ready(rig: Rig, name: str) -> None:
    async def is_ready() -> None:
        match = await rig.kube.match(name)
        assert (match.status.phase, is_true(match, "Ready")) == ("Connecting", True)
        assert await rig.states("alice", "bob") == {"alice": "CONNECTING", "bob": "CONNECTING"}

    await consistently(is_ready, _TURNS_SECONDS)


def _ours(uid: str) -> str:
    return f"roomkeeper:{uid}"
