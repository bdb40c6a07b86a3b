"""Endings that time decides: too late, nobody came, gone too long, silent, alone too long, talked too long. Pure.

A deadline counts only for observations made after it, and facts outrank deadlines. `rules.endings` asks these after
whatever somebody wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from controller.api.endings import ENDINGS, EndReason
from controller.api.match import Match
from controller.facts.match import MatchSeen
from controller.facts.observation import Present, value_of
from controller.rules.deadlines import (
    connect_deadline,
    duration_deadline,
    ready_deadline,
    return_deadlines,
    said_goodbye,
    solo_deadline,
    went_with_the_room,
)
from controller.rules.end_cause import EndCause, failed, make_cause
from controller.rules.presence import Presence, presences
from controller.rules.readiness import is_ready


def too_late(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    """Not Ready in time: everything is rolled back."""
    if match.status.ready_at is not None or now < ready_deadline(match) or is_ready(match, seen, now):
        return None
    return failed(
        "TooLate",
        f"not Ready within {match.spec.timeouts.ready_seconds} s of its creation ({_obstacle(match, seen)}); "
        "everybody is where they were before",
    )


def no_show(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    """Not everybody came."""
    deadline = connect_deadline(match, seen.server)
    if deadline is None or now < deadline or not _looked_after(seen, deadline):
        return None
    missing = [person for person in presences(match, seen) if not person.is_in]
    if not missing:
        return None
    names = " and ".join(person.identity for person in missing)
    message = ENDINGS[EndReason.NO_SHOW].sentence(who=names, seconds=match.spec.timeouts.connect_seconds)
    return make_cause(match, EndReason.NO_SHOW, message, subject=frozenset(person.identity for person in missing))


def gone_too_long(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    """Somebody dropped out and was not back in time: on purpose (Left), or the network took them (NetworkLost)."""
    deadlines = return_deadlines(match, value_of(seen.ledger), seen.server)
    missing = {person.identity: person for person in presences(match, seen) if not person.is_in}
    late = sorted(
        (at, who) for who, at in deadlines.items() if who in missing and now >= at and _looked_after(seen, at)
    )
    if not late:
        return None
    timeouts, first = match.spec.timeouts, missing[late[0][1]]
    if went_with_the_room(first.detail):
        return _room_was_closed(match, missing)
    left = said_goodbye(first.detail)
    reason = EndReason.LEFT if left else EndReason.NETWORK_LOST
    seconds = timeouts.leave_seconds if left else timeouts.reconnect_seconds
    # A goodbye is one, also where it may be taken back for another moment: nobody waits who has just gone.
    gone = {who for _, who in late} | {who for who, person in missing.items() if said_goodbye(person.detail)}
    subject = frozenset(who for who in gone if not went_with_the_room(missing[who].detail))
    message = ENDINGS[reason].sentence(who=" and ".join(sorted(subject)), seconds=seconds)
    return make_cause(match, reason, message, subject=subject)


def _room_was_closed(match: Match, missing: Mapping[str, Presence]) -> EndCause:
    """Somebody closed the room on LiveKit in the middle of the call: none of those who were in it is to blame."""
    names = " and ".join(sorted(missing))
    detail = f"it was closed on LiveKit, and {names} did not come back within {match.spec.timeouts.reconnect_seconds} s"
    return make_cause(match, EndReason.ROOM_LOST, ENDINGS[EndReason.ROOM_LOST].sentence(detail=detail))


def silent(match: Match, seen: MatchSeen, _now: datetime) -> EndCause | None:
    """The client of somebody in the call beats no more, and LiveKit does not contradict.

    Where LiveKit says that media is up, the gateway is in trouble and not the call, unless heartbeats decide alone.
    """
    beats = seen.heartbeats
    if match.status.connected_at is None or not beats.silent:
        return None
    if not (beats.decide_alone or isinstance(seen.people, Present)):
        return None  # LiveKit has not been asked yet: it could contradict
    lost = {
        person.identity
        for person in presences(match, seen)
        if person.identity in beats.silent and (beats.decide_alone or not person.is_in)
    }
    if not lost or (seen.server.trouble and not beats.decide_alone):
        return None
    who = " and ".join(sorted(lost))
    message = ENDINGS[EndReason.NETWORK_LOST].sentence(
        who=who, seconds=beats.after_seconds, detail="the heartbeats of the client stopped"
    )
    return make_cause(match, EndReason.NETWORK_LOST, message, subject=frozenset(lost), code="HeartbeatsStopped")


def abandoned(match: Match, seen: MatchSeen, now: datetime) -> EndCause | None:
    """One was alone for too long in all."""
    ledger = value_of(seen.ledger)
    deadline = solo_deadline(match, ledger.solo, seen.server) if ledger is not None else None
    if deadline is None or now < deadline or not _looked_after(seen, deadline):
        return None
    missing = [person.identity for person in presences(match, seen) if not person.is_in]
    if len(missing) != 1:
        return None
    message = ENDINGS[EndReason.ABANDONED].sentence(who=missing[0], seconds=match.spec.timeouts.solo_seconds)
    return make_cause(match, EndReason.ABANDONED, message, subject=frozenset(missing))


def max_duration(match: Match, _seen: MatchSeen, now: datetime) -> EndCause | None:
    """The call has reached its longest duration."""
    deadline = duration_deadline(match)
    if deadline is None or now < deadline:
        return None
    message = ENDINGS[EndReason.MAX_DURATION].sentence(seconds=match.spec.timeouts.max_duration_seconds)
    return make_cause(match, EndReason.MAX_DURATION, message)


def _looked_after(seen: MatchSeen, deadline: datetime) -> bool:
    """Whether both witnesses were asked after the deadline: facts outrank deadlines."""
    listed = isinstance(seen.people, Present) and seen.people.at >= deadline
    return listed and isinstance(seen.ledger, Present) and seen.ledger.at >= deadline


def _obstacle(match: Match, seen: MatchSeen) -> str:
    if seen.refusal is not None:
        return f"{seen.refusal.identity} was still in match {seen.refusal.holder}"
    if seen.server.trouble:
        return seen.server.trouble
    if match.status.last_error is not None:
        return match.status.last_error.message
    if isinstance(seen.room, Present) and not isinstance(seen.livekit_room, Present):
        return "LiveKit has not made the room yet"
    waiting = next((c.message for c in match.status.conditions if c.type == "Accepted" and c.reason == "UserBusy"), "")
    return waiting or "the operator did not get to it in time"
