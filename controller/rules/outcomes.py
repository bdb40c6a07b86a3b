"""Where each user goes when a Match ends: the policy of the ending, the user's part in it, and the rules of place.

Requeued means WAITING, and only for whoever came from the queue (the script sees to that). Whoever was never connected
keeps the original place; who had a call, and whoever skipped, starts anew. A rollback puts everybody exactly where they
were. Pure.
"""

from __future__ import annotations

from controller.api.endings import EndReason, NoShowKind, RequeuePolicy
from controller.api.match import Match, ParticipantState
from controller.facts.match import MatchSeen
from controller.rules.end_cause import EndCause, UserOutcome
from controller.rules.presence import Presence, presences


def outcomes(match: Match, seen: MatchSeen, cause: EndCause) -> tuple[UserOutcome, ...]:
    """One outcome per participant, in the order of the spec; as it was recorded, if it was."""
    if [one.identity for one in cause.outcomes] == list(match.spec.identities):
        return cause.outcomes
    if cause.is_rollback:
        return tuple(UserOutcome(identity, "BACK", "ORIG") for identity in match.spec.identities)
    ever = {status.identity for status in match.status.participants if status.connected_at is not None}
    policy = match.spec.requeue.policy_for(cause.reason)
    return tuple(
        _outcome(person, policy, cause, had_call=person.is_in or person.identity in ever)
        for person in presences(match, seen)
    )


def _outcome(person: Presence, policy: RequeuePolicy, cause: EndCause, *, had_call: bool) -> UserOutcome:
    is_subject = person.identity in cause.subject
    kind = no_show_kind(person) if cause.reason is EndReason.NO_SHOW else None
    requeued = {
        RequeuePolicy.ALL: True,
        RequeuePolicy.OTHERS: not is_subject,
        # Whoever tried and got no media is not to blame.
        RequeuePolicy.PRESENT: person.is_in or kind is NoShowKind.MEDIA_FAILED,
        RequeuePolicy.NONE: False,
    }[policy]
    detail = kind.value if kind is not None else _detail(person, cause, is_subject=is_subject)
    if not requeued:
        return UserOutcome(person.identity, "IDLE", "NOW", detail)
    skipped = cause.reason is EndReason.SKIPPED and is_subject
    return UserOutcome(person.identity, "WAITING", "NOW" if had_call or skipped else "ORIG", detail)


def no_show_kind(person: Presence) -> NoShowKind | None:
    """What was seen of somebody who is not in the call by its deadline; None for who is, or who came and left."""
    if person.is_in:
        return None
    if person.state is ParticipantState.INVITED:
        return NoShowKind.NEVER_SEEN
    if person.detail in _MEDIA_FAILURES:
        return NoShowKind.MEDIA_FAILED
    return NoShowKind.SIGNAL_ONLY if person.state is ParticipantState.JOINING else None


def _detail(person: Presence, cause: EndCause, *, is_subject: bool) -> str:
    """What was seen of this person: the reason that LiveKit gave for their leaving."""
    if not is_subject:
        return ""
    return cause.code if cause.code == "HeartbeatsStopped" else person.detail or ""


_MEDIA_FAILURES = frozenset({"JOIN_FAILURE", "MEDIA_FAILURE"})
