"""The places of users in the queue after a call, among all others who wait."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from controller.api.match import Match
from controller.api.names import room_name
from sandbox.people import Person
from tests import manifests
from tests.support.gateways import send
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually


async def test_every_user_gets_the_right_place(rig: Rig) -> None:
    """A user who never connected is before those who came later. After a call, or a skip, the user is behind all."""
    places = dict(
        zip(
            ("never-1", "skipper", "talker-1", "talker-2", "undone-1", "undone-2", "waiter"),
            await rig.enqueue("never-1", "skipper", "talker-1", "talker-2", "undone-1", "undone-2", "waiter"),
            strict=True,
        )
    )
    never, undone, (call, _) = await asyncio.gather(
        rig.ready("never-1", "skipper", name="never"),
        rig.ready("undone-1", "undone-2", name="undone", timeouts={"connectSeconds": 60}, room=_LONG),
        rig.active("talker-1", "talker-2", name="call"),
    )
    (late,) = await rig.enqueue("late")
    await send(rig, "skip", "skipper", match=never.metadata.uid)
    await send(rig, "skip", "talker-2", match=call.metadata.uid)
    for name in ("never", "call"):
        await rig.kube.match_until(lambda found: is_true(found, "Finished"), name)
    await rig.delete(undone.metadata.name)
    (last,) = await rig.enqueue("last")

    queue = await rig.queue()
    order = list(queue)
    assert order[:5] == ["never-1", "undone-1", "undone-2", "waiter", "late"]
    assert sorted(order[5:8]) == ["skipper", "talker-1", "talker-2"]
    assert order[8:] == ["last"]
    assert {who: queue[who] for who in ("never-1", "undone-1", "undone-2", "waiter", "late", "last")} == {
        **{who: places[who] for who in ("never-1", "undone-1", "undone-2", "waiter")},
        "late": late,
        "last": last,
    }


async def test_a_place_is_kept_over_many_matches_that_come_to_nothing(rig: Rig) -> None:
    """One partner after another skips before they meet: the user is never behind one who came later."""
    (place, *_) = await rig.enqueue("patient", "hasty-1", "hasty-2", "hasty-3")
    for number in (1, 2, 3):
        name = f"match-{number}"
        await rig.ready("patient", f"hasty-{number}", name=name, admission="Queued")
        await rig.kube.patch("Match", name, manifests.termination("Skip", f"hasty-{number}"))
        await rig.kube.match_until(lambda found: is_true(found, "Finished"), name)
        assert (await rig.user("patient")).queued_at_ms == place
    queue = await rig.queue()
    assert list(queue) == ["patient", "hasty-1", "hasty-2", "hasty-3"]
    assert queue["patient"] == place


async def test_a_user_who_was_not_in_the_queue_is_not_put_into_it(rig: Rig) -> None:
    """One of the two waited in the queue, the other was invited: after a skip only the first one waits again."""
    await rig.enqueue("alice")
    match, _ = await rig.active()
    await send(rig, "skip", "bob", match=match.metadata.uid)
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert over.status.end is not None
    assert [(one.identity, one.state) for one in over.status.end.outcomes] == [("alice", "Waiting"), ("bob", "Idle")]
    assert list(await rig.queue()) == ["alice"]
    await rig.expect_states(alice="WAITING", bob="IDLE")


async def test_the_same_two_meet_again_and_again_and_are_requeued_once_each_time(rig: Rig) -> None:
    """The next Match takes both as soon as they wait. The previous one is still closing and must not requeue them."""
    await rig.enqueue("alice", "bob")
    rounds = 6
    for number in range(rounds):
        await rig.kube.create(manifests.match(name=f"match-{number}", admission="Queued"))
        await eventually(functools.partial(_is_connecting, rig, f"match-{number}"))
        match = await rig.kube.match(f"match-{number}")
        async with rig.redis.pipeline(transaction=True) as both:
            for user in ("alice", "bob"):
                both.xadd(rig.keys.signals(), {"type": "skip", "user": user, "match": match.metadata.uid})
            await both.execute()
        await rig.expect_states(alice="WAITING", bob="WAITING")
        assert sorted(await rig.queue()) == ["alice", "bob"]
    for number in range(rounds):
        over = await rig.kube.match_until(lambda found: is_true(found, "Finished"), f"match-{number}")
        assert over.status.reason == "Skipped"
    # Once into the queue, and of each match CONNECTING, DISCONNECTING, WAITING.
    for user in ("alice", "bob"):
        assert (await rig.hash(rig.keys.user(user)))["epoch"] == str(1 + 3 * rounds)
    assert sorted(await rig.queue()) == ["alice", "bob"]


# The spec says which users go back to the queue


@dataclass(frozen=True)
class Wish:
    """What the spec says, whether the two met, how it ended, and where both go: (state, place)."""

    requeue: dict[str, str]
    ends: Callable[[Rig, Match, tuple[Person, ...]], Awaitable[None]]
    first: tuple[str, str | None]
    second: tuple[str, str | None]
    had_call: bool = True
    timeouts: dict[str, int] = field(default_factory=dict)


async def _by_itself(_rig: Rig, _match: Match, _people: tuple[Person, ...]) -> None:
    """Do nothing: time decides."""


async def _second_leaves(_rig: Rig, _match: Match, people: tuple[Person, ...]) -> None:
    await people[1].leave()


async def _first_skips(rig: Rig, match: Match, _people: tuple[Person, ...]) -> None:
    await send(rig, "skip", match.spec.identities[0], match=match.metadata.uid)


async def _second_is_removed(rig: Rig, match: Match, _people: tuple[Person, ...]) -> None:
    wish = manifests.termination("Disconnect", match.spec.identities[1])
    await rig.kube.patch("Match", match.metadata.name, wish)


async def _room_is_deleted(rig: Rig, match: Match, _people: tuple[Person, ...]) -> None:
    await rig.kube.delete("Room", room_name(match.metadata.uid))


async def _match_is_deleted(rig: Rig, match: Match, _people: tuple[Person, ...]) -> None:
    await rig.delete(match.metadata.name)


NOW, ORIGINAL, IDLE = ("WAITING", "Now"), ("WAITING", "Original"), ("IDLE", None)
WISHES = {
    "no-show-all": Wish(
        {"onNoShow": "All"}, _by_itself, ORIGINAL, ORIGINAL, had_call=False, timeouts={"connectSeconds": 1}
    ),
    "no-show-none": Wish({"onNoShow": "None"}, _by_itself, IDLE, IDLE, had_call=False, timeouts={"connectSeconds": 1}),
    "left-all": Wish({"onLeft": "All"}, _second_leaves, NOW, NOW, timeouts={"leaveSeconds": 1}),
    "left-none": Wish({"onLeft": "None"}, _second_leaves, IDLE, IDLE, timeouts={"leaveSeconds": 1}),
    "skipped-others": Wish({"onSkipped": "Others"}, _first_skips, IDLE, NOW),
    "skipped-others-unmet": Wish({"onSkipped": "Others"}, _first_skips, IDLE, ORIGINAL, had_call=False),
    "disconnected-all": Wish({"onDisconnected": "All"}, _second_is_removed, NOW, NOW),
    "max-duration-all": Wish({"onMaxDuration": "All"}, _by_itself, NOW, NOW, timeouts={"maxDurationSeconds": 3}),
    "room-lost-none": Wish({"onRoomLost": "None"}, _room_is_deleted, IDLE, IDLE, had_call=False),
    "deleted-none": Wish({"onDeleted": "None"}, _match_is_deleted, IDLE, IDLE, had_call=False),
    "of-another-end": Wish({"onLeft": "None"}, _first_skips, NOW, ORIGINAL, had_call=False),
}


async def test_the_spec_decides_who_goes_back_to_the_queue(rig: Rig) -> None:
    """The spec decides for each reason alone; it does not change the place."""

    async def plays(name: str, wish: Wish) -> None:
        pair = (f"{name}-1", f"{name}-2")
        before = dict(zip(pair, await rig.enqueue(*pair), strict=True))
        spec: dict[str, Any] = {"name": name, "requeue": wish.requeue, "timeouts": wish.timeouts}
        if wish.had_call:
            match, people = await rig.active(*pair, **spec)
        else:
            match, people = await rig.ready(*pair, **spec), ()
        await wish.ends(rig, match, people)
        if wish.ends is not _match_is_deleted:
            await rig.kube.match_until(lambda found: is_true(found, "Finished"), name)
        queue = await rig.queue()
        for who, (state, place) in zip(pair, (wish.first, wish.second), strict=True):
            assert (await rig.user(who)).state == state, (name, who)
            assert (who in queue) == (state == "WAITING"), (name, who)
            if place is not None:
                assert (queue[who] == before[who]) == (place == "Original"), (name, who)

    await asyncio.gather(*(plays(name, wish) for name, wish in WISHES.items()))


_LONG = {"emptyTimeoutSeconds": 65}


async def _is_connecting(rig: Rig, name: str) -> None:
    match = await rig.kube.match(name)
    user = await rig.user("alice")
    assert (user.state, user.match) == ("CONNECTING", match.metadata.uid)
