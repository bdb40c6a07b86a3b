"""Nothing is taken from a call because another version of Roomkeeper has written its objects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import pytest

from controller.announce.announcer import Announcer
from controller.api.match import Match
from controller.api.names import MATCH, ROOM, ResourceKind
from controller.api.phases import MatchPhase
from controller.api.room import Room
from controller.api.states import UserState
from controller.api.tolerant import reader
from controller.loop.recipes import RECIPES
from controller.plan import actions as a
from controller.plan.step import Plan
from tests import values as b
from tests.versions.fields import Change, changes

BUILDING = (a.AddFinalizer, a.Claim, a.CreateRoom, a.IssueTokens, a.CreateLiveKitRoom, a.WriteRoomRecord)


@dataclass(frozen=True)
class Moment:
    """An object of this version in the middle of its life, and what is seen of it."""

    name: str
    kind: ResourceKind
    found: Match | Room
    seen: Any
    now: datetime

    def manifest(self) -> dict[str, Any]:
        """The object as the API server has it."""
        return self.found.manifest()

    def plan(self, manifest: dict[str, Any]) -> Plan:
        """What is planned for this manifest; its status can be computed as well."""
        recipe = RECIPES[self.kind]
        found = reader(recipe.model).read(manifest)
        case = recipe.case(found, self.seen, self.now)
        plan = recipe.plan(case)
        status = recipe.status(case, None)
        silent = cast("Any", _Silent())
        recipe.announce(Announcer(silent, silent, silent), found, status, self.now)
        return plan


class _Silent:
    """Posts no Events, and knows one time."""

    def normal(self, *_: object) -> None:
        """Post nothing."""

    warning = normal

    def now(self) -> datetime:
        """The last moment of every case here."""
        return b.at(100)


SPEC: dict[str, Any] = {
    "session_id": "s-1",
    "admission": "Queued",
    "tokens": {"ttl_seconds": 900, "delivery": "Both"},
    "requeue": {"on_left": "All", "on_ended": "None"},
    "room": {"max_participants": 2, "metadata": {"topic": "go"}},
    "timeouts": {"solo_seconds": 20},
    "participants": [
        {"identity": "alice", "alias": "a", "grants": {"can_publish_sources": ["camera"]}},
        {"identity": "bob", "attributes": {"lang": "en"}},
    ],
}
SERVED: dict[str, Any] = {
    "reason": "ConnectionLost",
    "room": {"name": b.ROOM_NAME, "livekit_name": b.LIVEKIT_NAME, "server": "default", "url": b.URL},
    "tokens": {"secret_name": "s", "expires_at": b.at(900)},
    "conditions": [{"type": "Ready", "status": "True", "reason": "Ready", "last_transition_time": b.at(1)}],
    "history": [{"phase": "Active", "time": b.at(3), "reason": "BothConnected"}],
    "last_error": {"type": "Redis", "severity": "Medium", "recovery": "Retry", "message": "-", "at": b.at(2)},
}
OVER: dict[str, Any] = {
    "phase": "Ended",
    "reason": "Left",
    "started_at": b.T0,
    "ended_at": b.at(60),
    "end": {
        "reason": "Left",
        "outcomes": [{"identity": "alice", "state": "Waiting", "place": "Now"}, {"identity": "bob", "state": "Idle"}],
    },
}
ROOM_SPEC: dict[str, Any] = {
    "deletion_policy": "Orphan",
    "max_age_seconds": 3600,
    "allowed_identities": ["alice", "bob"],
}
ROOM_STATUS: dict[str, Any] = {
    "occupancy": "Occupied",
    "issues": ["UnexpectedParticipant"],
    "last_error": SERVED["last_error"],
}
PEOPLE = (b.person("a", sid="PA_alice"), b.person("bob"))
CLOSED = {"phase": "Terminated", "reason": "Expired", "terminated_at": b.at(50)}
MOMENTS = (
    Moment("a new Match", MATCH, b.a_match(**SPEC), b.seen(), b.at(2)),
    Moment("a claimed Match", MATCH, b.a_match(phase=MatchPhase.CREATING, **SPEC), b.seen(ledger=b.ledger()), b.at(2)),
    Moment("a Match that is Ready", MATCH, b.connecting(status=SERVED, **SPEC), b.all_made(5), b.at(5)),
    Moment("a call", MATCH, b.active(status=SERVED, **SPEC), b.both_in(100, people=PEOPLE), b.at(100)),
    Moment(
        "a call, LiveKit away", MATCH, b.active(status=SERVED, **SPEC), b.both_in(100, people=b.unknown()), b.at(100)
    ),
    Moment("a Match that is over", MATCH, b.a_match(status=OVER, **SPEC), b.seen(100), b.at(100)),
    Moment(
        "a Room with people",
        ROOM,
        b.an_active_room(status=ROOM_STATUS, **ROOM_SPEC),
        b.room_seen(
            100,
            livekit_room=b.a_livekit_room(people=2),
            people=(b.person("alice"), b.person("bob")),
            record=b.a_record(),
        ),
        b.at(100),
    ),
    Moment(
        "a standing Room",
        ROOM,
        b.an_active_room(owned=False, status=ROOM_STATUS, **ROOM_SPEC),
        b.room_seen(100, owned=False, livekit_room=b.a_livekit_room(), record=b.a_record()),
        b.at(100),
    ),
    Moment(
        "a deleted Room that is to be kept",
        ROOM,
        b.an_active_room(owned=False, deleted=True, **ROOM_SPEC),
        b.room_seen(100, owned=False, livekit_room=b.a_livekit_room(), record=b.a_record()),
        b.at(100),
    ),
    Moment("a lost Room", ROOM, b.a_lost_room(5, lost_at=95), b.room_seen(100), b.at(100)),
    Moment(
        "a closed Room",
        ROOM,
        b.a_room(status=CLOSED),
        b.room_seen(100, gone=True, record=b.a_record("terminated")),
        b.at(100),
    ),
)

NEEDED: dict[str, str] = {
    ".-status": "without any status a Match is a new one; the ledger, which outlives it, refuses a second end",
    "spec.-deletionPolicy": "its absence says Delete",
}
"""What every version writes, and what follows from its absence."""


def _cases() -> Iterator[tuple[Moment, Change]]:
    for moment in MOMENTS:
        for change in changes(type(moment.found), moment.manifest()):
            if not change.name.startswith("metadata.-"):  # the API server sets these
                yield moment, change


@pytest.mark.parametrize(("moment", "change"), [*_cases()], ids=lambda one: one.name)
def test_no_change_of_another_version_takes_anything_away(moment: Moment, change: Change) -> None:
    usual = _taken(moment.plan(moment.manifest()))
    taken = _taken(moment.plan(change.of(moment.manifest())))
    assert taken <= usual or change.name in NEEDED


def _taken(plan: Plan) -> set[str]:
    """What the plan ends, deletes or gives up."""
    return {
        type(action).__name__
        for action in plan.actions
        if not isinstance(action, BUILDING)
        and not (isinstance(action, a.Advance) and action.state is not UserState.DISCONNECTING)
    }
