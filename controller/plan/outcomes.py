"""Where each user goes when a Match ends: the policy of the ending, the user's part in it, and the rules of place.

Requeued means WAITING, and only for whoever came from the queue (the script sees to that). Whoever was never connected
keeps the original place; who had a call, and whoever skipped, starts anew. A rollback puts everybody exactly where they
were. Pure.
"""

from __future__ import annotations

from controller.api.endings import EndReason, RequeuePolicy
from controller.api.match import Match
from controller.facts.match import MatchSeen
from controller.plan.actions import UserOutcome
from controller.plan.causes import EndCause, connected_identities
from controller.plan.presence import presences


def outcomes(match: Match, seen: MatchSeen, cause: EndCause) -> tuple[UserOutcome, ...]:
    """One outcome per participant, in the order of the spec."""
    if cause.is_rollback:
        return tuple(UserOutcome(identity, "BACK", "ORIG") for identity in match.spec.identities)
    people = presences(match, seen)
    inside = connected_identities(people)
    ever = {status.identity for status in match.status.participants if status.connected_at is not None} | inside
    policy = match.spec.requeue.policy_for(cause.reason)
    return tuple(
        _outcome(identity, policy, cause, is_inside=identity in inside, had_call=identity in ever)
        for identity in match.spec.identities
    )


def _outcome(identity: str, policy: RequeuePolicy, cause: EndCause, *, is_inside: bool, had_call: bool) -> UserOutcome:
    requeued = {
        RequeuePolicy.ALL: True,
        RequeuePolicy.OTHERS: identity not in cause.subject,
        RequeuePolicy.PRESENT: is_inside,
        RequeuePolicy.NONE: False,
    }[policy]
    if not requeued:
        return UserOutcome(identity, "IDLE", "NOW", _detail(cause, is_inside=is_inside))
    skipped = cause.reason is EndReason.SKIPPED and identity in cause.subject
    return UserOutcome(identity, "WAITING", "NOW" if had_call or skipped else "ORIG")


def _detail(cause: EndCause, *, is_inside: bool) -> str:
    return "NeverSeen" if cause.reason is EndReason.NO_SHOW and not is_inside else ""
