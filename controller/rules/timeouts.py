"""Endings that time decides: too late, no show, gone too long, silent, alone too long, call too long. Pure.

A deadline counts only for observations made after it: facts outrank deadlines. `rules.endings` asks these functions
last, after every wish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.api.conditions import ConditionType
from controller.api.endings import ENDINGS, EndCode, EndReason
from controller.facts.observation import Present
from controller.rules.deadlines import said_goodbye, went_with_the_room
from controller.rules.end_cause import EndCause, failed, make_cause
from controller.rules.match_look import MatchLook
from controller.rules.presence import Presence
from controller.rules.readiness import is_ready


def too_late(look: MatchLook) -> EndCause | None:
    """The Match is not Ready in time: everything is rolled back."""
    match = look.match
    # People who have met were in a room that was Ready, also where the status has lost that.
    if match.status.ready_at is not None or look.has_met or look.now < look.ready_deadline or is_ready(look):
        return None
    return failed(
        EndCode.TOO_LATE,
        f"not Ready within {match.spec.timeouts.ready_seconds} s of its creation ({_obstacle(look)}); "
        "both users are where they were before",
    )


def no_show(look: MatchLook) -> EndCause | None:
    """A participant did not come in time."""
    deadline = look.connect_deadline
    if deadline is None or look.now < deadline or not look.was_asked_after(deadline) or not look.missing:
        return None
    missing = frozenset(person.identity for person in look.missing)
    seconds = look.match.spec.timeouts.connect_seconds
    message = ENDINGS[EndReason.NO_SHOW].sentence(
        who=_names(person.identity for person in look.missing), seconds=seconds
    )
    return make_cause(look.match, EndReason.NO_SHOW, message, subject=missing)


def gone_too_long(look: MatchLook) -> EndCause | None:
    """A participant dropped out and did not come back in time: on purpose (Left), or by the network (NetworkLost)."""
    missing = {person.identity: person for person in look.missing}
    late = sorted(
        (at, who)
        for who, at in look.return_deadlines.items()
        if who in missing and look.now >= at and look.was_asked_after(at)
    )
    if not late:
        return None
    timeouts, first = look.match.spec.timeouts, missing[late[0][1]]
    if went_with_the_room(first.detail):
        return _room_was_closed(look, missing)
    left = said_goodbye(first.detail)
    reason = EndReason.LEFT if left else EndReason.NETWORK_LOST
    seconds = timeouts.leave_seconds if left else timeouts.reconnect_seconds
    # A goodbye also counts while its own window is still open: the user who said it is not waiting for the other one.
    gone = {who for _, who in late} | {who for who, person in missing.items() if said_goodbye(person.detail)}
    subject = frozenset(who for who in gone if not went_with_the_room(missing[who].detail))
    message = ENDINGS[reason].sentence(who=_names(sorted(subject)), seconds=seconds)
    return make_cause(look.match, reason, message, subject=subject)


def _room_was_closed(look: MatchLook, missing: Mapping[str, Presence]) -> EndCause:
    """The room was closed on LiveKit in the middle of the call: no participant is to blame."""
    names, seconds = _names(sorted(missing)), look.match.spec.timeouts.reconnect_seconds
    detail = f"it was closed on LiveKit, and {names} did not come back within {seconds} s"
    return make_cause(look.match, EndReason.ROOM_LOST, ENDINGS[EndReason.ROOM_LOST].sentence(detail=detail))


def silent(look: MatchLook) -> EndCause | None:
    """The client of a participant no longer sends heartbeats, and LiveKit does not contradict.

    Where LiveKit says that media is up, the gateway is in trouble and not the call, unless heartbeats decide alone.
    """
    beats = look.seen.heartbeats
    if look.match.status.connected_at is None or not beats.silent:
        return None
    if not (beats.decide_alone or isinstance(look.seen.people, Present)):
        return None  # LiveKit has not been asked yet: it could contradict
    lost = {
        person.identity
        for person in look.presences
        if person.identity in beats.silent and (beats.decide_alone or not person.is_in)
    }
    if not lost or (look.seen.server.trouble and not beats.decide_alone):
        return None
    message = ENDINGS[EndReason.NETWORK_LOST].sentence(
        who=_names(sorted(lost)), seconds=beats.after_seconds, detail="the heartbeats of the client stopped"
    )
    code = EndCode.HEARTBEATS_STOPPED
    return make_cause(look.match, EndReason.NETWORK_LOST, message, subject=frozenset(lost), code=code)


def abandoned(look: MatchLook) -> EndCause | None:
    """One participant was alone for too long in total."""
    deadline = look.alone_deadline
    if deadline is None or look.now < deadline or not look.was_asked_after(deadline):
        return None
    if len(look.missing) != 1:
        return None
    missing, seconds = look.missing[0].identity, look.match.spec.timeouts.solo_seconds
    message = ENDINGS[EndReason.ABANDONED].sentence(who=missing, seconds=seconds)
    return make_cause(look.match, EndReason.ABANDONED, message, subject=frozenset({missing}))


def max_duration(look: MatchLook) -> EndCause | None:
    """The call has reached its longest duration."""
    deadline = look.duration_deadline
    if deadline is None or look.now < deadline:
        return None
    message = ENDINGS[EndReason.MAX_DURATION].sentence(seconds=look.match.spec.timeouts.max_duration_seconds)
    return make_cause(look.match, EndReason.MAX_DURATION, message)


def _obstacle(look: MatchLook) -> str:
    """What has kept the Match from becoming Ready."""
    seen, status = look.seen, look.match.status
    if seen.refusal is not None:
        return f"{seen.refusal.identity} was still in match {seen.refusal.holder}"
    if seen.server.trouble:
        return seen.server.trouble
    if status.last_error is not None:
        return status.last_error.message
    if isinstance(seen.room, Present) and look.livekit_room is None:
        return "LiveKit has not made the room yet"
    accepted = next((c for c in status.conditions if c.type == ConditionType.ACCEPTED), None)
    waiting = accepted is not None and accepted.reason == EndCode.USER_BUSY
    return accepted.message if waiting and accepted is not None else "the operator did not get to it in time"


def _names(identities: Iterable[str]) -> str:
    return " and ".join(identities)
