"""The status of a Room: observation in, status out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from controller.api.failures import ErrorType, LastError
from controller.api.phases import ROOM_PHASES, RoomPhase
from controller.api.room import Room, RoomStatus
from controller.facts.room import RoomSeen
from controller.rules.room_case import RoomCase
from controller.status.patch import merge_patch
from controller.status.room import room_status
from tests import values as b
from tests.status.looks import FAILED_BEFORE, OUTAGE

THERE, REVIVED = b.a_livekit_room(), b.a_livekit_room(foreign=True, sid="RM_of_a_client")
OTHERS = b.a_livekit_room(mark=b.a_mark(room_uid="of-another-room"))
UNMARKED = b.a_livekit_room(foreign=True)
BOTH = (b.person("alice"), b.person("bob"))
HELPERS = (b.person("scribe", kind="AGENT", takes_seat=False), b.person("recorder", kind="EGRESS", takes_seat=False))
DELETED = b.an_active_room(deleted=True)
TERMINATED = b.an_active_room(status={"phase": "Terminated", "reason": "Empty", "terminated_at": b.at(30)})


def status_of(room: Room, seen: RoomSeen, seconds: float = 4, error: LastError | None = None) -> RoomStatus:
    """Return the status at that second."""
    return room_status(RoomCase(room, seen, b.at(seconds)), error)


def condition(status: RoomStatus, type_: str) -> tuple[str, str, str]:
    """Return status, reason and message of one condition."""
    found = next(condition for condition in status.conditions if condition.type == type_)
    return str(found.status), found.reason, found.message


# Each case: a name, the observation, then phase, reason and issues.
CASES: list[tuple[str, Room, RoomSeen, str, str | None, list[str]]] = [
    ("new", b.a_room(), b.room_seen(), "Creating", None, []),
    ("LiveKit away", b.a_room(), b.room_seen(livekit_room=b.unknown()), "Creating", None, []),
    ("there", b.a_room(), b.room_seen(livekit_room=THERE), "Active", None, []),
    ("was there, LiveKit away", b.an_active_room(), b.room_seen(livekit_room=b.unknown()), "Active", None, []),
    ("lost", b.a_lost_room(), b.room_seen(29), "Creating", None, ["Missing"]),
    ("made by a client", b.a_room(), b.room_seen(livekit_room=REVIVED), "Active", None, ["Unowned"]),
    ("lost, made by a client", b.a_lost_room(), b.room_seen(livekit_room=REVIVED), "Active", None, ["Unowned"]),
    ("deleted, made by a client", DELETED, b.room_seen(livekit_room=REVIVED), "Terminating", "Deleted", []),
    ("another Room's", b.a_room(), b.room_seen(livekit_room=OTHERS), "Failed", None, ["ForeignMark"]),
    ("ours, written over", b.an_active_room(), b.room_seen(livekit_room=UNMARKED), "Active", None, ["Unowned"]),
    ("its Match is gone", b.an_active_room(), b.room_seen(livekit_room=THERE, ownerless=True), "Active", None,
     ["Unowned"]),
    ("silent", b.an_active_room(), b.room_seen(livekit_room=THERE, silent_since=20), "Active", None, ["Stale"]),
    ("never made, and silent", b.a_room(), b.room_seen(livekit_room=b.unknown(), silent_since=1), "Creating", None, []),
    ("given up", b.a_lost_room(20, 21, 23, 27, 29), b.room_seen(30), "Failed", "Lost", ["Missing"]),
    ("given up for good", b.a_lost_room(20, 21, 23, 27, 29), b.room_seen(30, gone=True), "Failed", "Lost", ["Missing"]),
    ("to be restored soon", b.a_lost_room(29, 29.8), b.room_seen(30), "Creating", None, ["Missing"]),
    ("deleted", DELETED, b.room_seen(livekit_room=THERE), "Terminating", "Deleted", []),
    ("deleted, one read", DELETED, b.room_seen(), "Terminating", "Deleted", []),
    ("deleted, two reads", DELETED, b.room_seen(gone=True), "Terminated", "Deleted", []),
    ("deleted, LiveKit away", DELETED, b.room_seen(livekit_room=b.unknown()), "Terminating", "Deleted", []),
    ("closed itself", b.an_active_room(owned=False), b.room_seen(30, gone=True, owned=False), "Terminated", "Empty",
     []),
    ("closed itself in a call", b.an_active_room(), b.room_seen(30), "Creating", None, ["Missing"]),
    ("over, LiveKit away", TERMINATED, b.room_seen(livekit_room=b.unknown()), "Terminated", "Empty", []),
    ("over, listed again", TERMINATED, b.room_seen(livekit_room=THERE), "Terminated", "Empty", []),
    ("too many", b.an_active_room(max_participants=1), b.room_seen(livekit_room=THERE, people=BOTH), "Active", None,
     ["WrongParticipantCount"]),
    ("two and their helpers", b.an_active_room(), b.room_seen(livekit_room=THERE, people=(*BOTH, *HELPERS)), "Active",
     None, []),
    ("counted wrongly", b.an_active_room(), b.room_seen(livekit_room=THERE, people=BOTH, miscounted=True), "Active",
     None, ["WrongParticipantCount"]),
    ("too many and a stranger", b.an_active_room(max_participants=1, allowed_identities=["bob"]),
     b.room_seen(livekit_room=THERE, people=BOTH), "Active", None, ["WrongParticipantCount", "UnexpectedParticipant"]),
    ("a stranger", b.an_active_room(allowed_identities=["bob"]), b.room_seen(livekit_room=THERE, people=BOTH), "Active",
     None, ["UnexpectedParticipant"]),
]  # fmt: skip


def test_before_livekit_has_listed_its_rooms_no_condition_says_that_it_answers() -> None:
    told = status_of(b.an_active_room(), b.room_seen(livekit_room=b.unknown(why="not listed yet")))
    for type_ in ("Ready", "Healthy", "Degraded"):
        assert condition(told, type_) == ("Unknown", "NotKnown", "not listed yet")


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_phase_reason_and_issues_follow_from_what_is_seen(case: tuple[Any, ...]) -> None:
    _, room, seen, phase, reason, issues = case
    status = status_of(room, seen, 30)
    assert (status.phase, status.reason, list(status.issues)) == (phase, reason, issues)


T, F, U = "True", "False", "Unknown"
CONDITIONS: list[tuple[str, Room, RoomSeen, str, str, str, str]] = [
    ("made", b.a_room(), b.room_seen(livekit_room=THERE), "Ready", T, "Provisioned", b.LIVEKIT_NAME),
    ("being made", b.a_room(), b.room_seen(), "Ready", F, "Provisioning", "is being made on default"),
    ("server away", b.a_room(), b.room_seen(livekit_room=b.unknown(), trouble="no answer"), "Ready", U, "NotKnown",
     "no answer"),
    ("of another Room", b.a_room(), b.room_seen(livekit_room=OTHERS), "Ready", F, "ForeignMark", "left alone"),
    ("lost too often", b.a_lost_room(-30, -9, -7, -3, 1), b.room_seen(4), "Ready", F, "Lost",
     "restored 5 times within 10 minutes"),
    ("lost for too long", b.a_lost_room(lost_at=-30), b.room_seen(4), "Ready", F, "Lost", "within 30 s"),
    ("lost", b.an_active_room(), b.room_seen(), "Ready", F, "RoomMissing", "it is being restored"),
    ("out of sight", b.an_active_room(status={"phase": "Creating"}), b.room_seen(livekit_room=b.unknown()), "Ready",
     U, "NotKnown", "no answer in time"),
    ("deleted", DELETED, b.room_seen(livekit_room=THERE), "Ready", F, "Deleted", "the Room was deleted"),
    ("aged", b.an_active_room(max_age_seconds=3), b.room_seen(livekit_room=THERE), "Ready", F, "Expired", "(3 s)"),
    ("closed", b.a_room(termination_reason="works"), b.room_seen(livekit_room=THERE), "Ready", F, "Terminated",
     "works"),
    ("fine", b.a_room(), b.room_seen(livekit_room=THERE), "Healthy", T, "AsExpected", "nothing is wrong"),
    ("lost", b.an_active_room(), b.room_seen(), "Healthy", F, "Missing", "default has lost room " + b.LIVEKIT_NAME),
    ("closed itself", b.an_active_room(), b.room_seen(30), "Healthy", F, "Missing", "has closed the empty room"),
    ("made by a client", b.a_room(), b.room_seen(livekit_room=REVIVED), "Healthy", F, "Unowned", "a client has made"),
    ("lost before", b.a_lost_room(3), b.room_seen(4), "Healthy", F, "Missing", "not before 10:00:04 UTC"),
    ("silent", b.an_active_room(), b.room_seen(livekit_room=THERE, silent_since=-7), "Healthy", F, "Stale",
     "has not answered since 09:59:53 UTC"),
    ("written over", b.an_active_room(), b.room_seen(livekit_room=UNMARKED), "Healthy", F, "Unowned", "metadata"),
    ("left behind", b.an_active_room(), b.room_seen(livekit_room=THERE, ownerless=True), "Healthy", F, "Unowned",
     f"its Match {b.NAME} is gone"),
    ("too many", b.an_active_room(max_participants=1), b.room_seen(livekit_room=THERE, people=BOTH), "Healthy", F,
     "WrongParticipantCount", "2 participants are in a room for 1"),
    ("ghosts", b.an_active_room(), b.room_seen(livekit_room=THERE, ghosts=("a", "b", "c", "d")), "Healthy", F,
     "GhostParticipant", "LiveKit lists a, b, c and 1 more on a node that no longer answers; they count as gone"),
    ("miscounted", b.an_active_room(),
     b.room_seen(livekit_room=b.a_livekit_room(people=3), people=BOTH, miscounted=True), "Healthy", F,
     "WrongParticipantCount", "LiveKit counts 3 participants and lists 2"),
    ("a stranger", b.an_active_room(allowed_identities=["bob"]), b.room_seen(livekit_room=THERE, people=BOTH),
     "Healthy", F, "UnexpectedParticipant", "not in allowedIdentities: alice; "),
    ("a crowd", b.an_active_room(max_participants=9, allowed_identities=["bob"]),
     b.room_seen(livekit_room=THERE, people=tuple(b.person(who) for who in "edcba")), "Healthy", F,
     "UnexpectedParticipant", "a, b, c and 2 more"),
    ("two issues", b.an_active_room(max_participants=1), b.room_seen(livekit_room=UNMARKED, people=BOTH), "Healthy", F,
     "Unowned", "as ours; 2 participants"),
    ("given up", b.a_lost_room(-30, -9, -7, -3, 1), b.room_seen(4, gone=True), "Finished", T, "Lost", "check LiveKit"),
    ("answers", b.a_room(), b.room_seen(), "Degraded", F, "AllBackendsAnswer", "default answers"),
    ("away", b.a_room(), b.room_seen(trouble="no answer"), "Degraded", T, "BackendUnreachable", "no answer; nothing"),
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
        (b.a_room(), b.room_seen(livekit_room=THERE, people=(*BOTH, *HELPERS)), 2, "Occupied"),
        (b.a_room(), b.room_seen(livekit_room=THERE, people=HELPERS), 0, "Available"),
        (b.a_room(), b.room_seen(livekit_room=b.a_livekit_room(people=1), people=b.unknown()), 1, "Occupied"),
        (b.a_room(), b.room_seen(people=BOTH), None, None),
        (b.a_room(), b.room_seen(livekit_room=OTHERS, people=BOTH), None, None),
        (b.a_room(), b.room_seen(livekit_room=REVIVED, people=BOTH), 2, "Occupied"),
        (DELETED, b.room_seen(livekit_room=THERE, people=BOTH), 0, "Maintenance"),
        (
            b.an_active_room(deleted=True, status={"num_participants": 2}),
            b.room_seen(livekit_room=THERE),
            0,
            "Maintenance",
        ),
        (DELETED, b.room_seen(gone=True), 0, None),
        (b.a_lost_room(), b.room_seen(people=b.unknown()), 2, "Maintenance"),
        (b.a_lost_room(-30, -9, -7, -3, 1), b.room_seen(), 0, None),
        (
            b.an_active_room(status={"num_participants": 2, "occupancy": "Occupied"}),
            b.room_seen(livekit_room=b.unknown(), people=b.unknown()),
            2,
            "Occupied",
        ),
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


def test_a_server_that_is_silent_for_a_moment_makes_nothing_stale() -> None:
    seen = b.room_seen(livekit_room=THERE, silent_since=20)
    assert status_of(b.an_active_room(), seen, 29.9).issues == ()
    assert status_of(b.an_active_room(), seen, 30).issues == ("Stale",)


def test_the_times_of_the_last_five_restores_are_kept() -> None:
    other = b.room_seen(livekit_room=b.a_livekit_room(sid="RM_2"))
    assert status_of(b.an_active_room(), other, 4).restored_at == (b.at(4),)
    late = replace(other, sid_since=b.at(1.5))
    assert status_of(b.an_active_room(), late, 4).restored_at == (b.at(1.5),), "the status is written some time after"
    assert status_of(b.an_active_room(), late, 4).empty_since == b.at(1.5)
    many = b.a_lost_room(-900, -800, -700, -600, -500)
    assert status_of(many, other, 4).restored_at == tuple(map(b.at, (-800, -700, -600, -500, 4)))
    assert status_of(many, b.room_seen(livekit_room=THERE), 4).restored_at == many.status.restored_at


def test_the_time_of_loss_is_kept_until_the_room_is_there() -> None:
    lost = b.room_seen(3)
    assert status_of(b.an_active_room(), lost, 4).lost_at == b.at(3)
    assert status_of(b.a_lost_room(lost_at=2), lost, 4).lost_at == b.at(2)
    assert status_of(b.a_lost_room(lost_at=2), b.room_seen(livekit_room=b.unknown()), 4).lost_at == b.at(2)
    assert status_of(b.a_lost_room(lost_at=2), b.room_seen(livekit_room=THERE), 4).lost_at is None
    assert status_of(b.a_room(), lost, 4).lost_at is None, "it never was there"
    assert status_of(b.a_lost_room(lost_at=-30), lost, 4).lost_at == b.at(-30), "given up"


IN_USE = b.an_active_room(status={"num_participants": 2, "empty_since": None})


@pytest.mark.parametrize(
    ("case", "room", "seen", "since"),
    [
        ("just made", b.a_room(), b.room_seen(livekit_room=THERE), b.at(9)),
        ("empty from the beginning", b.an_active_room(), b.room_seen(livekit_room=THERE), b.at(1)),
        ("a participant came", b.an_active_room(), b.room_seen(livekit_room=THERE, people=BOTH), None),
        ("the last one left", IN_USE, b.room_seen(livekit_room=THERE), b.at(9)),
        (
            "restored: LiveKit counts from zero",
            b.an_active_room(),
            b.room_seen(livekit_room=b.a_livekit_room(sid="RM_2")),
            b.at(9),
        ),
        ("lost while empty", b.an_active_room(), b.room_seen(), b.at(1)),
        ("lost with people in it", IN_USE, b.room_seen(), None),
        ("unknown with people in it", IN_USE, b.room_seen(livekit_room=b.unknown(), people=b.unknown()), None),
    ],
)
def test_the_status_says_since_when_the_room_is_empty(
    case: str, room: Room, seen: RoomSeen, since: datetime | None
) -> None:
    assert status_of(room, seen, 9).empty_since == since, case


def test_the_first_room_does_not_count_as_restored() -> None:
    status = status_of(b.a_room(), b.room_seen(livekit_room=THERE))
    assert (status.sid, status.restores) == ("RM_1", None)


def test_a_lost_room_keeps_its_sid_until_another_is_there() -> None:
    assert status_of(b.an_active_room(), b.room_seen()).sid == "RM_1"


def test_a_foreign_room_sets_no_sid_and_no_start_time() -> None:
    status = status_of(b.a_room(), b.room_seen(livekit_room=OTHERS))
    assert (status.sid, status.created_at, status.livekit_name) == (None, None, b.LIVEKIT_NAME)


def test_a_room_that_a_client_has_made_again_is_known_by_its_sid_once_it_has_our_mark() -> None:
    status = status_of(b.a_lost_room(), b.room_seen(livekit_room=REVIVED))
    assert (status.sid, status.restores, status.lost_at) == ("RM_1", None, None)
    marked = status_of(b.a_lost_room(), b.room_seen(livekit_room=b.a_livekit_room(sid="RM_of_a_client")))
    assert (marked.sid, marked.restores, marked.issues) == ("RM_of_a_client", 1, ())


def test_moments_are_written_once_and_stay() -> None:
    assert status_of(b.a_room(), b.room_seen(livekit_room=THERE), 4.5).created_at == b.at(4.5)
    assert status_of(b.an_active_room(), b.room_seen(livekit_room=THERE), 9).created_at == b.at(1)
    assert status_of(DELETED, b.room_seen(gone=True), 9).terminated_at == b.at(9)
    assert status_of(TERMINATED, b.room_seen(gone=True), 99).terminated_at == b.at(30)
    assert status_of(DELETED, b.room_seen(livekit_room=THERE), 9).terminated_at is None
    given_up = b.a_lost_room(-3, -2, -1, 0, 1)
    assert status_of(given_up, b.room_seen(), 9).terminated_at is None
    assert status_of(given_up, b.room_seen(gone=True), 9).terminated_at == b.at(9)


def test_the_last_error_changes_with_what_failed_and_not_because_it_fails_again() -> None:
    known = b.an_active_room(status=FAILED_BEFORE)
    again = OUTAGE.model_copy(update={"at": b.at(9)})
    solved = b.an_active_room(status={"last_error": OUTAGE})
    assert status_of(solved, b.room_seen(), error=again).last_error == again
    other = OUTAGE.model_copy(update={"type": ErrorType.REDIS})
    assert status_of(known, b.room_seen(), error=again).last_error == OUTAGE
    assert status_of(known, b.room_seen(), error=None).last_error == OUTAGE
    assert status_of(known, b.room_seen(), error=other).last_error == other
    assert status_of(b.a_room(), b.room_seen(), error=OUTAGE).last_error == OUTAGE


def test_a_step_that_keeps_failing_makes_the_room_degraded_although_livekit_answers() -> None:
    known, solved = b.an_active_room(status=FAILED_BEFORE), b.an_active_room(status={"last_error": OUTAGE})
    assert condition(status_of(known, b.room_seen(), error=OUTAGE), "Degraded")[:2] == (T, "BackendRefuses")
    assert condition(status_of(solved, b.room_seen(), error=OUTAGE), "Degraded")[:2] == (F, "Retrying")
    assert condition(status_of(b.an_active_room(), b.room_seen(), error=OUTAGE), "Degraded")[0] == F


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_nothing_is_written_because_time_passed(case: tuple[Any, ...]) -> None:
    _, room, seen, *_ = case
    first = status_of(room, seen, 30.25)
    room = room.model_copy(update={"status": first})
    names = ("livekit_room", "people", "record")
    same = replace(seen, **{name: replace(getattr(seen, name), at=b.at(40)) for name in names})
    assert merge_patch(first.manifest(), status_of(room, same, 40.75).manifest()) == {}


def test_a_status_reads_back_the_same() -> None:
    status = room_status(RoomCase(b.a_room(), b.room_seen(livekit_room=THERE, people=BOTH), b.at(4.1234567)), OUTAGE)
    assert RoomStatus.model_validate(status.manifest()) == status


# An event in a phase, and the phase after it: (room, seen, next phase).
ARROWS: list[tuple[Room, RoomSeen, str]] = [
    (b.a_room(status={"phase": "Creating"}), b.room_seen(livekit_room=THERE), "Active"),
    (b.a_room(status={"phase": "Creating"}), b.room_seen(livekit_room=OTHERS), "Failed"),
    (b.a_room(deleted=True, status={"phase": "Creating"}), b.room_seen(livekit_room=THERE), "Terminating"),
    (DELETED, b.room_seen(livekit_room=THERE), "Terminating"),
    (b.an_active_room(owned=False), b.room_seen(30, owned=False, gone=True), "Terminated"),
    (b.an_active_room(), b.room_seen(3), "Creating"),
    (b.a_lost_room(20, 21, 23, 27, 29), b.room_seen(30), "Failed"),
    (b.an_active_room(deleted=True, status={"phase": "Terminating"}), b.room_seen(gone=True), "Terminated"),
]


@pytest.mark.parametrize(("room", "seen", "to"), ARROWS, ids=[f"{room.status.phase} → {to}" for room, _, to in ARROWS])
def test_a_room_goes_the_ways_of_the_table(room: Room, seen: RoomSeen, to: str) -> None:
    assert status_of(room, seen, 30).phase == to


def test_the_table_has_these_ways_and_no_others() -> None:
    # With one server there is nothing to choose, so no Room is seen to be Pending.
    ways = {
        (stage.name, way.to)
        for stage in ROOM_PHASES.values()
        for way in stage.exits
        if stage.name is not RoomPhase.PENDING
    }
    assert ways == {(room.status.phase, RoomPhase(to)) for room, _, to in ARROWS}


def test_the_status_names_its_generation_and_its_server() -> None:
    status = status_of(b.a_room(), b.room_seen())
    assert (status.observed_generation, status.server) == (1, "default")


def test_the_room_of_another_room_object_is_not_restored_and_its_people_are_not_ours() -> None:
    theirs = b.a_livekit_room(sid="RM_theirs", mark=b.a_mark(room_uid="of-another-room"))
    status = status_of(b.an_active_room(allowed_identities=["bob"]), b.room_seen(livekit_room=theirs, people=BOTH))
    assert (status.restores, status.restored_at, status.sid) == (None, (), "RM_1")
    assert status.issues == ("ForeignMark",)


def test_a_lost_room_that_should_exist_is_not_terminated_however_certain_the_loss_is() -> None:
    status = status_of(b.a_lost_room(), b.room_seen(3, gone=True), 4)
    assert (status.phase, status.terminated_at) == ("Creating", None)


def test_a_room_that_is_over_has_no_time_of_loss() -> None:
    assert status_of(DELETED, b.room_seen(3), 4).lost_at is None


def test_a_standing_room_that_is_as_it_should_be_has_no_issues() -> None:
    status = status_of(b.an_active_room(owned=False), b.room_seen(livekit_room=THERE, owned=False))
    assert (status.phase, status.issues) == ("Active", ())


def test_the_first_loss_is_restored_without_waiting_and_three_strangers_are_all_named() -> None:
    assert condition(status_of(b.an_active_room(), b.room_seen()), "Healthy")[2].endswith("; it is restored")
    three = b.room_seen(livekit_room=THERE, people=tuple(b.person(who) for who in "abc"))
    room = b.an_active_room(max_participants=9, allowed_identities=["bob"])
    assert "allowedIdentities: a, b, c; they" in condition(status_of(room, three), "Healthy")[2]
