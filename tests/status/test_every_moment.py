"""Each phase of a Match under each state of the backends: the whole of its conditions, as they are expected by hand.

`+` is True, `-` is False, `?` is Unknown. A phase is what the status said before, and what is seen follows from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.api.failures import ErrorType, LastError, Recovery, Severity
from controller.api.match import Match, MatchStatus
from controller.api.names import PAUSED
from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.api.room import Room
from controller.facts.match import MatchSeen
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.status.paused import paused_match, paused_room
from controller.status.room import room_status
from tests import values as b
from tests.status.looks import ALICE, END, status_of

SIGNS = {"True": "+", "False": "-", "Unknown": "?"}
REFUSED = LastError(
    type=ErrorType.REDIS, severity=Severity.HIGH, recovery=Recovery.RETRY, message="Redis: WRONGTYPE", at=b.at(2)
)
CREATING = {"phase": "Creating", "started_at": b.T0}
WAS = {"name": b.ROOM_NAME, "livekit_name": b.LIVEKIT_NAME, "sid": "RM_1", "server": "default", "url": b.URL}
ENDED = {**b.OVER, "reason": "Ended", "room": WAS, "end": {"reason": "Ended", "initiator": "alice", "message": "over"}}
FAILED = {
    **b.OVER,
    "phase": "Failed",
    "reason": "TooLate",
    "end": {"reason": "Failed", "message": "too late"},
    "conditions": [{**b.OVER["conditions"][0], "reason": "Failed"}],
}

MATCHES: dict[str, tuple[Match, MatchSeen]] = {
    "Pending": (b.a_match(phase=MatchPhase.PENDING), b.seen()),
    "Creating": (b.a_match(status=CREATING), b.all_made(livekit_room=None, tokens=None, ledger=b.ledger())),
    "Connecting": (b.connecting(), b.all_made()),
    "Active": (b.active(), b.both_in()),
    "Reconnecting": (b.active(status={"phase": "Reconnecting"}), b.both_in(people=ALICE)),
    "Terminating": (b.active(termination=END, status={"room": WAS}), b.both_in()),
    "Ended": (b.active(termination=END, status=ENDED), b.all_gone(ledger=None)),
    "Failed": (b.a_match(status=FAILED), b.all_gone(ledger=None)),
}


def as_it_is(match: Match, seen: MatchSeen) -> tuple[Match, MatchSeen]:
    return match, seen


def livekit_away(match: Match, seen: MatchSeen) -> tuple[Match, MatchSeen]:
    """What LiveKit has said last stays known."""
    return match, replace(seen, server=replace(seen.server, trouble="LiveKit: no answer"))


def redis_away(match: Match, seen: MatchSeen) -> tuple[Match, MatchSeen]:
    """The ledger of a Match that is over is not read."""
    return match, seen if match.status.is_over else replace(seen, ledger=b.unknown(why="Redis: no answer"))


def kubernetes_away(match: Match, seen: MatchSeen) -> tuple[Match, MatchSeen]:
    """The Room is read again where its absence matters, and cannot be."""
    lost = b.unknown(why="Kubernetes: no answer")
    return match, replace(seen, room=lost, livekit_room=lost, livekit_name="")


def refused_again(match: Match, seen: MatchSeen) -> tuple[Match, MatchSeen]:
    return match.model_copy(update={"status": status_of(match, seen, error=REFUSED)}), seen


STATES: dict[str, tuple[Callable[[Match, MatchSeen], tuple[Match, MatchSeen]], LastError | None]] = {
    "all answer": (as_it_is, None),
    "LiveKit away": (livekit_away, None),
    "Redis away": (redis_away, None),
    "Kubernetes away": (kubernetes_away, None),
    "Redis refuses, once": (as_it_is, REFUSED),
    "Redis refuses, again": (refused_again, REFUSED),
}


def look(phase: str, state: str) -> MatchStatus:
    """The status of a Match in this phase under this state of the backends."""
    change, error = STATES[state]
    match, seen = change(*MATCHES[phase])
    return status_of(match, seen, error=error)


def told(status: MatchStatus) -> list[str]:
    """The conditions in short: sign, type, reason."""
    return [f"{SIGNS[one.status]}{one.type}:{one.reason}" for one in status.conditions]


EXPECTED: dict[tuple[str, str], tuple[str | None, str]] = {
    ("Pending", "all answer"): (None,
     "-Accepted:NotClaimed -RoomReady:NoRoom -TokensIssued:NotIssued -Ready:NotClaimed "
     "-Connected:WaitingForPeople -Degraded:AllBackendsAnswer -Finished:InProgress "
     "+Reconciling:NotClaimed"),
    ("Pending", "LiveKit away"): ("BackendUnreachable",
     "-Accepted:NotClaimed -RoomReady:NoRoom -TokensIssued:NotIssued -Ready:NotClaimed "
     "-Connected:WaitingForPeople +Degraded:BackendUnreachable -Finished:InProgress "
     "+Reconciling:NotClaimed"),
    ("Pending", "Redis away"): ("BackendUnreachable",
     "?Accepted:NotKnown -RoomReady:NoRoom -TokensIssued:NotIssued ?Ready:NotKnown "
     "-Connected:WaitingForPeople +Degraded:BackendUnreachable -Finished:InProgress "
     "+Reconciling:NotKnown"),
    ("Pending", "Kubernetes away"): ("BackendUnreachable",
     "-Accepted:NotClaimed ?RoomReady:NotKnown -TokensIssued:NotIssued -Ready:NotClaimed "
     "-Connected:WaitingForPeople +Degraded:BackendUnreachable -Finished:InProgress "
     "+Reconciling:NotClaimed"),
    ("Pending", "Redis refuses, once"): (None,
     "-Accepted:NotClaimed -RoomReady:NoRoom -TokensIssued:NotIssued -Ready:NotClaimed "
     "-Connected:WaitingForPeople -Degraded:Retrying -Finished:InProgress +Reconciling:NotClaimed"),
    ("Pending", "Redis refuses, again"): ("BackendRefuses",
     "-Accepted:NotClaimed -RoomReady:NoRoom -TokensIssued:NotIssued -Ready:NotClaimed "
     "-Connected:WaitingForPeople +Degraded:BackendRefuses -Finished:InProgress +Reconciling:NotClaimed"),
    ("Creating", "all answer"): (None,
     "+Accepted:UsersClaimed -RoomReady:RoomMissing -TokensIssued:NotIssued -Ready:Provisioning "
     "-Connected:WaitingForPeople -Degraded:AllBackendsAnswer -Finished:InProgress "
     "+Reconciling:Provisioning"),
    ("Creating", "LiveKit away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown -TokensIssued:NotIssued ?Ready:NotKnown "
     "?Connected:NotKnown +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Creating", "Redis away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed -RoomReady:RoomMissing -TokensIssued:NotIssued ?Ready:NotKnown "
     "-Connected:WaitingForPeople +Degraded:BackendUnreachable -Finished:InProgress "
     "+Reconciling:NotKnown"),
    ("Creating", "Kubernetes away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown -TokensIssued:NotIssued ?Ready:NotKnown "
     "-Connected:WaitingForPeople +Degraded:BackendUnreachable -Finished:InProgress "
     "+Reconciling:NotKnown"),
    ("Creating", "Redis refuses, once"): (None,
     "+Accepted:UsersClaimed -RoomReady:RoomMissing -TokensIssued:NotIssued -Ready:Provisioning "
     "-Connected:WaitingForPeople -Degraded:Retrying -Finished:InProgress +Reconciling:Provisioning"),
    ("Creating", "Redis refuses, again"): ("BackendRefuses",
     "+Accepted:UsersClaimed -RoomReady:RoomMissing -TokensIssued:NotIssued -Ready:Provisioning "
     "-Connected:WaitingForPeople +Degraded:BackendRefuses -Finished:InProgress "
     "+Reconciling:Provisioning"),
    ("Connecting", "all answer"): (None,
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "-Connected:WaitingForPeople -Degraded:AllBackendsAnswer -Finished:InProgress"),
    ("Connecting", "LiveKit away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "?Connected:NotKnown +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Connecting", "Redis away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "-Connected:WaitingForPeople +Degraded:BackendUnreachable -Finished:InProgress "
     "+Reconciling:NotKnown"),
    ("Connecting", "Kubernetes away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "-Connected:WaitingForPeople +Degraded:BackendUnreachable -Finished:InProgress "
     "+Reconciling:NotKnown"),
    ("Connecting", "Redis refuses, once"): (None,
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "-Connected:WaitingForPeople -Degraded:Retrying -Finished:InProgress"),
    ("Connecting", "Redis refuses, again"): ("BackendRefuses",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "-Connected:WaitingForPeople +Degraded:BackendRefuses -Finished:InProgress"),
    ("Active", "all answer"): (None,
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "+Connected:BothConnected -Degraded:AllBackendsAnswer -Finished:InProgress"),
    ("Active", "LiveKit away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "?Connected:NotKnown +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Active", "Redis away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "+Connected:BothConnected +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Active", "Kubernetes away"): ("BackendUnreachable",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "+Connected:BothConnected +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Active", "Redis refuses, once"): (None,
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "+Connected:BothConnected -Degraded:Retrying -Finished:InProgress"),
    ("Active", "Redis refuses, again"): ("BackendRefuses",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "+Connected:BothConnected +Degraded:BackendRefuses -Finished:InProgress"),
    ("Reconnecting", "all answer"): ("ConnectionLost",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "-Connected:ConnectionLost -Degraded:AllBackendsAnswer -Finished:InProgress"),
    ("Reconnecting", "LiveKit away"): ("ConnectionLost",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "?Connected:NotKnown +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Reconnecting", "Redis away"): ("ConnectionLost",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "-Connected:ConnectionLost +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Reconnecting", "Kubernetes away"): ("ConnectionLost",
     "+Accepted:UsersClaimed ?RoomReady:NotKnown +TokensIssued:TokensDelivered ?Ready:NotKnown "
     "-Connected:ConnectionLost +Degraded:BackendUnreachable -Finished:InProgress +Reconciling:NotKnown"),
    ("Reconnecting", "Redis refuses, once"): ("ConnectionLost",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "-Connected:ConnectionLost -Degraded:Retrying -Finished:InProgress"),
    ("Reconnecting", "Redis refuses, again"): ("ConnectionLost",
     "+Accepted:UsersClaimed +RoomReady:RoomCreated +TokensIssued:TokensDelivered +Ready:Provisioned "
     "-Connected:ConnectionLost +Degraded:BackendRefuses -Finished:InProgress"),
    ("Terminating", "all answer"): ("Ended",
     "+Accepted:UsersClaimed -RoomReady:Ended -TokensIssued:Ended -Ready:Ended -Connected:Ended "
     "-Degraded:AllBackendsAnswer -Finished:InProgress +Reconciling:Ended"),
    ("Terminating", "LiveKit away"): ("Ended",
     "+Accepted:UsersClaimed -RoomReady:Ended -TokensIssued:Ended -Ready:Ended -Connected:Ended "
     "+Degraded:BackendUnreachable -Finished:InProgress +Reconciling:Ended"),
    ("Terminating", "Redis away"): ("Ended",
     "?Accepted:NotKnown -RoomReady:Ended -TokensIssued:Ended -Ready:Ended -Connected:Ended "
     "+Degraded:BackendUnreachable -Finished:InProgress +Reconciling:Ended"),
    ("Terminating", "Kubernetes away"): ("Ended",
     "+Accepted:UsersClaimed -RoomReady:Ended -TokensIssued:Ended -Ready:Ended -Connected:Ended "
     "+Degraded:BackendUnreachable -Finished:InProgress +Reconciling:Ended"),
    ("Terminating", "Redis refuses, once"): ("Ended",
     "+Accepted:UsersClaimed -RoomReady:Ended -TokensIssued:Ended -Ready:Ended -Connected:Ended "
     "-Degraded:Retrying -Finished:InProgress +Reconciling:Ended"),
    ("Terminating", "Redis refuses, again"): ("Ended",
     "+Accepted:UsersClaimed -RoomReady:Ended -TokensIssued:Ended -Ready:Ended -Connected:Ended "
     "+Degraded:BackendRefuses -Finished:InProgress +Reconciling:Ended"),
    ("Ended", "all answer"): ("Ended",
     "+Accepted:UsersReleased -RoomReady:Ended -TokensIssued:Ended -Connected:Ended "
     "-Degraded:NoBackendNeeded +Finished:Ended"),
    ("Ended", "LiveKit away"): ("Ended",
     "+Accepted:UsersReleased -RoomReady:Ended -TokensIssued:Ended -Connected:Ended "
     "-Degraded:NoBackendNeeded +Finished:Ended"),
    ("Ended", "Redis away"): ("Ended",
     "+Accepted:UsersReleased -RoomReady:Ended -TokensIssued:Ended -Connected:Ended "
     "-Degraded:NoBackendNeeded +Finished:Ended"),
    ("Ended", "Kubernetes away"): ("Ended",
     "+Accepted:UsersReleased -RoomReady:Ended -TokensIssued:Ended -Connected:Ended "
     "-Degraded:NoBackendNeeded +Finished:Ended"),
    ("Ended", "Redis refuses, once"): ("Ended",
     "+Accepted:UsersReleased -RoomReady:Ended -TokensIssued:Ended -Connected:Ended -Degraded:Retrying "
     "+Finished:Ended"),
    ("Ended", "Redis refuses, again"): ("Ended",
     "+Accepted:UsersReleased -RoomReady:Ended -TokensIssued:Ended -Connected:Ended "
     "+Degraded:BackendRefuses +Finished:Ended"),
    ("Failed", "all answer"): ("TooLate",
     "-Accepted:NotClaimed -RoomReady:TooLate -TokensIssued:TooLate -Ready:TooLate -Connected:TooLate "
     "-Degraded:NoBackendNeeded +Finished:Failed +Stalled:TooLate"),
    ("Failed", "LiveKit away"): ("TooLate",
     "-Accepted:NotClaimed -RoomReady:TooLate -TokensIssued:TooLate -Ready:TooLate -Connected:TooLate "
     "-Degraded:NoBackendNeeded +Finished:Failed +Stalled:TooLate"),
    ("Failed", "Redis away"): ("TooLate",
     "-Accepted:NotClaimed -RoomReady:TooLate -TokensIssued:TooLate -Ready:TooLate -Connected:TooLate "
     "-Degraded:NoBackendNeeded +Finished:Failed +Stalled:TooLate"),
    ("Failed", "Kubernetes away"): ("TooLate",
     "-Accepted:NotClaimed -RoomReady:TooLate -TokensIssued:TooLate -Ready:TooLate -Connected:TooLate "
     "-Degraded:NoBackendNeeded +Finished:Failed +Stalled:TooLate"),
    ("Failed", "Redis refuses, once"): ("TooLate",
     "-Accepted:NotClaimed -RoomReady:TooLate -TokensIssued:TooLate -Ready:TooLate -Connected:TooLate "
     "-Degraded:Retrying +Finished:Failed +Stalled:TooLate"),
    ("Failed", "Redis refuses, again"): ("TooLate",
     "-Accepted:NotClaimed -RoomReady:TooLate -TokensIssued:TooLate -Ready:TooLate -Connected:TooLate "
     "+Degraded:BackendRefuses +Finished:Failed +Stalled:TooLate"),
}  # fmt: skip


@pytest.mark.parametrize(("phase", "state"), EXPECTED)
def test_every_condition_is_true_in_every_phase_and_every_state_of_the_backends(phase: str, state: str) -> None:
    reason, conditions = EXPECTED[phase, state]
    status = look(phase, state)
    assert (status.phase, status.reason) == (phase, reason)
    assert told(status) == conditions.split()


def test_the_table_has_every_phase_under_every_state() -> None:
    assert set(EXPECTED) == {(phase, state) for phase in MATCHES for state in STATES}
    assert {phase.value for phase in MATCH_PHASES} == set(MATCHES)


def paused(phase: str) -> tuple[MatchCase, MatchStatus]:
    """A Match that was looked at in this phase, and is paused since."""
    match, seen = MATCHES[phase]
    annotations = {PAUSED: "true"}
    metadata = match.metadata.model_copy(update={"annotations": annotations})
    before = match.model_copy(update={"status": status_of(match, seen), "metadata": metadata})
    case = MatchCase(before, seen, b.at(9))
    return case, paused_match(case)


@pytest.mark.parametrize("phase", ["Pending", "Creating", "Connecting", "Active", "Reconnecting", "Terminating"])
def test_of_a_paused_match_only_what_nothing_else_can_change_is_known(phase: str) -> None:
    accepted = "-Accepted:NotClaimed" if phase == "Pending" else "+Accepted:UsersClaimed"
    unseen = [f"?{one}:Paused" for one in ("RoomReady", "TokensIssued", "Ready", "Connected", "Degraded")]
    case, status = paused(phase)
    assert (status.phase, status.reason) == (phase, "Paused")
    assert told(status) == [accepted, *unseen, "-Finished:InProgress", "+Paused:Paused"]
    assert "a deletion would wait too" in status.conditions[-1].message
    again = MatchCase(case.match.model_copy(update={"status": status}), case.seen, b.at(99))
    assert paused_match(again) == status
    sentences = {one.type: one.message for one in status.conditions}
    assert "Unknown" not in sentences["Ready"].partition("before: ")[2]


@pytest.mark.parametrize("phase", ["Ended", "Failed"])
def test_a_paused_match_that_is_over_still_says_how_it_ended(phase: str) -> None:
    case, status = paused(phase)
    before = case.match.status
    assert (status.reason, status.conditions[:-1]) == (before.reason, before.conditions)
    assert told(status)[-1] == "+Paused:Paused"


def test_a_match_that_is_no_longer_paused_says_what_is() -> None:
    case, status = paused("Active")
    resumed = b.active(status={"conditions": status.conditions, "reason": "Paused"})
    assert told(status_of(resumed, case.seen)) == told(look("Active", "all answer"))
    assert status_of(resumed, case.seen).reason is None


@pytest.mark.parametrize(
    ("room", "owner_is_paused", "why"),
    [
        (b.an_active_room(paused=True), False, "the annotation roomkeeper.dev/paused is set"),
        (b.an_active_room(), True, "its Match match-7f3a has the annotation roomkeeper.dev/paused"),
    ],
)
def test_a_room_is_paused_by_its_own_annotation_or_with_its_match(room: Room, owner_is_paused: bool, why: str) -> None:
    seen = b.room_seen(livekit_room=b.a_livekit_room())
    before = room.model_copy(update={"status": room_status(RoomCase(b.an_active_room(), seen, b.at(2)), None)})
    assert seen.owner is not None
    seen = replace(seen, owner=replace(seen.owner, is_paused=owner_is_paused))
    status = paused_room(RoomCase(before, seen, b.at(9)))
    signs = [f"{SIGNS[one.status]}{one.type}:{one.reason}" for one in status.conditions]
    assert signs == [
        *("?Ready:Paused", "?Healthy:Paused", "?Degraded:Paused"),
        *("-Finished:InProgress", "+Paused:Paused"),
    ]
    assert status.conditions[-1].message.startswith(why)
    assert status.reason is None, "a reason would close it"
