"""Announces what a written status changed: metrics of the way from created to over, and Kubernetes Events.

Events are API writes, so there are few: Normal ones when a call is up and when it is over, Warnings for what went
wrong. A Match that becomes Ready costs none. Neighbors: `loop.reconcile` calls this, `announce.events` posts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import structlog

from controller.announce.error_records import ErrorRecords
from controller.announce.events import EventPoster, Subject
from controller.announce.match_end import (
    NO_SHOW_DETAILS,
    MatchEnd,
    end_in_status,
    end_of_deleted,
    log_end,
    told_of_deletion,
    trace_end,
)
from controller.api.conditions import ConditionType
from controller.api.endings import EndCode, EndReason
from controller.api.event_reasons import EVENT_REASONS, WARNED_ENDINGS, EventReason, error_reason
from controller.api.failures import Recovery
from controller.api.match import Evidence, Match, MatchStatus, ParticipantState
from controller.api.meta import Condition, ConditionStatus
from controller.api.names import MATCH, ROOM, ResourceKind
from controller.api.phases import RoomPhase
from controller.api.room import Room, RoomEndReason, RoomIssue, RoomStatus
from controller.clock import Clock
from controller.errors import Backend
from controller.plan.actions import AnyAction, ReleaseFinalizer, RemoveStranger
from controller.rules.failures import of_ending
from controller.rules.match_case import MatchCase
from controller.telemetry import metrics
from controller.telemetry.trace_ids import trace_id

log = structlog.get_logger(__name__)

# A server that does not answer is the same news for all of its rooms.
_NO_EVENT = frozenset({RoomIssue.STALE})
_JOINED = ParticipantState.CONNECTED.value
_SEES_PEOPLE = (Evidence.WEBHOOK, Evidence.POLL)

# What first appears with 1 has not increased for Prometheus: the first lost room would raise no alert.
for _word in (*EndReason, *EndCode):
    metrics.matches_finished.labels(_word)
for _witness in _SEES_PEOPLE:
    metrics.detection_seconds.labels(_witness.value)
for _detail in NO_SHOW_DETAILS:
    metrics.no_shows.labels(_detail.value)
for _kind in (MATCH, ROOM):
    for _backend in (Backend.LIVEKIT, Backend.REDIS):
        metrics.released_without.labels(_kind.kind, _backend)


class Announcer:
    """Announces every status that was written, and every action that no status shows. One pair of methods per kind."""

    def __init__(self, events: EventPoster, clock: Clock, errors: ErrorRecords) -> None:
        self._events = events
        self._clock = clock
        self._errors = errors
        # Deleted Matches that may be gone in a moment, by UID: their ends, which no status says yet.
        self._leaving: dict[str, MatchEnd] = {}
        # The UIDs of the Matches whose end was told, until they are gone: it is told once, whatever the status says.
        self._told: set[str] = set()

    def match_leaving(self, case: MatchCase) -> None:
        """The finalizer of a deleted Match is about to be removed.

        Most go by that, and no status says how they ended. One with another finalizer stays, and its status says it.
        """
        if case.was_over or case.match.status.ended_at is not None or case.cause is None:
            return
        self._leaving[case.match.metadata.uid] = end_of_deleted(case, case.cause)

    def gone(self, uid: str) -> None:
        """The object with this UID is gone. If it is a Match whose end no status said, it is told now."""
        end = self._leaving.pop(uid, None)
        if end is not None and uid not in self._told:
            self._over(end, told_of_deletion(end))
        self._told.discard(uid)

    def term_over(self) -> None:
        """Forget the Matches of this term: what comes of them is no longer seen."""
        self._leaving.clear()
        self._told.clear()

    def match_acted(self, match: Match, actions: tuple[AnyAction, ...]) -> None:
        """These actions of a Match succeeded."""
        self._released_without(MATCH, match, actions)

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
        reason = EventReason.DELETION_PAUSED
        self._events.warning(Subject.of(kind, found), reason, EVENT_REASONS[reason])

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
            connected_seconds = max(0.0, (status.connected_at - status.ready_at).total_seconds())
            metrics.connected_seconds.observe(connected_seconds, _exemplar(match))
            metrics.joins.labels(status.livekit_server, _JOINED).inc(len(status.participants))
            self._events.normal(subject, EventReason.CONNECTED, EVENT_REASONS[EventReason.CONNECTED])
        self._tell_of_pause(subject, before.conditions, status.conditions)
        self._count_witnesses(before, status)
        if status.last_error is not None and status.last_error != before.last_error:
            self._events.warning(subject, error_reason(status.last_error.type), status.last_error.message)
        was_over = before.ended_at is not None or before.finished is not None or match.metadata.uid in self._told
        if status.ended_at is not None and not was_over:
            end = end_in_status(match, status, status.ended_at)
            self._over(end, end.message)

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
                metrics.webhooks_missed.labels(status.livekit_server).inc()

    def _over(self, end: MatchEnd, told: str) -> None:
        """A Match is over: count, log, record it if it is an error, post its Event, which says `told`, and trace it."""
        match = end.match
        subject = Subject.of(MATCH, match)
        self._told.add(subject.uid)
        metrics.matches_finished.labels(end.word.value).inc()
        if end.length is not None:
            metrics.call_seconds.observe(end.length.total_seconds(), _exemplar(match))
        for detail in end.no_shows:
            metrics.no_shows.labels(detail.value).inc()
            metrics.joins.labels(end.server, detail.value).inc()
        if end.reason is EndReason.NO_SHOW:
            metrics.joins.labels(end.server, _JOINED).inc(len(match.spec.identities) - len(end.no_shows))
        log_end(end)
        self._record(subject, end)
        post = self._events.warning if end.reason in WARNED_ENDINGS else self._events.normal
        post(subject, end.word.value, told)
        trace_end(end)

    def _record(self, subject: Subject, end: MatchEnd) -> None:
        """Record an ending that is an error. What follows from it is done by now: the users are where they belong."""
        failure = of_ending(end.word)
        if failure is None:
            return
        context = {
            "message": end.message,
            "match": subject.uid,
            "user": ", ".join(end.match.spec.identities),
            "session": end.session,
            "room": end.livekit_room,
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
        if status.reason is RoomEndReason.LOST:
            if room.status.reason is not status.reason:
                self._events.warning(subject, str(status.reason), _sentence(status, ConditionType.READY))
        elif status.phase is RoomPhase.TERMINATED and room.status.phase is not status.phase:
            self._events.normal(subject, str(status.reason), "the room is gone from LiveKit")


def _exemplar(match: Match) -> dict[str, str]:
    """What leads from a bucket of a histogram to the trace and the lines of a call that is in it."""
    return {"trace_id": trace_id(match.metadata.uid)}


def _holds(type_: ConditionType, conditions: Iterable[Condition]) -> Condition | None:
    """The condition of this type, if it is True."""
    found = (one for one in conditions if one.type == type_)
    return next((one for one in found if one.status is ConditionStatus.TRUE), None)


def _sentence(status: RoomStatus, type_: ConditionType) -> str:
    """The message of the condition of this type."""
    return next((condition.message for condition in status.conditions if condition.type == type_), "")
