"""Announces what a written status changed: metrics of the way from created to over, and Kubernetes Events.

Events are API writes, so there are few: Normal ones when a call is up and when it is over, Warnings for what went
wrong. A Match that becomes Ready costs none. Neighbors: `loop.reconcile` calls this, `announce.events` posts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import structlog

from controller.announce.error_records import ErrorRecords
from controller.announce.events import EventPoster, Subject
from controller.announce.match_end import log_end, trace_end
from controller.api.conditions import ConditionType
from controller.api.endings import ENDINGS, EndCode, EndReason, ReleaseDetail
from controller.api.event_reasons import EVENT_REASONS, WARNED_ENDINGS, EventReason, error_reason
from controller.api.failures import Recovery
from controller.api.match import EndStatus, Evidence, Match, MatchStatus, ParticipantState
from controller.api.meta import Condition, ConditionStatus
from controller.api.names import MATCH, ROOM, ResourceKind
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.room import Room, RoomEndReason, RoomIssue, RoomStatus
from controller.clock import Clock
from controller.plan.actions import AnyAction, ReleaseFinalizer, RemoveStranger
from controller.rules.failures import of_ending
from controller.telemetry import metrics
from controller.telemetry.trace_ids import trace_id

log = structlog.get_logger(__name__)

# A server that does not answer is the same news for all of its rooms.
_NO_EVENT = frozenset({RoomIssue.STALE})
_NO_SHOWS = frozenset({ReleaseDetail.NEVER_SEEN, ReleaseDetail.SIGNAL_ONLY, ReleaseDetail.MEDIA_FAILED})
_JOINED = "Connected"
_SEES_PEOPLE = (Evidence.WEBHOOK, Evidence.POLL)

# A counter that first appears with 1 has not increased for Prometheus: the first lost room would raise no alert.
for _word in (*EndReason, *EndCode):
    metrics.matches_finished.labels(_word)


class Announcer:
    """Announces every status that was written, and every action that no status shows. One pair of methods per kind."""

    def __init__(self, events: EventPoster, clock: Clock, errors: ErrorRecords) -> None:
        self._events = events
        self._clock = clock
        self._errors = errors

    def match_acted(self, match: Match, actions: tuple[AnyAction, ...]) -> None:
        """These actions of a Match succeeded. No status will say that a deleted Match, not over yet, is gone."""
        released = any(isinstance(action, ReleaseFinalizer) for action in actions)
        if released and match.status.ended_at is None:
            self._gone(match)
        self._released_without(MATCH, match, actions)

    def _gone(self, match: Match) -> None:
        """A Match was deleted before it was over. Only its Event and the log can still say how it ended."""
        status, now = match.status, self._clock.now()
        # In other phases the reason is no ending: what interrupted the call, or which backend was away.
        ends = status.phase is MatchPhase.TERMINATING and status.reason
        reason = status.reason if ends and status.reason else EndReason.DELETED.value
        told = status.history[-1].message if ends and status.history else None
        message = told or ENDINGS[EndReason.DELETED].sentence()
        metrics.matches_finished.labels(reason).inc()
        log_end(match, status, reason=reason, message=message, ended_at=now)
        trace_end(match, status, reason=reason, ended_at=now)
        names = " and ".join(match.spec.identities)
        length = f" after {_length(now - status.connected_at)}" if status.connected_at is not None else ""
        self._events.normal(
            Subject.of(MATCH, match), EventReason.DELETED, f"{message}; the call of {names} ended{length}"
        )

    def room_acted(self, room: Room, actions: tuple[AnyAction, ...]) -> None:
        """These actions of a Room succeeded. Strangers are gone by the time that its status is written.

        The sentence is always the same, so all removals are one Event with a count.
        """
        if any(isinstance(action, RemoveStranger) for action in actions):
            self._events.warning(
                Subject.of(ROOM, room),
                RoomIssue.UNEXPECTED_PARTICIPANT,
                "removed a participant who is not in allowedIdentities",
            )
        self._released_without(ROOM, room, actions)

    def _released_without(self, kind: ResourceKind, found: Match | Room, actions: tuple[AnyAction, ...]) -> None:
        """Tell of a finalizer that was removed although a backend was not asked: the object can no longer say it."""
        without = sorted(
            backend for action in actions if isinstance(action, ReleaseFinalizer) for backend in action.without
        )
        if not without:
            return
        for backend in without:
            metrics.released_without.labels(kind.kind, backend).inc()
        names = " and ".join(without)
        log.warning(
            f"a deletion no longer waits for {names}; what is left there is cleaned up when it answers again",
            kind=kind.kind,
            key=f"{found.metadata.namespace}/{found.metadata.name}",
        )
        message = f"{EVENT_REASONS[EventReason.CLEANUP_POSTPONED]} ({names})"
        self._events.warning(Subject.of(kind, found), EventReason.CLEANUP_POSTPONED, message)

    def deletion_paused(self, kind: ResourceKind, found: Match | Room) -> None:
        """The object is being deleted, and is frozen."""
        self._events.warning(Subject.of(kind, found), EventReason.PAUSED, EVENT_REASONS[EventReason.PAUSED])

    def match_written(self, match: Match, status: MatchStatus, first_seen: datetime) -> None:
        """A status of a Match was written. `match` has the status before; `first_seen` is its first reconcile."""
        before = match.status
        subject = Subject.of(MATCH, match)
        if status.phase is not before.phase and status.ended_at is None:
            log.info("match", phase=status.phase, was=before.phase, reason=status.reason)
        if status.ready_at is not None and before.ready_at is None:
            exemplar = _exemplar(match)
            metrics.ready_seconds.observe(max(0.0, (status.ready_at - first_seen).total_seconds()), exemplar)
            for person in status.participants:
                if person.queued_at is not None:
                    waited_seconds = (status.ready_at - person.queued_at).total_seconds()
                    metrics.waited_seconds.observe(max(0.0, waited_seconds), exemplar)
        if status.connected_at is not None and before.connected_at is None and status.ready_at is not None:
            connected_seconds = (status.connected_at - status.ready_at).total_seconds()
            metrics.connected_seconds.observe(connected_seconds, _exemplar(match))
            metrics.joins.labels(_server(status), _JOINED).inc(len(status.participants))
            self._events.normal(subject, EventReason.CONNECTED, EVENT_REASONS[EventReason.CONNECTED])
        self._tell_of_pause(subject, before.conditions, status.conditions)
        self._count_witnesses(before, status)
        if status.last_error is not None and status.last_error != before.last_error:
            self._events.warning(subject, error_reason(status.last_error.type), status.last_error.message)
        if status.ended_at is not None and before.ended_at is None:
            self._over(match, subject, status, status.ended_at)

    def _tell_of_pause(self, subject: Subject, before: Iterable[Condition], now: Iterable[Condition]) -> None:
        """The annotation freezes the object from now on."""
        if not _holds(ConditionType.PAUSED, before) and (pause := _holds(ConditionType.PAUSED, now)):
            self._events.normal(subject, EventReason.PAUSED, pause.message)

    def _count_witnesses(self, before: MatchStatus, status: MatchStatus) -> None:
        """Count how fast each witness was, and what polling saw first though LiveKit sends a webhook for it."""
        known = {person.identity: person.state for person in before.participants}
        now = self._clock.now()
        for person in status.participants:
            # The other witnesses say why the call ended, not when the participant came or went.
            if person.evidence not in _SEES_PEOPLE or known.get(person.identity) is person.state:
                continue
            metrics.detection_seconds.labels(person.evidence.value).observe(
                max(0.0, (now - person.since).total_seconds())
            )
            if person.evidence is Evidence.POLL and person.state is not ParticipantState.JOINING:
                metrics.webhooks_missed.inc()

    def _over(self, match: Match, subject: Subject, status: MatchStatus, ended_at: datetime) -> None:
        reason = status.reason or EndReason.ENDED.value
        metrics.matches_finished.labels(reason).inc()
        if status.connected_at is not None:
            metrics.call_seconds.observe(max(0.0, (ended_at - status.connected_at).total_seconds()), _exemplar(match))
        if status.end is not None and status.end.reason is EndReason.NO_SHOW:
            _count_no_shows(status.end, _server(status))
        message = status.end.message if status.end is not None and status.end.message else "the match is over"
        log_end(match, status, reason=reason, message=message, ended_at=ended_at)
        trace_end(match, status, reason=reason, ended_at=ended_at)
        self._record(subject, status, message)
        if status.end is not None and status.end.reason in WARNED_ENDINGS:
            self._events.warning(subject, reason, message)
        else:
            self._events.normal(subject, reason, message)

    def _record(self, subject: Subject, status: MatchStatus, message: str) -> None:
        """Record an ending that is an error. What follows from it is done by now: the users are where they belong."""
        failure = of_ending(status.reason) if status.reason else None
        if failure is None:
            return
        context = {
            "message": message,
            "match": subject.uid,
            "user": ", ".join(person.identity for person in status.participants),
            "session": status.session_id or "",
            "room": (status.room.livekit_name or "") if status.room is not None else "",
        }
        object_ = f"{subject.kind.singular}/{subject.name}"
        namespace = subject.namespace
        self._errors.failed(failure, namespace=namespace, object_=object_, context=context, begins=True)
        self._errors.recovered(failure, namespace)

    def room_written(self, room: Room, status: RoomStatus, _first_seen: datetime) -> None:
        """A status of a Room was written. `room` has the status before."""
        subject = Subject.of(ROOM, room)
        if status.phase is not room.status.phase:
            # The Match logs the story of its own Room; only standing rooms need their own.
            tell = log.debug if room.metadata.owner_references else log.info
            tell("room", phase=status.phase, was=room.status.phase, reason=status.reason)
        new_issues = [issue for issue in status.issues if issue not in room.status.issues and issue not in _NO_EVENT]
        self._tell_of_pause(subject, room.status.conditions, status.conditions)
        if new_issues:
            self._events.warning(subject, new_issues[0], _sentence(status, ConditionType.HEALTHY))
        if status.restores and status.restores != room.status.restores:
            self._events.warning(subject, EventReason.RESTORED, EVENT_REASONS[EventReason.RESTORED])
        error = status.last_error
        if error is not None and error != room.status.last_error and error.recovery is Recovery.ESCALATE:
            self._events.warning(subject, error_reason(error.type), error.message)
        if status.phase is RoomPhase.TERMINATED and room.status.phase is not status.phase:
            self._events.normal(subject, str(status.reason), "the room is gone from LiveKit")
        if status.reason is RoomEndReason.LOST and room.status.reason is not status.reason:
            self._events.warning(subject, str(status.reason), _sentence(status, ConditionType.READY))


def _count_no_shows(end: EndStatus, server: str) -> None:
    """Count those who did not come. Reasons that LiveKit gives for a departure are no detail of a NoShow."""
    for outcome in end.outcomes:
        if outcome.detail in _NO_SHOWS:
            metrics.no_shows.labels(outcome.detail).inc()
            metrics.joins.labels(server, outcome.detail).inc()
        else:
            metrics.joins.labels(server, _JOINED).inc()


def _server(status: MatchStatus) -> str:
    """The LiveKit server of the call; empty if none was chosen."""
    return (status.room.server or "") if status.room is not None else ""


def _exemplar(match: Match) -> dict[str, str]:
    """What leads from a bucket of a histogram to the trace and the lines of a call that is in it."""
    return {"trace_id": trace_id(match.metadata.uid)}


def _length(time: timedelta) -> str:
    """A length of time in words: `3 min 5 s`."""
    minutes, seconds = divmod(max(0, round(time.total_seconds())), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _holds(type_: ConditionType, conditions: Iterable[Condition]) -> Condition | None:
    """The condition of this type, if it is True."""
    found = (one for one in conditions if one.type == type_)
    return next((one for one in found if one.status is ConditionStatus.TRUE), None)


def _sentence(status: RoomStatus, type_: ConditionType) -> str:
    """The message of the condition of this type."""
    return next((condition.message for condition in status.conditions if condition.type == type_), "")
