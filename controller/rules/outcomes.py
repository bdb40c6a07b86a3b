"""Where each user goes when a Match ends: policy, the user's part in the ending, rules of place. Pure.

A requeued user is WAITING, but only one who came from the queue (the script `settle` sees to that). A user who was
never connected keeps the original place; one who was in the call, or who skipped, goes to the end of the queue. A
rollback puts each user exactly where they were. `rules.match_case` asks once per look.
"""

from __future__ import annotations

from controller.api.endings import EndCode, EndReason, ReleaseDetail, RequeuePolicy
from controller.api.match import ParticipantState, QueuePlace
from controller.facts.ledger import Destination, Release
from controller.rules.end_cause import EndCause
from controller.rules.match_look import MatchLook
from controller.rules.presence import Presence

_MEDIA_FAILURES = frozenset({"JOIN_FAILURE", "MEDIA_FAILURE"})


def releases(look: MatchLook, cause: EndCause) -> tuple[Release, ...]:
    """One decision per participant, in the order of the spec; the stored ones, if they are stored with the cause."""
    match = look.match
    stored = {one.id: one for one in cause.releases}
    if stored.keys() == set(match.spec.identities):
        # A client may have changed the order of the participants since then.
        return tuple(stored[identity] for identity in match.spec.identities)
    if cause.is_rollback:
        return tuple(Release(identity, Destination.BACK) for identity in match.spec.identities)
    ever = {status.identity for status in match.status.participants if status.connected_at is not None}
    policy = match.spec.requeue.policy_for(cause.reason)
    return tuple(
        _release(person, policy, cause, had_call=person.is_in or person.identity in ever) for person in look.presences
    )


def _release(person: Presence, policy: RequeuePolicy, cause: EndCause, *, had_call: bool) -> Release:
    is_subject = person.identity in cause.subject
    kind = no_show_detail(person) if cause.reason is EndReason.NO_SHOW else None
    requeued = {
        RequeuePolicy.ALL: True,
        RequeuePolicy.OTHERS: not is_subject,
        # A user who tried to join and got no media is not to blame.
        RequeuePolicy.PRESENT: person.is_in or kind is ReleaseDetail.MEDIA_FAILED,
        RequeuePolicy.NONE: False,
    }[policy]
    detail = kind.value if kind is not None else _detail(person, cause, is_subject=is_subject)
    if not requeued:
        return Release(person.identity, Destination.IDLE, QueuePlace.NOW, detail)
    skipped = cause.reason is EndReason.SKIPPED and is_subject
    place = QueuePlace.NOW if had_call or skipped else QueuePlace.ORIGINAL
    return Release(person.identity, Destination.WAITING, place, detail)


def no_show_detail(person: Presence) -> ReleaseDetail | None:
    """What was seen of a user who is not in the call by its deadline; None for one who is, or who came and left."""
    if person.is_in:
        return None
    if person.state is ParticipantState.INVITED:
        return ReleaseDetail.NEVER_SEEN
    if person.detail in _MEDIA_FAILURES:
        return ReleaseDetail.MEDIA_FAILED
    return ReleaseDetail.SIGNAL_ONLY if person.state is ParticipantState.JOINING else None


def _detail(person: Presence, cause: EndCause, *, is_subject: bool) -> str:
    """What was seen of this user: the reason that LiveKit gave for the departure."""
    if not is_subject:
        return ""
    if cause.code is EndCode.HEARTBEATS_STOPPED:
        return ReleaseDetail.HEARTBEATS_STOPPED.value
    return person.detail or ""
