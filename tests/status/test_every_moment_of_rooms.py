"""Each phase of a Room under each state of LiveKit: the whole of its conditions, as they are expected by hand.

`+` is True, `-` is False, `?` is Unknown.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.api.failures import LastError
from controller.api.room import Room, RoomEndReason, RoomStatus
from controller.facts.room import RoomSeen
from controller.rules.room_case import RoomCase
from controller.status.room import room_status
from tests import values as b
from tests.status.looks import OUTAGE
from tests.status.test_every_moment import SIGNS

THERE = b.a_livekit_room()
EMPTY = {"reason": RoomEndReason.EMPTY, "phase": "Terminated", "terminated_at": b.at(1)}
ROOMS: dict[str, tuple[Room, RoomSeen]] = {
    "Creating": (b.a_room(), b.room_seen()),
    "Active": (b.an_active_room(), b.room_seen(livekit_room=THERE)),
    "Creating, lost": (b.a_lost_room(), b.room_seen()),
    "Terminating": (b.an_active_room(termination_reason="works"), b.room_seen(livekit_room=THERE)),
    "Terminated": (b.an_active_room(status=EMPTY), b.room_seen(gone=True)),
    "Failed": (b.a_lost_room(lost_at=-30), b.room_seen(4, gone=True)),
}
STATES = ("answers", "away", "refuses, once", "refuses, again")


def look(phase: str, state: str) -> RoomStatus:
    """The status of a Room in this phase; what LiveKit has said last stays known while it is away."""
    room, seen = ROOMS[phase]
    error: LastError | None = OUTAGE if state.startswith("refuses") else None
    if state == "away":
        seen = replace(seen, server=replace(seen.server, trouble="LiveKit: no answer"))
    if state == "refuses, again":
        room = room.model_copy(update={"status": room_status(RoomCase(room, seen, b.at(4)), error)})
    return room_status(RoomCase(room, seen, b.at(4)), error)


EXPECTED = {
    ("Creating", "answers"): "-Ready:Provisioning +Healthy:AsExpected -Degraded:AllBackendsAnswer -Finished:InProgress "
    "+Reconciling:Provisioning",
    ("Creating", "away"): "?Ready:NotKnown ?Healthy:NotKnown +Degraded:BackendUnreachable -Finished:InProgress "
    "+Reconciling:NotKnown",
    ("Creating", "refuses, once"): "-Ready:Provisioning +Healthy:AsExpected -Degraded:Retrying -Finished:InProgress "
    "+Reconciling:Provisioning",
    ("Creating", "refuses, again"): "-Ready:Provisioning +Healthy:AsExpected +Degraded:BackendRefuses "
    "-Finished:InProgress +Reconciling:Provisioning",
    ("Active", "answers"): "+Ready:Provisioned +Healthy:AsExpected -Degraded:AllBackendsAnswer -Finished:InProgress",
    ("Active", "away"): "?Ready:NotKnown ?Healthy:NotKnown +Degraded:BackendUnreachable -Finished:InProgress "
    "+Reconciling:NotKnown",
    ("Active", "refuses, once"): "+Ready:Provisioned +Healthy:AsExpected -Degraded:Retrying -Finished:InProgress",
    ("Active", "refuses, again"): "+Ready:Provisioned +Healthy:AsExpected +Degraded:BackendRefuses "
    "-Finished:InProgress",
    ("Creating, lost", "answers"): "-Ready:RoomMissing -Healthy:Missing -Degraded:AllBackendsAnswer "
    "-Finished:InProgress +Reconciling:RoomMissing",
    ("Creating, lost", "away"): "?Ready:NotKnown -Healthy:Missing +Degraded:BackendUnreachable -Finished:InProgress "
    "+Reconciling:NotKnown",
    ("Creating, lost", "refuses, once"): "-Ready:RoomMissing -Healthy:Missing -Degraded:Retrying "
    "-Finished:InProgress +Reconciling:RoomMissing",
    ("Creating, lost", "refuses, again"): "-Ready:RoomMissing -Healthy:Missing +Degraded:BackendRefuses "
    "-Finished:InProgress +Reconciling:RoomMissing",
    ("Terminating", "answers"): "-Ready:Terminated +Healthy:AsExpected -Degraded:AllBackendsAnswer "
    "-Finished:InProgress +Reconciling:Terminated",
    ("Terminating", "away"): "-Ready:Terminated +Healthy:AsExpected +Degraded:BackendUnreachable "
    "-Finished:InProgress +Reconciling:Terminated",
    ("Terminating", "refuses, once"): "-Ready:Terminated +Healthy:AsExpected -Degraded:Retrying -Finished:InProgress "
    "+Reconciling:Terminated",
    ("Terminating", "refuses, again"): "-Ready:Terminated +Healthy:AsExpected +Degraded:BackendRefuses "
    "-Finished:InProgress +Reconciling:Terminated",
    ("Terminated", "answers"): "+Healthy:AsExpected -Degraded:NoBackendNeeded +Finished:Empty",
    ("Terminated", "away"): "+Healthy:AsExpected -Degraded:NoBackendNeeded +Finished:Empty",
    ("Terminated", "refuses, once"): "+Healthy:AsExpected -Degraded:Retrying +Finished:Empty",
    ("Terminated", "refuses, again"): "+Healthy:AsExpected +Degraded:BackendRefuses +Finished:Empty",
    ("Failed", "answers"): "-Ready:Lost -Healthy:Missing -Degraded:AllBackendsAnswer +Finished:Lost +Stalled:Lost",
    ("Failed", "away"): "-Ready:Lost -Healthy:Missing +Degraded:BackendUnreachable +Finished:Lost +Stalled:Lost",
    ("Failed", "refuses, once"): "-Ready:Lost -Healthy:Missing -Degraded:Retrying +Finished:Lost +Stalled:Lost",
    ("Failed", "refuses, again"): "-Ready:Lost -Healthy:Missing +Degraded:BackendRefuses +Finished:Lost +Stalled:Lost",
}


@pytest.mark.parametrize(("phase", "state"), EXPECTED)
def test_every_condition_of_a_room_is_true_in_every_phase_and_every_state_of_livekit(phase: str, state: str) -> None:
    status = look(phase, state)
    assert status.phase == phase.partition(",")[0]
    assert [f"{SIGNS[one.status]}{one.type}:{one.reason}" for one in status.conditions] == EXPECTED[
        phase, state
    ].split()


def test_the_table_of_rooms_is_complete() -> None:
    assert set(EXPECTED) == {(phase, state) for phase in ROOMS for state in STATES}
