"""The plan of a Room: state in, plan out."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson
import pytest

from controller.api.room import Room, RoomEndReason
from controller.errors import Backend
from controller.facts.livekit import LiveKitRoom, metadata_digest, parse_mark
from controller.facts.room import OwnerFacts, RoomSeen
from controller.plan import actions as a
from controller.plan.room import plan_room
from controller.rules.room import end_reason, mark_of, strangers
from controller.rules.room_case import RoomCase
from tests import values as b
from tests.plan.world import check_plan, names, only

THERE = b.a_livekit_room()
REVIVED = b.a_livekit_room(foreign=True, sid="RM_of_a_client")
UNMARKED = b.a_livekit_room(foreign=True)
OTHERS = b.a_livekit_room(mark=b.a_mark(room_uid="of-another-room"))
DELETED, ORPHANED = b.an_active_room(deleted=True), b.an_active_room(deleted=True, deletion_policy="Orphan")
CLOSED = b.an_active_room(termination_reason="maintenance")
BOTH = (b.person("alice"), b.person("bob"))
ONLY_ALICE = b.an_active_room(allowed_identities=["alice"])
STANDING = b.an_active_room(owned=False)
EMPTY = b.an_active_room(owned=False, status={"phase": "Terminated", "reason": "Empty", "terminated_at": b.at(30)})
OVER_FOR_LONG = b.an_active_room(termination_reason="maintenance", status={"terminated_at": b.at(3)})
# A participant was in the room, and the last one left half a second after the room was made.
LEFT_EMPTY = {"empty_since": b.at(1.5)}
RECORD = b.a_record()
CREATE, SHUT = ["CreateLiveKitRoom", "WriteRoomRecord"], ["DeleteLiveKitRoom", "EndRoomRecord"]
# Its Match is not in the cache yet: only its UID and its name are known.
NOT_SEEN_YET = OwnerFacts(b.MATCH_UID, b.NAME, (), "")
PAUSED = OwnerFacts(b.MATCH_UID, b.NAME, b.PEOPLE, "s-1", is_paused=True)

# Each case: a name, the observation, the expected result.
STEPS: list[tuple[str, Room, RoomSeen, float, list[str]]] = [
    ("paused: nothing", b.a_room(paused=True, finalizers=()), b.room_seen(), 2, []),
    ("its Match is paused: nothing", b.an_active_room(), replace(b.room_seen(), owner=PAUSED), 2, []),
    ("new: the finalizer before anything on LiveKit", b.a_room(finalizers=()), b.room_seen(), 2, ["AddFinalizer"]),
    (
        "deleted, not ours any more: nothing",
        b.a_room(finalizers=(), deleted=True),
        b.room_seen(livekit_room=THERE),
        2,
        [],
    ),
    ("not there: create", b.a_room(), b.room_seen(), 2, CREATE),
    ("unknown: create, which adopts", b.a_room(), b.room_seen(livekit_room=b.unknown()), 2, CREATE),
    (
        "not made yet, record already written: create",
        b.a_room(),
        b.room_seen(record=b.a_record("creating")),
        2,
        ["CreateLiveKitRoom"],
    ),
    (
        "not made yet, record unknown: create all the same",
        b.a_room(),
        b.room_seen(record=b.unknown()),
        2,
        ["CreateLiveKitRoom"],
    ),
    ("made: the record", b.a_room(), b.room_seen(livekit_room=THERE), 2, ["WriteRoomRecord"]),
    (
        "made, record says creating: written",
        b.a_room(),
        b.room_seen(livekit_room=THERE, record=b.a_record("creating")),
        2,
        ["WriteRoomRecord"],
    ),
    ("made, record unknown: wait", b.a_room(), b.room_seen(livekit_room=THERE, record=b.unknown()), 2, []),
    ("all there: nothing", b.an_active_room(), b.room_seen(livekit_room=THERE, record=RECORD), 2, []),
    (
        "record almost half an hour old: not yet",
        b.an_active_room(),
        b.room_seen(1800, livekit_room=THERE, record=RECORD),
        1800.9,
        [],
    ),
    (
        "record half an hour old: renewed",
        b.an_active_room(),
        b.room_seen(1801, livekit_room=THERE, record=RECORD),
        1801,
        ["WriteRoomRecord"],
    ),
    (
        "lost with a participant in it: made again",
        b.an_active_room(status={"num_participants": 1, "empty_since": None}),
        b.room_seen(60, record=RECORD),
        60,
        CREATE,
    ),
    (
        "lost before it can have closed by itself: made again",
        STANDING,
        b.room_seen(20.9, record=RECORD, owned=False),
        20.9,
        CREATE,
    ),
    (
        "closed by itself: asked a second time",
        b.an_active_room(owned=False, status=LEFT_EMPTY),
        b.room_seen(21, record=RECORD, owned=False),
        21,
        SHUT,
    ),
    (
        "closed by itself for certain: the record",
        b.an_active_room(owned=False, status=LEFT_EMPTY),
        b.room_seen(21, record=b.a_record("terminating"), owned=False, gone=True),
        21,
        ["EndRoomRecord"],
    ),
    (
        "closed by itself while its Match goes on: made again",
        b.an_active_room(status=LEFT_EMPTY),
        b.room_seen(21, record=RECORD),
        21,
        CREATE,
    ),
    ("closed by itself, all told: nothing", EMPTY, b.room_seen(30, record=b.a_record("terminated"), gone=True), 30, []),
    ("closed by itself, revived: deleted again", EMPTY, b.room_seen(30, livekit_room=THERE), 30, ["DeleteLiveKitRoom"]),
    (
        "absent and unread since it was made: made again",
        STANDING,
        b.room_seen(1, record=RECORD, owned=False),
        60,
        CREATE,
    ),
    (
        "unknown after an outage: wait for the next list",
        b.an_active_room(),
        b.room_seen(60, livekit_room=b.unknown(60)),
        60,
        [],
    ),
    ("deleted: closed on LiveKit", DELETED, b.room_seen(livekit_room=THERE, record=RECORD), 2, SHUT),
    (
        "deleted, record says terminating: closed on LiveKit",
        DELETED,
        b.room_seen(livekit_room=THERE, record=b.a_record("terminating")),
        2,
        ["DeleteLiveKitRoom"],
    ),
    ("deleted, not listed: the deletion is the second read", DELETED, b.room_seen(record=RECORD), 2, SHUT),
    ("deleted, made by a client: closed", DELETED, b.room_seen(livekit_room=REVIVED, record=RECORD), 2, SHUT),
    ("deleted, LiveKit unknown: wait", DELETED, b.room_seen(livekit_room=b.unknown()), 2, []),
    (
        "deleted before it was made, LiveKit unknown: nothing is made any more",
        b.a_room(deleted=True),
        b.room_seen(livekit_room=b.unknown()),
        2,
        [],
    ),
    ("deleted, orphaned, LiveKit unknown: wait", ORPHANED, b.room_seen(livekit_room=b.unknown()), 2, []),
    ("deleted, gone: the record", DELETED, b.room_seen(record=RECORD, gone=True), 2, ["EndRoomRecord"]),
    ("deleted, gone, record unknown: wait", DELETED, b.room_seen(record=b.unknown(), gone=True), 2, []),
    (
        "deleted, gone, record over: let go",
        DELETED,
        b.room_seen(record=b.a_record("terminated"), gone=True),
        2,
        ["ReleaseFinalizer"],
    ),
    (
        "deleted, gone, record failed: let go",
        DELETED,
        b.room_seen(record=b.a_record("failed"), gone=True),
        2,
        ["ReleaseFinalizer"],
    ),
    ("deleted, gone, no record: the tombstone", DELETED, b.room_seen(gone=True), 2, ["EndRoomRecord"]),
    (
        "orphaned: our mark comes off",
        ORPHANED,
        b.room_seen(livekit_room=THERE, record=RECORD),
        2,
        ["OrphanLiveKitRoom"],
    ),
    ("orphaned, closed by itself meanwhile: the record", ORPHANED, b.room_seen(record=RECORD), 2, ["EndRoomRecord"]),
    (
        "orphaned, the mark is off: let go",
        ORPHANED,
        b.room_seen(record=b.a_record("terminated"), gone=True),
        2,
        ["ReleaseFinalizer"],
    ),
    (
        "orphaned, without our mark and listed: the record",
        ORPHANED,
        b.room_seen(livekit_room=UNMARKED, record=RECORD),
        2,
        ["EndRoomRecord"],
    ),
    (
        "terminated with Orphan: closed all the same",
        b.an_active_room(termination_reason="x", deletion_policy="Orphan"),
        b.room_seen(livekit_room=THERE),
        2,
        ["DeleteLiveKitRoom"],
    ),
    ("terminated: closed on LiveKit", CLOSED, b.room_seen(livekit_room=THERE), 2, ["DeleteLiveKitRoom"]),
    ("terminated, gone, no record: the tombstone", CLOSED, b.room_seen(gone=True), 2, ["EndRoomRecord"]),
    ("terminated, gone, record ended: the object stays for readers", OVER_FOR_LONG, b.room_seen(gone=True), 9999, []),
    (
        "terminated, revived by a client: deleted again",
        CLOSED,
        b.room_seen(livekit_room=REVIVED, gone=True),
        2,
        ["DeleteLiveKitRoom"],
    ),
    ("made by a client before us: adopted", b.a_room(), b.room_seen(livekit_room=REVIVED), 2, ["CreateLiveKitRoom"]),
    (
        "lost, and made by a client before us: adopted",
        b.a_lost_room(),
        b.room_seen(livekit_room=REVIVED, record=RECORD),
        2,
        ["CreateLiveKitRoom"],
    ),
    ("a room with another mark: left alone", b.a_room(), b.room_seen(livekit_room=OTHERS), 2, []),
    (
        "our room, its metadata written over: kept",
        b.an_active_room(),
        b.room_seen(livekit_room=UNMARKED, record=RECORD),
        2,
        [],
    ),
    (
        "our room, its metadata written over, deleted: closed",
        DELETED,
        b.room_seen(livekit_room=UNMARKED),
        2,
        ["DeleteLiveKitRoom"],
    ),
    ("lost for the first time: made again at once", b.a_lost_room(), b.room_seen(3), 3, CREATE),
    (
        "lost right after it was restored: told, and not yet",
        b.a_lost_room(2),
        b.room_seen(2.9, record=RECORD),
        2.9,
        ["WriteRoomRecord"],
    ),
    (
        "lost right after it was restored, and told: not yet",
        b.a_lost_room(2),
        b.room_seen(2.9, record=b.a_record("creating")),
        2.9,
        [],
    ),
    ("lost again, and the pause is over: made again", b.a_lost_room(2), b.room_seen(3), 3, CREATE),
    (
        "lost too often: asked a second time",
        b.a_lost_room(2, 3, 5, 9, 17),
        b.room_seen(18),
        18,
        ["DeleteLiveKitRoom"],
    ),
    (
        "given up, revived: deleted again",
        b.an_active_room(status={"phase": "Failed", "reason": "Lost"}),
        b.room_seen(30, livekit_room=THERE, gone=True),
        30,
        ["DeleteLiveKitRoom"],
    ),
    (
        "deleted, another Room's room: released without touching it",
        DELETED,
        b.room_seen(livekit_room=OTHERS, record=b.a_record("terminated")),
        2,
        ["ReleaseFinalizer"],
    ),
    (
        "deleted, orphaned, another Room's: released",
        ORPHANED,
        b.room_seen(livekit_room=OTHERS, record=b.a_record("terminated")),
        2,
        ["ReleaseFinalizer"],
    ),
    (
        "a stranger: removed",
        ONLY_ALICE,
        b.room_seen(livekit_room=THERE, record=RECORD, people=BOTH),
        2,
        ["RemoveStranger"],
    ),
    (
        "a stranger and no record: both at once",
        ONLY_ALICE,
        b.room_seen(livekit_room=THERE, people=BOTH),
        2,
        ["RemoveStranger", "WriteRoomRecord"],
    ),
    (
        "every client may come: no participant is removed",
        b.an_active_room(),
        b.room_seen(livekit_room=THERE, record=RECORD, people=BOTH),
        2,
        [],
    ),
    (
        "people unknown: no participant is removed",
        ONLY_ALICE,
        b.room_seen(livekit_room=THERE, record=RECORD, people=b.unknown()),
        2,
        [],
    ),
    ("aged: closed", b.an_active_room(max_age_seconds=60), b.room_seen(livekit_room=THERE), 60, ["DeleteLiveKitRoom"]),
    (
        "not aged yet: nothing",
        b.an_active_room(max_age_seconds=60),
        b.room_seen(livekit_room=THERE, record=RECORD),
        59.9,
        [],
    ),
]


@pytest.mark.parametrize(("room", "seen", "seconds", "expected"), [c[1:] for c in STEPS], ids=[c[0] for c in STEPS])
def test_the_next_step_follows_from_what_is_seen(
    room: Room, seen: RoomSeen, seconds: float, expected: list[str]
) -> None:
    plan = plan_room(RoomCase(room, seen, b.at(seconds)))
    assert names(plan) == expected
    assert expected or plan.waits_for
    check_plan(plan)


DEADLINES: list[tuple[str, Room, RoomSeen, float, datetime | None]] = [
    ("renewal of the record", b.an_active_room(), b.room_seen(livekit_room=THERE, record=RECORD), 2, b.at(1801)),
    ("its age", b.an_active_room(max_age_seconds=60), b.room_seen(livekit_room=THERE, record=RECORD), 2, b.at(60)),
    (
        "record that is over: nothing to renew",
        b.an_active_room(),
        b.room_seen(3000, livekit_room=THERE, record=b.a_record("terminated")),
        3000,
        None,
    ),
    ("record to be written: nothing to renew", b.an_active_room(), b.room_seen(livekit_room=THERE), 2, None),
    ("another Room's room: now and then", b.a_room(), b.room_seen(livekit_room=OTHERS), 2, b.at(32)),
    (
        "its Match is not known yet: soon",
        b.an_active_room(),
        replace(b.room_seen(livekit_room=THERE, record=RECORD), owner=NOT_SEEN_YET),
        2,
        b.at(7),
    ),
    ("gone: never", OVER_FOR_LONG, b.room_seen(gone=True), 2, None),
    ("lost once more: the pause before it is restored", b.a_lost_room(2, 3), b.room_seen(4), 4, b.at(5)),
]


@pytest.mark.parametrize(("room", "seen", "seconds", "at"), [c[1:] for c in DEADLINES], ids=[c[0] for c in DEADLINES])
def test_a_plan_that_waits_says_until_when(room: Room, seen: RoomSeen, seconds: float, at: datetime | None) -> None:
    assert plan_room(RoomCase(room, seen, b.at(seconds))).deadline == at


# Each case: a name, the observation, the expected result.
REASONS: list[tuple[str, Room, RoomSeen, float, RoomEndReason | None]] = [
    ("wanted", b.an_active_room(), b.room_seen(livekit_room=THERE), 9, None),
    (
        "recorded: it stays so",
        b.an_active_room(deleted=True, status={"reason": "Empty"}),
        b.room_seen(),
        9,
        RoomEndReason.EMPTY,
    ),
    ("deleted", DELETED, b.room_seen(), 9, RoomEndReason.DELETED),
    ("terminated", CLOSED, b.room_seen(), 9, RoomEndReason.TERMINATED),
    (
        "deleted and terminated: deleted",
        b.a_room(deleted=True, termination_reason="x"),
        b.room_seen(),
        9,
        RoomEndReason.DELETED,
    ),
    ("aged", b.a_room(max_age_seconds=60), b.room_seen(), 60, RoomEndReason.EXPIRED),
    ("never made: not empty", b.a_room(), b.room_seen(60), 60, None),
    ("empty and gone", STANDING, b.room_seen(60, owned=False), 60, RoomEndReason.EMPTY),
    ("empty and gone, its Match goes on", b.an_active_room(), b.room_seen(60), 60, None),
    ("empty and gone, its Match is gone", b.an_active_room(), b.room_seen(60, ownerless=True), 60, RoomEndReason.EMPTY),
    (
        "empty and gone, but lost before that",
        b.an_active_room(owned=False, status={"lost_at": b.at(9)}),
        b.room_seen(60, owned=False),
        60,
        None,
    ),
    ("empty, and unknown", b.an_active_room(), b.room_seen(60, livekit_room=b.unknown(60)), 60, None),
    ("empty, and there", b.an_active_room(), b.room_seen(60, livekit_room=THERE), 60, None),
    (
        "gone with people in it",
        b.an_active_room(status={"num_participants": 2, "empty_since": None}),
        b.room_seen(60),
        60,
        None,
    ),
    (
        "no participant has been in: the empty timeout counts",
        STANDING,
        b.room_seen(21, owned=False),
        21,
        None,
    ),
    (
        "restored, and no participant has been in since: the empty timeout counts",
        b.an_active_room(owned=False, status={"empty_since": b.at(5), "restored_at": [b.at(5)]}),
        b.room_seen(33.9, owned=False),
        33.9,
        None,
    ),
    (
        "restored, and gone after the empty timeout",
        b.an_active_room(
            owned=False, departure_timeout_seconds=500, status={"empty_since": b.at(5), "restored_at": [b.at(5)]}
        ),
        b.room_seen(34, owned=False),
        34,
        RoomEndReason.EMPTY,
    ),
    (
        "the last one left: the departure timeout counts",
        b.an_active_room(owned=False, empty_timeout_seconds=500, status=LEFT_EMPTY),
        b.room_seen(21, owned=False),
        21,
        RoomEndReason.EMPTY,
    ),
]


@pytest.mark.parametrize(("room", "seen", "seconds", "reason"), [c[1:] for c in REASONS], ids=[c[0] for c in REASONS])
def test_why_a_room_should_not_exist(room: Room, seen: RoomSeen, seconds: float, reason: RoomEndReason | None) -> None:
    assert end_reason(room, seen, b.at(seconds)) == reason


@pytest.mark.parametrize(
    ("kind", "is_stranger"),
    [
        ("STANDARD", True),
        ("EGRESS", False),
        ("INGRESS", False),
        ("AGENT", False),
        ("SIP", False),
        ("CONNECTOR", False),
        ("BRIDGE", False),
    ],
)
def test_participants_of_the_infrastructure_are_no_strangers(kind: str, is_stranger: bool) -> None:
    seen = b.room_seen(livekit_room=THERE, people=(b.person("recorder", kind=kind),))
    assert bool(strangers(ONLY_ALICE, seen)) is is_stranger


def test_a_stranger_is_removed_by_identity_once_per_session() -> None:
    seen = b.room_seen(livekit_room=THERE, record=RECORD, people=BOTH)
    removal = only(plan_room(RoomCase(ONLY_ALICE, seen, b.at(2))), a.RemoveStranger)
    assert (removal.livekit_name, removal.identity, removal.participant_sid) == (b.LIVEKIT_NAME, "bob", "PA_bob")
    again = plan_room(
        RoomCase(
            ONLY_ALICE, b.room_seen(livekit_room=THERE, record=RECORD, people=(b.person("bob", sid="PA_9"),)), b.at(2)
        )
    )
    assert only(again, a.RemoveStranger).idempotency_key != removal.idempotency_key


def test_the_room_is_asked_for_as_the_spec_says_and_carries_our_mark() -> None:
    room = b.a_room(
        max_participants=3, empty_timeout_seconds=40, departure_timeout_seconds=50, metadata={"topic": "go"}
    )
    request = only(plan_room(RoomCase(room, b.room_seen(), b.at(2))), a.CreateLiveKitRoom).request
    assert (request.name, request.max_participants) == (b.LIVEKIT_NAME, 3)
    assert (request.empty_timeout_seconds, request.departure_timeout_seconds) == (40, 50)
    assert (request.metadata, request.mark) == ({"topic": "go"}, b.a_mark(digest=metadata_digest({"topic": "go"})))


@pytest.mark.parametrize(
    ("case", "room", "seen", "blocked_by"),
    [
        ("LiveKit unknown at the end", DELETED, b.room_seen(livekit_room=b.unknown()), Backend.LIVEKIT),
        ("LiveKit unknown after an outage", b.an_active_room(), b.room_seen(livekit_room=b.unknown()), Backend.LIVEKIT),
        ("record unknown at the end", DELETED, b.room_seen(record=b.unknown(), gone=True), Backend.REDIS),
        ("record unknown", b.an_active_room(), b.room_seen(livekit_room=THERE, record=b.unknown()), Backend.REDIS),
        ("all is known", b.an_active_room(), b.room_seen(livekit_room=THERE, record=RECORD), None),
        ("paused", b.a_room(paused=True), b.room_seen(livekit_room=b.unknown()), None),
    ],
)
def test_a_plan_that_is_held_up_names_the_backend_that_must_answer_first(
    case: str, room: Room, seen: RoomSeen, blocked_by: Backend | None
) -> None:
    plan = plan_room(RoomCase(room, seen, b.at(9)))
    assert (plan.blocked_by, plan.frozen) == (blocked_by, case == "paused")


def test_a_room_that_is_listed_again_after_it_was_gone_for_certain_is_deleted_again() -> None:
    assert names(plan_room(RoomCase(EMPTY, b.room_seen(30, livekit_room=THERE, gone=True), b.at(30)))) == [
        "DeleteLiveKitRoom"
    ]


def test_the_root_of_a_standing_room_is_the_room_itself() -> None:
    assert mark_of(b.a_room(owned=False), b.room_seen(owned=False)).root_uid == b.ROOM_UID


def test_the_record_of_a_call_names_its_session_and_its_users() -> None:
    record = only(plan_room(RoomCase(b.an_active_room(), b.room_seen(livekit_room=THERE), b.at(2))), a.WriteRoomRecord)
    assert (record.session_id, record.users) == ("s-1", b.PEOPLE)
    assert (record.created_at, record.max_participants) == (b.at(1), 2)


def test_the_record_of_a_standing_room_names_no_session_and_no_users() -> None:
    room = b.a_room(owned=False, allowed_identities=["carol", "dave", "eve"])
    record = only(plan_room(RoomCase(room, b.room_seen(livekit_room=THERE, owned=False), b.at(2))), a.WriteRoomRecord)
    assert (record.session_id, record.users, record.created_at) == ("", (), b.at(2))
    assert record.knows_call


def test_the_record_of_a_room_whose_match_is_not_known_yet_leaves_session_and_users_as_they_are() -> None:
    seen = replace(b.room_seen(livekit_room=THERE), owner=NOT_SEEN_YET)
    record = only(
        plan_room(RoomCase(b.an_active_room(allowed_identities=["p-91", "bob"]), seen, b.at(2))), a.WriteRoomRecord
    )
    assert (record.knows_call, record.users, record.session_id) == (False, (), "")
    known = only(plan_room(RoomCase(b.an_active_room(), b.room_seen(livekit_room=THERE), b.at(2))), a.WriteRoomRecord)
    assert known.knows_call


@pytest.mark.parametrize(
    ("room", "seen", "statuses"),
    [
        (b.a_room(), b.room_seen(), ["creating"]),
        (b.a_lost_room(), b.room_seen(3, record=RECORD), ["creating"]),
        (b.a_room(), b.room_seen(livekit_room=THERE, record=b.a_record("creating")), ["active"]),
        (DELETED, b.room_seen(livekit_room=THERE, record=RECORD), ["terminating"]),
        (DELETED, b.room_seen(record=b.a_record("terminating"), gone=True), ["terminated"]),
        (
            b.an_active_room(status={"phase": "Failed", "reason": "Lost"}),
            b.room_seen(record=b.a_record("terminating"), gone=True),
            ["failed"],
        ),
        (b.an_active_room(), b.room_seen(livekit_room=THERE, record=b.a_record("terminating")), []),
    ],
)
def test_the_record_says_where_the_room_is_on_its_way(room: Room, seen: RoomSeen, statuses: list[str]) -> None:
    actions = plan_room(RoomCase(room, seen, b.at(3))).actions
    assert [one.status for one in actions if isinstance(one, a.WriteRoomRecord | a.EndRoomRecord)] == statuses


@pytest.mark.parametrize(
    ("case", "room", "seen", "may_have_people"),
    [
        ("a participant was in at the last observation", b.an_active_room(deleted=True, status={"empty_since": None}),
         b.room_seen(), True),
        ("it was empty, and the people now are unknown", DELETED, b.room_seen(people=b.unknown()), True),
        ("it was empty, and is not", DELETED, b.room_seen(livekit_room=THERE, people=BOTH), True),
        ("it was empty, and still is", DELETED, b.room_seen(), False),
        ("closed by itself", EMPTY, b.room_seen(people=b.unknown(), owned=False), False),
        ("never seen", b.a_room(deleted=True), b.room_seen(), True),
    ],
)  # fmt: skip
def test_a_room_that_is_deleted_may_have_people_in_it_unless_all_are_known_to_be_gone(
    case: str, room: Room, seen: RoomSeen, may_have_people: bool
) -> None:
    assert only(plan_room(RoomCase(room, seen, b.at(9))), a.DeleteLiveKitRoom).may_have_people is may_have_people, case


def test_an_orphan_keeps_the_metadata_of_its_owner_and_loses_ours() -> None:
    room = b.an_active_room(deleted=True, deletion_policy="Orphan", metadata={"b": "2", "a": "1"})
    assert only(plan_room(RoomCase(room, b.room_seen(livekit_room=THERE), b.at(2))), a.OrphanLiveKitRoom).metadata == (
        ("a", "1"),
        ("b", "2"),
    )


@pytest.mark.parametrize(("room", "leaves_tombstone"), [(ORPHANED, False), (DELETED, True)], ids=["Orphan", "Delete"])
def test_only_a_room_that_is_closed_leaves_a_tombstone(room: Room, leaves_tombstone: bool) -> None:
    plan = plan_room(RoomCase(room, b.room_seen(gone=True, record=RECORD), b.at(2)))
    assert only(plan, a.EndRoomRecord).leaves_tombstone is leaves_tombstone


def test_a_record_that_is_over_is_not_written_again_and_again() -> None:
    # The script never opens a closed record, so planning this write in every round would never end.
    seen: Any = b.room_seen(livekit_room=THERE, record=b.a_record("terminated"))
    assert names(plan_room(RoomCase(b.an_active_room(), seen, b.at(2)))) == []


@pytest.mark.parametrize(
    ("case", "written", "wanted", "updates"),
    [
        ("none, and none is wanted", {}, {}, False),
        ("as it is wanted", {"topic": "chess"}, {"topic": "chess"}, False),
        ("added", {}, {"topic": "chess"}, True),
        ("changed", {"topic": "chess"}, {"topic": "go"}, True),
        ("removed", {"topic": "chess"}, {}, True),
    ],
)
def test_metadata_that_changed_is_written_to_livekit_with_our_mark(
    case: str, written: dict[str, str], wanted: dict[str, str], updates: bool
) -> None:
    livekit = b.a_livekit_room(mark=b.a_mark(digest=metadata_digest(written)))
    room = b.an_active_room(metadata=wanted)
    plan = plan_room(RoomCase(room, b.room_seen(livekit_room=livekit, record=RECORD), b.at(2)))
    found = [action for action in plan.actions if isinstance(action, a.UpdateLiveKitMetadata)]
    assert bool(found) is updates, case
    for action in found:
        marked = orjson.dumps(action.request.marked_metadata).decode()
        assert parse_mark(marked) == action.request.mark == b.a_mark(digest=metadata_digest(wanted))
        assert wanted.items() <= action.request.marked_metadata.items()


@pytest.mark.parametrize("livekit", [b.a_livekit_room(foreign=True), b.a_livekit_room(mark=b.a_mark(room_uid="other"))])
def test_metadata_of_a_room_without_our_mark_is_left_alone(livekit: LiveKitRoom) -> None:
    room = b.an_active_room(metadata={"topic": "chess"})
    plan = plan_room(RoomCase(room, b.room_seen(livekit_room=livekit, record=RECORD), b.at(2)))
    assert not [action for action in plan.actions if isinstance(action, a.UpdateLiveKitMetadata)]


def test_a_room_that_was_closed_needs_no_server_that_is_gone_to_be_deleted() -> None:
    closed = b.a_room(deleted=True, status={"phase": "Terminated", "created_at": b.at(1), "terminated_at": b.at(5)})
    seen = b.room_seen(9, livekit_room=b.unknown(), record=b.a_record("terminated"), configured=False)
    assert names(plan_room(RoomCase(closed, seen, b.at(9)))) == ["ReleaseFinalizer"]
    alive = b.an_active_room(deleted=True)
    assert plan_room(RoomCase(alive, seen, b.at(9))).actions == ()
