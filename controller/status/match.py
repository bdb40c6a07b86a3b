"""The status of a Match, computed last from what was seen: one value, written once if it differs from the last.

Pure. Phase, conditions, history and the end are derived, so a lost write is simply made by the next reconcile. Nothing
in it changes because time passed. Neighbours: `plan.match` and `rules.endings` (the same judgements), `loop.reconcile`
(writes it).
"""

from __future__ import annotations

from datetime import datetime

from controller.api.failures import LastError
from controller.api.match import (
    MAX_HISTORY,
    HistoryEntry,
    Match,
    MatchStatus,
)
from controller.api.phases import MatchPhase
from controller.facts.match import MatchSeen
from controller.facts.time import from_milliseconds
from controller.rules.match import session_id
from controller.status.conditions import merge
from controller.status.match_conditions import match_conditions, not_claimed
from controller.status.match_view import MatchView

_SUMMARY_LENGTH = 60


def match_status(match: Match, seen: MatchSeen, now: datetime, error: LastError | None) -> MatchStatus:
    """The status that follows from what was seen at `now`; `error` is what kept the last step from working."""
    view = MatchView(match, seen, _whole_milliseconds(now), error)
    before = match.status
    phase = view.phase
    return MatchStatus(
        observed_generation=match.metadata.generation,
        phase=phase,
        reason=view.column_reason,
        session_id=session_id(match),
        conditions=merge(before.conditions, match_conditions(view), match.metadata.generation, view.now),
        room=view.room,
        tokens=view.tokens,
        participants=view.participants,
        participants_summary=_summary(match.spec.identities),
        connected=view.connected,
        started_at=before.started_at or (view.now if view.claimed else None),
        ready_at=view.ready_at,
        connected_at=view.connected_at,
        ended_at=view.ended_at,
        end=view.end,
        history=_history(before.history, phase, before.phase, view),
        last_error=_last_error(before.last_error, error),
    )


def _history(
    before: tuple[HistoryEntry, ...], phase: MatchPhase, phase_before: MatchPhase | None, view: MatchView
) -> tuple[HistoryEntry, ...]:
    if phase is phase_before:
        return before
    entry = HistoryEntry(phase=phase, time=view.now, reason=_history_reason(view), message=_sentence(phase, view))
    return (*before, *_unwritten(phase, phase_before, view), entry)[-MAX_HISTORY:]


def _unwritten(phase: MatchPhase, phase_before: MatchPhase | None, view: MatchView) -> tuple[HistoryEntry, ...]:
    """A Match that ends within a moment is never seen to be Terminating; its ledger knows since when it was."""
    end = view.ledger.end if view.ledger is not None else None
    if phase is not MatchPhase.ENDED or phase_before in {None, MatchPhase.TERMINATING} or end is None:
        return ()
    began = from_milliseconds(end.at_ms)
    sentence = _sentence(MatchPhase.TERMINATING, view)
    entry = HistoryEntry(phase=MatchPhase.TERMINATING, time=began, reason=_history_reason(view), message=sentence)
    return (entry,)


def _history_reason(view: MatchView) -> str | None:
    return view.cause.code if view.cause is not None else view.column_reason or view.phase.value


def _sentence(phase: MatchPhase, view: MatchView) -> str:
    if view.cause is not None:
        return view.cause.message
    timeouts = view.match.spec.timeouts
    if phase is MatchPhase.PENDING:
        return not_claimed(view)[1]
    if phase is MatchPhase.CREATING:
        return "users claimed; room and tokens are being made"
    if phase is MatchPhase.CONNECTING:
        return f"people are joining; {timeouts.connect_seconds} s to connect"
    if phase is MatchPhase.ACTIVE:
        return "both are in the room: " + ", ".join(f"{p.identity} ({p.evidence})" for p in view.people)
    return "; ".join(f"{p.identity}: {p.detail or 'left'}, seen by {p.evidence}" for p in view.missing)


def _last_error(before: LastError | None, error: LastError | None) -> LastError | None:
    """Rewritten when the type changes, so that a repeated error causes no writes."""
    if error is None or (before is not None and before.type is error.type):
        return before
    return error


def _summary(identities: tuple[str, ...]) -> str:
    text = ", ".join(identities)
    return text if len(text) <= _SUMMARY_LENGTH else text[: _SUMMARY_LENGTH - 1] + "…"


def _whole_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
