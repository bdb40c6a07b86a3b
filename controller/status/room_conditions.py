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
from controller.status.conditions import Verdict, false, not_known, of_last_step, progress, true


def room_conditions(
    case: RoomCase, phase: RoomPhase, issues: Mapping[RoomIssue, str], error: LastError | None = None
) -> Iterator[Verdict]:
    """One verdict per type, in the order of the table.

    `issues` are those of `status.room_health`; `error` is what kept the last step from working.
    """
    reason = case.end_reason
    ready = _ready(case, phase, issues, error)
    if phase is not RoomPhase.TERMINATED:
        yield ready
    yield _healthy(case, issues, is_over=reason is not None)
    yield _degraded(case, phase, error)
    if reason is not None and phase in {RoomPhase.TERMINATED, RoomPhase.FAILED}:
        yield true(ConditionType.FINISHED, reason, _ending_sentence(case.room, reason))
    else:
        yield false(ConditionType.FINISHED, ConditionReason.IN_PROGRESS, "the room is not over")
    yield from progress(ready, stalled=phase is RoomPhase.FAILED, over=phase is RoomPhase.TERMINATED)


def _healthy(case: RoomCase, issues: Mapping[RoomIssue, str], *, is_over: bool) -> Verdict:
    if issues:
        return false(ConditionType.HEALTHY, next(iter(issues)), "; ".join(issues.values()))
    if not is_over and (unseen := _unseen(case)):
        return not_known(ConditionType.HEALTHY, ConditionReason.NOT_KNOWN, unseen)
    told = "the room is closed for good, and not checked any longer" if is_over else "nothing is wrong with the room"
    return true(ConditionType.HEALTHY, ConditionReason.AS_EXPECTED, told)


def _degraded(case: RoomCase, phase: RoomPhase, error: LastError | None) -> Verdict:
    type_, server = ConditionType.DEGRADED, case.seen.server
    failing = of_last_step(error, case.room.status.last_error, case.room.status.conditions)
    if phase is RoomPhase.TERMINATED:
        told = "the room is closed, and needs no backend any longer"
        return failing or false(type_, ConditionReason.NO_BACKEND_NEEDED, told)
    if server.trouble:
        told = f"{server.trouble}; nothing is decided until it answers"
        return true(type_, ConditionReason.BACKEND_UNREACHABLE, told)
    if failing is None and (unseen := _unseen(case)):
        return not_known(type_, ConditionReason.NOT_KNOWN, unseen)
    told = f"{server.name} answers" if server.name else "no LiveKit server is chosen yet"
    return failing or false(type_, ConditionReason.ALL_BACKENDS_ANSWER, told)


def _unseen(case: RoomCase) -> str:
    """Why it is not known how the room is on LiveKit; empty if it is known."""
    livekit = case.seen.livekit_room
    return case.seen.server.trouble or (livekit.why if isinstance(livekit, Unknown) else "")


def _ready(case: RoomCase, phase: RoomPhase, issues: Mapping[RoomIssue, str], error: LastError | None) -> Verdict:
    name, server, reason = case.seen.livekit_name, case.seen.server, case.end_reason
    if reason is not None:
        return false(ConditionType.READY, reason, _ending_sentence(case.room, reason))
    if phase is RoomPhase.FAILED:
        return false(ConditionType.READY, *next(iter(issues.items())))
    if unseen := _unseen(case):
        return not_known(ConditionType.READY, ConditionReason.NOT_KNOWN, unseen)
    if phase is RoomPhase.ACTIVE:
        return true(ConditionType.READY, ConditionReason.PROVISIONED, f"LiveKit room {name} is on {server.name}")
    if case.room.status.created_at is not None:
        told = f"{server.name} has lost LiveKit room {name}; it is being restored"
        return false(ConditionType.READY, ConditionReason.ROOM_MISSING, told)
    if not server_of(case.room):
        told = error.message if error is not None else "a LiveKit server is being chosen for the room"
        return false(ConditionType.READY, ConditionReason.PROVISIONING, told)
    told = f"LiveKit room {name} is being made on {server.name}"
    if error is not None:
        told = f"LiveKit room {name} is not on {server.name} yet: {error.message}"
    return false(ConditionType.READY, ConditionReason.PROVISIONING, told)


def _ending_sentence(room: Room, reason: RoomEndReason) -> str:
    return {
        RoomEndReason.EMPTY: "the room was empty, so LiveKit closed it at its timeout; make another Room to meet again",
        RoomEndReason.EXPIRED: f"it reached maxAgeSeconds ({room.spec.max_age_seconds} s)",
        RoomEndReason.TERMINATED: f"terminationReason closes it: {room.spec.termination_reason}",
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
