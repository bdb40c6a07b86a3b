"""The status of a LiveKit server: conditions and addresses whenever they change, numbers every half minute. Pure.

Neighbors: `rules.server_case` says when numbers are due, `loop.reconcile` writes the status.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.api.conditions import ConditionReason, ConditionType
from controller.api.failures import LastError
from controller.api.livekitserver import DrainType, LiveKitServerStatus
from controller.api.meta import format_seconds
from controller.api.names import PAUSED
from controller.facts.drain import DrainFacts
from controller.rules.drain import ends_calls
from controller.rules.server_case import ServerCase
from controller.status.conditions import Verdict, false, merge, true
from controller.status.times import whole_milliseconds


def server_status(case: ServerCase, error: LastError | None) -> LiveKitServerStatus:
    """The status that follows from the case; `error` is what kept the last step from working."""
    server, seen, before = case.server, case.seen, case.server.status
    now = whole_milliseconds(case.now)
    conditions = merge(before.conditions, _conditions(case), server.metadata.generation, now)
    failure = _latest(error, before.last_error)
    if conditions == before.conditions and not case.numbers_are_due and not case.moves:
        return before.model_copy(update={"observed_generation": server.metadata.generation, "last_error": failure})
    return LiveKitServerStatus(
        observed_generation=server.metadata.generation,
        conditions=conditions,
        url=seen.url or before.url,
        public_url=seen.public_url or before.public_url,
        latency_ms=seen.health.latency_ms,
        rooms=seen.rooms,
        participants=seen.participants,
        version=seen.health.version or None,
        calls_left=seen.calls_left if seen.drain is not None else None,
        oldest_call_at=whole_milliseconds(seen.oldest_call_at) if seen.oldest_call_at is not None else None,
        checked_at=now,
        last_error=failure,
    )


def _latest(error: LastError | None, before: LastError | None) -> LastError | None:
    """The current error, or else the latest one. An error that is repeated costs no write."""
    if error is None or before is None:
        return error or before
    return before if (error.type, error.message) == (before.type, before.message) else error


def _conditions(case: ServerCase) -> Iterator[Verdict]:
    trouble, notes = case.seen.trouble, "".join(f"; {note}" for note in _notes(case))
    if trouble is not None:
        remedy = (
            "; its CAs belong into its Secret, under ca.crt" if trouble.reason is ConditionReason.CERTIFICATE else ""
        )
        yield false(ConditionType.READY, trouble.reason, f"{trouble.sentence}{remedy}{notes}")
    elif case.seen.health.auto_create:
        told = (
            "the server answers, but room.auto_create is on in its configuration: a client with a token that is still "
            "valid can open a closed room again; set it to false"
        )
        yield true(ConditionType.READY, ConditionReason.AUTO_CREATE, f"{told}{notes}")
    else:
        told = f"the server answers and accepts the API key{notes}"
        yield true(ConditionType.READY, ConditionReason.ANSWERS, told)
    if (drain := case.seen.drain) is not None:
        yield _drained(case, drain)
    elif case.is_kept:
        reason = ConditionReason.CALLS_LEFT if case.seen.rooms else ConditionReason.NOT_KNOWN
        yield false(ConditionType.DRAINED, reason, _deletion(case))


def _notes(case: ServerCase) -> Iterator[str]:
    """What people should know about a server, whether it answers or not."""
    spec, seen = case.server.spec, case.seen
    if 0 < spec.max_rooms < seen.rooms:
        yield f"more rooms are on it than maxRooms ({spec.max_rooms}): they stay, and no new one is placed on it"
    if seen.same_url:
        others = " and ".join(seen.same_url)
        yield f"{others} has the same URL: each counts only the rooms that were placed on it by its own name"


def _deletion(case: ServerCase) -> str:
    """What the deletion of the object waits for."""
    seen = case.seen
    if not seen.rooms:
        return f"it is not known which rooms the deletion waits for: {seen.unknown}"
    number = f"{seen.rooms} room{'s' if seen.rooms > 1 else ''}"
    named = f" ({', '.join(seen.some_rooms)}{', …' if seen.rooms > len(seen.some_rooms) else ''})"
    told = f"the deletion waits for {number} on it{named}"
    if seen.unknown:
        told += f", and perhaps for others: {seen.unknown}"
    return told if seen.drain is not None else f"{told}; rooms go on until their participants end them, or spec.drain"


def _drained(case: ServerCase, drain: DrainFacts) -> Verdict:
    """Whether calls are left. How many, is in `callsLeft`: a condition that counts would be written for each call."""
    if case.is_drained:
        return true(ConditionType.DRAINED, ConditionReason.NO_CALLS_LEFT, "no call and no participant is left: stop it")
    reason, is_empty = ConditionReason.CALLS_LEFT, not case.seen.calls_left and not case.seen.rooms
    if is_empty and case.seen.unknown:
        reason, told = ConditionReason.NOT_KNOWN, f"it is not known whether calls are left: {case.seen.unknown}"
    elif not case.seen.calls_left and case.seen.rooms > case.seen.standing:
        told = "no call is left, and rooms of calls are being made or closed"
    elif drain.type is DrainType.GRACEFUL:
        told = "calls are left, and go on until their participants end them"
    elif ends_calls(drain, case.now):
        past = "; the deadline has passed" if drain.type is DrainType.MAINTENANCE else ""
        told = f"calls are left, and are being ended{past}"
    else:
        told = f"calls are left, and will be ended at {format_seconds(drain.deadline)}" if drain.deadline else ""
    if case.is_kept and not is_empty:
        told += f"; {_deletion(case)}"
    if case.seen.paused:
        told += f"; some of them are paused, and stay until the annotation {PAUSED} is removed"
    return false(ConditionType.DRAINED, reason, told)
