"""The conditions of a Room: for each aspect whether it holds, the reason in a word, a sentence for people. Pure.

`api.conditions` is the table of types and reasons; `status.room` puts the verdicts into the status.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.api.conditions import ConditionReason, ConditionType
from controller.api.failures import LastError
from controller.api.phases import RoomPhase
from controller.api.room import MAX_RESTORES, Room, RoomEndReason, RoomIssue
from controller.facts.observation import Unknown
from controller.rules.placement import server_of
from controller.rules.restores import IN_TIME, WINDOW, was_lost_too_often
from controller.rules.room_case import RoomCase
from controller.status.conditions import Verdict, false, of_last_step, progress, true


def room_conditions(
    case: RoomCase, phase: RoomPhase, issues: Mapping[RoomIssue, str], error: LastError | None = None
) -> Iterator[Verdict]:
    """One verdict per type, in the order of the table.

    `issues` are those of `status.room_health`; `error` is what kept the last step from working.
    """
    reason, server = case.end_reason, case.seen.server
    ready = _ready(case, phase, issues, error)
    if phase is not RoomPhase.TERMINATED:
        yield ready
    if issues:
        yield false(ConditionType.HEALTHY, next(iter(issues)), "; ".join(issues.values()))
    else:
        yield true(ConditionType.HEALTHY, ConditionReason.AS_EXPECTED, "the room is as it should be")
    if not server.name:
        fine = false(ConditionType.DEGRADED, ConditionReason.ALL_BACKENDS_ANSWER, "no LiveKit server is chosen yet")
        yield of_last_step(error, case.room.status.last_error) or fine
    elif server.trouble:
        told = f"{server.trouble}; nothing is decided until it answers"
        yield true(ConditionType.DEGRADED, ConditionReason.BACKEND_UNREACHABLE, told)
    else:
        fine = false(ConditionType.DEGRADED, ConditionReason.ALL_BACKENDS_ANSWER, f"{server.name} answers")
        yield of_last_step(error, case.room.status.last_error) or fine
    if reason is not None and phase in {RoomPhase.TERMINATED, RoomPhase.FAILED}:
        yield true(ConditionType.FINISHED, reason, _ending_sentence(case.room, reason))
    else:
        yield false(ConditionType.FINISHED, ConditionReason.IN_PROGRESS, "the room is not over")
    yield from progress(ready, stalled=phase is RoomPhase.FAILED, over=phase is RoomPhase.TERMINATED)


def _ready(case: RoomCase, phase: RoomPhase, issues: Mapping[RoomIssue, str], error: LastError | None) -> Verdict:
    name, server, reason = case.seen.livekit_name, case.seen.server, case.end_reason
    if reason is not None:
        return false(ConditionType.READY, reason, _ending_sentence(case.room, reason))
    if phase is RoomPhase.ACTIVE:
        return true(ConditionType.READY, ConditionReason.PROVISIONED, f"room {name} is on {server.name}")
    if phase is RoomPhase.FAILED:
        return false(ConditionType.READY, *next(iter(issues.items())))
    if case.room.status.created_at is not None:
        unknown = case.seen.livekit_room.why if isinstance(case.seen.livekit_room, Unknown) else ""
        told = server.trouble or unknown or f"{server.name} has lost room {name}; it is being restored"
        return false(ConditionType.READY, ConditionReason.ROOM_MISSING, told)
    if not server_of(case.room):
        told = error.message if error is not None else "a LiveKit server is being chosen for the room"
        return false(ConditionType.READY, ConditionReason.PROVISIONING, told)
    told = server.trouble or f"room {name} is being made on {server.name}"
    return false(ConditionType.READY, ConditionReason.PROVISIONING, told)


def _ending_sentence(room: Room, reason: RoomEndReason) -> str:
    return {
        RoomEndReason.EMPTY: "the room was empty, so LiveKit closed it at its timeout; make another Room to meet again",
        RoomEndReason.EXPIRED: f"it reached maxAgeSeconds ({room.spec.max_age_seconds} s)",
        RoomEndReason.TERMINATED: f"it was closed: {room.spec.termination_reason}".removesuffix(": "),
        RoomEndReason.DELETED: "the Room was deleted",
        RoomEndReason.LOST: _lost_sentence(room),
    }.get(reason, f"it is over ({reason})")


def _lost_sentence(room: Room) -> str:
    if was_lost_too_often(room):
        minutes = int(WINDOW.total_seconds() / 60)
        return (
            f"LiveKit lost it again after it was restored {MAX_RESTORES} times within {minutes} minutes; "
            "check LiveKit, then make another Room"
        )
    seconds = int(IN_TIME.total_seconds())
    return f"LiveKit lost it and could not make it again within {seconds} s; no client is waiting for it any longer"
