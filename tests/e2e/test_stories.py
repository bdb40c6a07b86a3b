"""`kubectl describe match` of a call that is over says who did what, when, and where each user went."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from tests import manifests
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually

_CONNECT_SECONDS = 15
_STEP = re.compile(r" Message: +(.+)\n +Phase: +(\w+)\n +Reason: +(\w+)\n +Time: +(\S+)\n")


# What happens


async def _alice_skips(rig: Rig) -> None:
    await rig.active()
    await rig.kube.patch("Match", "match", manifests.termination("Skip", "alice", "next one"))


async def _bob_closes_the_page(rig: Rig) -> None:
    _, (_, bob) = await rig.active(timeouts={"leaveSeconds": 1})
    await bob.leave()


async def _bob_does_not_come(rig: Rig) -> None:
    match = await rig.ready(timeouts={"connectSeconds": _CONNECT_SECONDS})
    await rig.people("alice", (await rig.tokens(match))["alice"]["token"]).join()


async def _bob_is_removed(rig: Rig) -> None:
    await rig.active()
    await rig.kube.patch("Match", "match", manifests.termination("Disconnect", "bob", "spam"))


async def _bob_moves_on_before_they_met(rig: Rig) -> None:
    await rig.ready()
    await rig.kube.patch("Match", "match", manifests.termination("Skip", "bob"))


# What the description says


Step = tuple[str, str, str]
"""Phase, reason, and a pattern of the message."""

_JOINING = ("Connecting", "Connecting", r"participants are joining; \d+ s to connect")
_MET = ("Active", "Active", r"both are in the room: alice \(\w+\), bob \(\w+\)")
_BOB_IS_AWAY = ("Reconnecting", "Left", r"bob: CLIENT_INITIATED, seen by \w+")
_NEW_PLACE = {"Place": "Now", "State": "Waiting"}
_AS_BEFORE = {"Place": "Original", "State": "Waiting"}


@dataclass(frozen=True)
class Story:
    """What happens; then why the call ended, who ended it, where alice and bob go, and the steps before."""

    happens: Callable[[Rig], Awaitable[None]]
    reason: str
    initiator: str | None
    message: str
    alice: dict[str, str]
    bob: dict[str, str]
    steps: tuple[Step, ...]


STORIES = {
    "skipped": Story(
        _alice_skips,
        "Skipped",
        "alice",
        "alice skipped to the next person: next one",
        _NEW_PLACE,
        _NEW_PLACE,
        (_JOINING, _MET),
    ),
    "skipped before they met": Story(
        _bob_moves_on_before_they_met,
        "Skipped",
        "bob",
        "bob skipped to the next person",
        _AS_BEFORE,
        _NEW_PLACE,
        (_JOINING,),
    ),
    "left": Story(
        _bob_closes_the_page,
        "Left",
        None,
        "bob left and .* 1 s",
        _NEW_PLACE,
        {"Detail": "CLIENT_INITIATED", "State": "Idle"},
        (_JOINING, _MET, _BOB_IS_AWAY),
    ),
    "no-show": Story(
        _bob_does_not_come,
        "NoShow",
        None,
        f"bob did not join within {_CONNECT_SECONDS} s",
        _NEW_PLACE,
        {"Detail": "NeverSeen", "State": "Idle"},
        (_JOINING,),
    ),
    "disconnected": Story(
        _bob_is_removed,
        "Disconnected",
        "moderator",
        "bob was disconnected: spam",
        _NEW_PLACE,
        {"State": "Idle"},
        (_JOINING, _MET),
    ),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
async def test_the_description_of_a_call_that_is_over_tells_the_whole_of_it(rig: Rig, story: Story) -> None:
    await rig.enqueue("alice", "bob")
    await story.happens(rig)
    await rig.kube.match_until(lambda found: is_true(found, "Finished"))

    async def told() -> str:
        text = await rig.kube.ask("describe", "match", "match")
        # The Event is posted by a task of its own, maybe later.
        assert re.search(rf"Normal +{story.reason} .* {story.message}\n", text), text
        return text

    text = await eventually(told)
    _assert_the_end_is_told(text, story)
    _assert_the_steps_are_told(text, story)


def _assert_the_end_is_told(text: str, story: Story) -> None:
    """The text says why the call ended, who ended it, and where each user went."""
    status = _fields(text.partition("\nStatus:\n")[2], indent=2)
    assert (status["Phase"], status["Reason"], status["Connected"]) == ("Ended", story.reason, "0/2")
    end = _fields(_section(text, "End"), indent=4)
    assert (end["Reason"], end.get("Initiator")) == (story.reason, story.initiator)
    assert re.fullmatch(story.message, end["Message"])
    assert _outcomes(_section(text, "Outcomes", indent=4)) == {"alice": story.alice, "bob": story.bob}


def _assert_the_steps_are_told(text: str, story: Story) -> None:
    """The text lists the steps with their times. The phase Terminating may be missing, because it is short."""
    history = _section(text, "History")
    told = [(phase, reason, message) for message, phase, reason, _ in _STEP.findall(history)]
    assert len(told) == history.count("Phase:")
    ways_out = [("Terminating", story.reason, story.message), ("Ended", story.reason, story.message)]
    expected = [*story.steps, *(way for way in ways_out if way[0] in {phase for phase, _, _ in told})]
    assert expected[-1][0] == "Ended"
    assert [step[:2] for step in told] == [step[:2] for step in expected]
    for (_, _, message), (_, _, pattern) in zip(told, expected, strict=True):
        assert re.fullmatch(pattern, message), f"{message!r} is not {pattern!r}"

    times = [datetime.fromisoformat(time) for _, _, _, time in _STEP.findall(history)]
    assert times == sorted(times)
    status = _fields(text.partition("\nStatus:\n")[2], indent=2)
    moments = dict(zip((phase for phase, _, _ in told), times, strict=True))
    assert datetime.fromisoformat(status["Ended At"]) == moments["Ended"]
    assert datetime.fromisoformat(status["Ready At"]) == moments["Connecting"]
    assert ("Connected At" in status) == ("Active" in moments)
    if "Active" in moments:
        assert datetime.fromisoformat(status["Connected At"]) == moments["Active"]


# How a description is read


def _section(text: str, title: str, indent: int = 2) -> str:
    """Return the lines under a title, which are indented deeper."""
    found = re.search(rf"^ {{{indent}}}{title}:\n((?: {{{indent + 2},}}.*\n)+)", text, re.MULTILINE)
    assert found is not None, f"there is no {title} in\n{text}"
    return found[1]


def _fields(text: str, indent: int) -> dict[str, str]:
    """Return the fields at this depth that have a value."""
    return dict(re.findall(rf"^ {{{indent}}}(\w[\w ]*): +(.+)$", text, re.MULTILINE))


def _outcomes(text: str) -> dict[str, Any]:
    """Return the outcomes by identity. kubectl sorts the fields of each entry by name, so the state is the last one."""
    entries = [dict(re.findall(r"(\w+): +(.+)\n", entry)) for entry in re.findall(r"(?:.*\n)*?.*State:.*\n", text)]
    return {entry.pop("Identity"): entry for entry in entries}
