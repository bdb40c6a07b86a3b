"""The status of a Room: what is seen in, status out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from controller.api.failures import ErrorType, LastError, Recovery, Severity
from controller.api.room import Room, RoomStatus
from controller.facts.room import RoomSeen
from controller.status.patch import merge_patch
from controller.status.room import room_status
from tests import builders as b

THERE, FOREIGN = b.a_livekit_room(), b.a_livekit_room(foreign=True)
BOTH = (b.person("alice"), b.person("bob"))
DELETED = b.an_active_room(deleted=True)
TERMINATED = b.an_active_room(status={"phase": "Terminated", "reason": "Empty", "terminated_at": b.at(30)})
OUTAGE = LastError(
    type=ErrorType.LIVEKIT, severity=Severity.MEDIUM, recovery=Recovery.RETRY, message="no answer", at=b.at(2)
)


def status_of(room: Room, seen: RoomSeen, seconds: float = 4, error: LastError | None = None) -> RoomStatus:
    """The status at that second."""
    return room_status(room, seen, b.at(seconds), error)


def condition(status: RoomStatus, type_: str) -> tuple[str, str, str]:
    """Status, reason and sentence of one condition."""
    found = next(condition for condition in status.conditions if condition.type == type_)
    return str(found.status), found.reason, found.message


# A case each: what is known, then phase, reason, issues.
CASES: list[tuple[str, Room, RoomSeen, str, str | None, list[str]]] = [
    ("new", b.a_room(), b.room_seen(), "Creating", None, []),
    ("LiveKit away", b.a_room(), b.room_seen(livekit_room=b.unknown()), "Creating", None, []),
    ("there", b.a_room(), b.room_seen(livekit_room=THERE), "Active", None, []),
    ("was there, LiveKit away", b.an_active_room(), b.room_seen(livekit_room=b.unknown()), "Active", None, []),
    ("lost", b.an_active_room(status={"num_participants": 1, "empty_since": None}), b.room_seen(), "Creating", None,
     ["Missing"]),
    ("somebody else's", b.a_room(), b.room_seen(livekit_room=FOREIGN), "Failed", None, ["ForeignMark"]),
    ("deleted", DELETED, b.room_seen(livekit_room=THERE), "Terminating", "Deleted", []),
    ("deleted, one read", DELETED, b.room_seen(), "Terminating", "Deleted", []),
    ("deleted, two reads", DELETED, b.room_seen(gone=True), "Terminated", "Deleted", []),
    ("deleted, LiveKit away", DELETED, b.room_seen(livekit_room=b.unknown()), "Terminating", "Deleted", []),
    ("closed itself", b.an_active_room(), b.room_seen(30, gone=True), "Terminated", "Empty", []),
    ("over, LiveKit away", TERMINATED, b.room_seen(livekit_room=b.unknown()), "Terminated", "Empty", []),
    ("over, listed again", TERMINATED, b.room_seen(livekit_room=THERE), "Terminated", "Empty", []),
    ("too many", b.an_active_room(max_participants=1), b.room_seen(livekit_room=THERE, people=BOTH), "Active", None,
     ["WrongParticipantCount"]),
    ("a stranger", b.an_active_room(allowed_identities=["bob"]), b.room_seen(livekit_room=THERE, people=BOTH), "Active",
     None, ["UnexpectedParticipant"]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_phase_reason_and_issues_follow_from_what_is_seen(case: tuple[Any, ...]) -> None:
    _, room, seen, phase, reason, issues = case
    status = status_of(room, seen, 30)
    assert (status.phase, status.reason, list(status.issues)) == (phase, reason, issues)


T, F = "True", "False"
CONDITIONS: list[tuple[str, Room, RoomSeen, str, str, str, str]] = [
    ("made", b.a_room(), b.room_seen(livekit_room=THERE), "Ready", T, "RoomCreated", b.LIVEKIT_NAME),
    ("being made", b.a_room(), b.room_seen(), "Ready", F, "RoomMissing", "is being made on default"),
    ("server away", b.a_room(), b.room_seen(livekit_room=b.unknown(), trouble="no answer"), "Ready", F, "RoomMissing",
     "no answer"),
    ("foreign", b.a_room(), b.room_seen(livekit_room=FOREIGN), "Ready", F, "ForeignMark", "left alone"),
    ("deleted", DELETED, b.room_seen(livekit_room=THERE), "Ready", F, "Deleted", "the Room was deleted"),
    ("empty", TERMINATED, b.room_seen(gone=True), "Ready", F, "Empty", "nobody was in it"),
    ("aged", b.an_active_room(max_age_seconds=3), b.room_seen(livekit_room=THERE), "Ready", F, "Expired", "(3 s)"),
    ("closed", b.a_room(termination_reason="works"), b.room_seen(livekit_room=THERE), "Ready", F, "Terminated",
     "works"),
    ("fine", b.a_room(), b.room_seen(livekit_room=THERE), "Healthy", T, "AsExpected", "as it should be"),
    ("lost", b.an_active_room(), b.room_seen(), "Healthy", F, "Missing", "found: Missing"),
    ("answers", b.a_room(), b.room_seen(), "Degraded", F, "LiveKitAnswers", "default answers"),
    ("away", b.a_room(), b.room_seen(trouble="no answer"), "Degraded", T, "LiveKitUnreachable", "no answer; nothing"),
    ("going on", b.a_room(), b.room_seen(), "Finished", F, "InProgress", "not over"),
    ("ending", DELETED, b.room_seen(livekit_room=THERE), "Finished", F, "InProgress", "not over"),
    ("over", DELETED, b.room_seen(gone=True), "Finished", T, "Deleted", "the Room was deleted"),
]  # fmt: skip


@pytest.mark.parametrize("case", CONDITIONS, ids=[f"{case[3]}: {case[0]}" for case in CONDITIONS])
def test_each_condition_says_why(case: tuple[Any, ...]) -> None:
    _, room, seen, type_, status, reason, words = case
    found = condition(status_of(room, seen), type_)
    assert found[:2] == (status, reason)
    assert words in found[2]


@pytest.mark.parametrize(
    ("room", "seen", "count", "occupancy"),
    [
        (b.a_room(), b.room_seen(livekit_room=THERE), 0, "Available"),
        (b.a_room(), b.room_seen(livekit_room=THERE, people=BOTH), 2, "Occupied"),
        (b.a_room(), b.room_seen(livekit_room=b.a_livekit_room(people=9), people=BOTH), 2, "Occupied"),
        (b.a_room(), b.room_seen(livekit_room=b.a_livekit_room(people=1), people=b.unknown()), 1, "Occupied"),
        (b.a_room(), b.room_seen(people=BOTH), None, None),
        (b.a_room(), b.room_seen(livekit_room=FOREIGN, people=BOTH), None, None),
        (DELETED, b.room_seen(livekit_room=THERE, people=BOTH), 0, None),
        (b.an_active_room(deleted=True, status={"num_participants": 2}), b.room_seen(livekit_room=THERE), 0, None),
        (b.an_active_room(status={"num_participants": 2}), b.room_seen(people=b.unknown()), 2, None),
        (b.a_room(), b.room_seen(livekit_room=b.unknown(), people=b.unknown()), None, None),
    ],
)
def test_occupancy_is_what_the_list_of_people_says(
    room: Room, seen: RoomSeen, count: int | None, occupancy: str | None
) -> None:
    status = status_of(room, seen)
    assert (status.num_participants, status.occupancy) == (count, occupancy)


def test_a_restored_room_has_another_sid_and_is_counted_once() -> None:
    other = b.room_seen(livekit_room=b.a_livekit_room(sid="RM_2"))
    status = status_of(b.an_active_room(), other)
    assert (status.sid, status.restores, status.created_at) == ("RM_2", 1, b.at(1))
    again = status_of(b.an_active_room(status={"sid": "RM_2", "restores": 1}), other)
    assert again.restores == 1
    assert status_of(b.an_active_room(status={"sid": "RM_1", "restores": 1}), other).restores == 2


IN_USE = b.an_active_room(status={"num_participants": 2, "empty_since": None})


@pytest.mark.parametrize(
    ("case", "room", "seen", "since"),
    [
        ("just made", b.a_room(), b.room_seen(livekit_room=THERE), b.at(9)),
        ("empty from the beginning", b.an_active_room(), b.room_seen(livekit_room=THERE), b.at(1)),
        ("somebody came", b.an_active_room(), b.room_seen(livekit_room=THERE, people=BOTH), None),
        ("the last one left", IN_USE, b.room_seen(livekit_room=THERE), b.at(9)),
        (
            "restored: LiveKit counts anew",
            b.an_active_room(),
            b.room_seen(livekit_room=b.a_livekit_room(sid="RM_2")),
            b.at(9),
        ),
        ("lost while empty", b.an_active_room(), b.room_seen(), b.at(1)),
        ("lost with people in it", IN_USE, b.room_seen(), None),
        ("unknown with people in it", IN_USE, b.room_seen(livekit_room=b.unknown(), people=b.unknown()), None),
    ],
)
def test_since_when_nobody_is_in(case: str, room: Room, seen: RoomSeen, since: datetime | None) -> None:
    assert status_of(room, seen, 9).empty_since == since, case


def test_the_first_room_is_no_restored_one() -> None:
    status = status_of(b.a_room(), b.room_seen(livekit_room=THERE))
    assert (status.sid, status.restores) == ("RM_1", None)


def test_a_lost_room_keeps_its_sid_until_another_is_there() -> None:
    assert status_of(b.an_active_room(), b.room_seen()).sid == "RM_1"


def test_a_foreign_room_gives_no_sid_and_no_beginning() -> None:
    status = status_of(b.a_room(), b.room_seen(livekit_room=FOREIGN))
    assert (status.sid, status.created_at, status.live_kit_name) == (None, None, b.LIVEKIT_NAME)


def test_moments_are_written_once_and_stay() -> None:
    assert status_of(b.a_room(), b.room_seen(livekit_room=THERE), 4.5).created_at == b.at(4.5)
    assert status_of(b.an_active_room(), b.room_seen(livekit_room=THERE), 9).created_at == b.at(1)
    assert status_of(DELETED, b.room_seen(gone=True), 9).terminated_at == b.at(9)
    assert status_of(TERMINATED, b.room_seen(gone=True), 99).terminated_at == b.at(30)
    assert status_of(DELETED, b.room_seen(livekit_room=THERE), 9).terminated_at is None


def test_the_last_error_changes_with_its_type_only() -> None:
    known = b.an_active_room(status={"last_error": OUTAGE})
    again = OUTAGE.model_copy(update={"message": "again", "at": b.at(9)})
    other = OUTAGE.model_copy(update={"type": ErrorType.REDIS})
    assert status_of(known, b.room_seen(), error=again).last_error == OUTAGE
    assert status_of(known, b.room_seen(), error=None).last_error == OUTAGE
    assert status_of(known, b.room_seen(), error=other).last_error == other
    assert status_of(b.a_room(), b.room_seen(), error=OUTAGE).last_error == OUTAGE


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_nothing_is_written_because_time_passed(case: tuple[Any, ...]) -> None:
    _, room, seen, *_ = case
    first = status_of(room, seen, 30.25)
    room = room.model_copy(update={"status": first})
    names = ("livekit_room", "people", "record")
    same = replace(seen, **{name: replace(getattr(seen, name), at=b.at(40)) for name in names})
    assert merge_patch(first.manifest(), status_of(room, same, 40.75).manifest()) == {}


def test_a_status_reads_back_the_same() -> None:
    status = room_status(b.a_room(), b.room_seen(livekit_room=THERE, people=BOTH), b.at(4.1234567), OUTAGE)
    assert RoomStatus.model_validate(status.manifest()) == status
