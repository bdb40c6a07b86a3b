"""One verdict per participant from several witnesses: LiveKit's webhooks and the lists that we read. Pure.

The newer evidence wins. LiveKit sends `participant_joined` only when media is up; it lists a client that has only
opened the signaling connection as JOINED. A duplicate identity is not a departure: the new session's event follows.
`rules.match_look` asks once per look.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.api.match import Evidence, Match, Participant, ParticipantState, ParticipantStatus
from controller.api.tolerant import is_known
from controller.facts.ledger import LastEvent, Ledger
from controller.facts.livekit import Ghost, LiveKitParticipant
from controller.facts.match import MatchSeen
from controller.facts.observation import Present, value_of
from controller.facts.time import from_milliseconds

JOINED = "participant_joined"
_LEFT = "participant_left"
LEFT_EVENTS = frozenset({_LEFT, "participant_connection_aborted"})
_DUPLICATE = "DUPLICATE_IDENTITY"
NODE_GONE = "LiveKit lists them on a node that no longer answers"
"""The detail of a participant who is a ghost."""
# A list is newer than an event only if it was asked for clearly later: the two clocks are not the same.
_LIST_MARGIN = timedelta(milliseconds=250)


@dataclass(frozen=True, slots=True)
class Presence:
    """Where one participant is, which witness says so, and since when."""

    identity: str
    state: ParticipantState
    evidence: Evidence | None
    detail: str | None
    since: datetime | None
    participant_sid: str | None

    @property
    def is_in(self) -> bool:
        """Whether media is up."""
        return self.state is ParticipantState.CONNECTED


def presences(match: Match, seen: MatchSeen) -> tuple[Presence, ...]:
    """The verdict for each participant, in the order of the spec."""
    ledger = value_of(seen.ledger)
    before = {status.identity: _in_our_words(status) for status in match.status.participants}
    return tuple(
        _presence(
            person,
            before.get(person.identity),
            ledger.last.get(person.livekit_identity) if ledger else None,
            seen,
        )
        for person in match.spec.participants
    )


def _presence(
    person: Participant, before: ParticipantStatus | None, event: LastEvent | None, seen: MatchSeen
) -> Presence:
    if event is not None and _is_of_before(event, before):
        event = None
    was_seen = event is not None or (before is not None and before.state is not ParticipantState.INVITED)
    if isinstance(seen.people, Present):
        listed = next((p for p in seen.people.value if p.identity == person.livekit_identity), None)
        newer = event is None or seen.people.at - _LIST_MARGIN > from_milliseconds(event.at_ms)
        # An event about another session of the participant says nothing about the session that is listed.
        other = listed is not None and event is not None and event.event in LEFT_EVENTS and event.sid != listed.sid
        if (newer or other) and (listed is not None or was_seen):
            ghost = next((g for g in seen.ghosts if g.identity == person.livekit_identity), None)
            if listed is None and ghost is not None:
                return _from_ghost(person.identity, before, ghost)
            return _from_list(person.identity, before, event, listed, seen.people.at)
    if event is not None and event.reason != _DUPLICATE:
        return _from_event(person.identity, event)
    if before is not None:
        return Presence(
            person.identity,
            before.state,
            before.evidence,
            before.detail,
            before.since,
            before.participant_sid,
        )
    return Presence(person.identity, ParticipantState.INVITED, None, None, None, None)


def together_at(match: Match, ledger: Ledger) -> datetime | None:
    """When all participants were in the room, by LiveKit's last event about each; None if that does not show it."""
    last = [ledger.last.get(person.livekit_identity) for person in match.spec.participants]
    events = [event for event in last if event is not None and _came_ms(event)]
    if not events or len(events) < len(last):
        return None
    met_ms = max(map(_came_ms, events))
    has_left = any(event.event == _LEFT and event.at_ms < met_ms for event in events)
    return None if has_left else from_milliseconds(met_ms)


def _came_ms(event: LastEvent) -> int:
    """When the media of this participant was up; 0 if it never was, or that is not known."""
    return event.at_ms if event.event == JOINED else event.joined_at_ms if event.event == _LEFT else 0


def _in_our_words(status: ParticipantStatus) -> ParticipantStatus:
    """The status without a state that this version does not know: such a participant has not dropped out."""
    if is_known(status.state):
        return status
    was_in = status.connected_at is not None
    return status.model_copy(update={"state": ParticipantState.CONNECTED if was_in else ParticipantState.INVITED})


def _is_of_before(event: LastEvent, before: ParticipantStatus | None) -> bool:
    """Whether the event is about an earlier session than the one that the status knows."""
    if before is None or before.participant_sid in {None, event.sid}:
        return False
    return from_milliseconds(event.at_ms) < before.since


def _from_event(identity: str, event: LastEvent) -> Presence:
    at = from_milliseconds(event.at_ms)
    if event.event == JOINED:
        return Presence(identity, ParticipantState.CONNECTED, Evidence.WEBHOOK, None, at, event.sid)
    return Presence(identity, ParticipantState.LEFT, Evidence.WEBHOOK, event.reason or None, at, event.sid)


def _from_ghost(identity: str, before: ParticipantStatus | None, ghost: Ghost) -> Presence:
    if before is not None and before.state is ParticipantState.LEFT:
        return Presence(identity, before.state, before.evidence, before.detail, before.since, before.participant_sid)
    return Presence(identity, ParticipantState.LEFT, Evidence.POLL, NODE_GONE, ghost.since, ghost.sid)


def _from_list(
    identity: str,
    before: ParticipantStatus | None,
    event: LastEvent | None,
    listed: LiveKitParticipant | None,
    at: datetime,
) -> Presence:
    if listed is None:
        if event is not None and event.event in LEFT_EVENTS:
            return _from_event(identity, event)
        if before is not None and before.state is ParticipantState.LEFT:
            return Presence(
                identity, before.state, before.evidence, before.detail, before.since, before.participant_sid
            )
        sid = before.participant_sid if before else None
        return Presence(identity, ParticipantState.LEFT, Evidence.POLL, "not listed any more", at, sid)
    state = ParticipantState.CONNECTED if listed.is_active else ParticipantState.JOINING
    if event is not None and event.event == JOINED and event.sid == listed.sid and listed.is_active:
        return _from_event(identity, event)
    if before is not None and before.state is state and before.participant_sid == listed.sid:
        return Presence(identity, state, before.evidence, before.detail, before.since, listed.sid)
    return Presence(identity, state, Evidence.POLL, None, at, listed.sid)
