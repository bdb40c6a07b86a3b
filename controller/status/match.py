"""The status of a Match, computed last from the case: one value, written once if it differs from the last. Pure.

Phase, conditions, history and the end are derived, so if a write is lost the next reconcile makes it. Nothing in it
changes because time passed. Neighbors: `status.match_view` and `status.match_conditions`, `loop.reconcile` (writes it).
"""

from __future__ import annotations

from controller.api.conditions import ConditionType
from controller.api.failures import LastError
from controller.api.match import MAX_HISTORY, HistoryEntry, MatchStatus
from controller.api.meta import ConditionStatus
from controller.api.phases import MatchPhase
from controller.facts.time import from_milliseconds
from controller.rules.match_case import MatchCase
from controller.status.conditions import Verdict, latest, merge
from controller.status.match_conditions import match_conditions, not_claimed
from controller.status.match_view import MatchView

_SUMMARY_LENGTH = 60
_DEGRADED = ConditionType.DEGRADED


def match_status(case: MatchCase, error: LastError | None) -> MatchStatus:
    """The status that follows from the case; `error` is what kept the last step from working."""
    view = MatchView(case, error)
    match, before, phase = case.match, case.match.status, view.phase
    verdicts = tuple(match_conditions(view))
    return MatchStatus(
        observed_generation=match.metadata.generation,
        phase=phase,
        reason=_word(view, verdicts),
        session_id=case.session_id,
        conditions=merge(before.conditions, verdicts, match.metadata.generation, view.now),
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
        last_error=latest(error, before.last_error, before.conditions),
    )


def _word(view: MatchView, verdicts: tuple[Verdict, ...]) -> str | None:
    """The word for the column: why it ended, what interrupts the call, or else what keeps Roomkeeper from going on."""
    if view.reason is not None or view.finished:
        return view.reason.value if view.reason is not None else None
    holds = (one.reason.value for one in verdicts if one.type is _DEGRADED and one.status is ConditionStatus.TRUE)
    return next(holds, None)


def _history(
    before: tuple[HistoryEntry, ...], phase: MatchPhase, phase_before: MatchPhase | None, view: MatchView
) -> tuple[HistoryEntry, ...]:
    if phase is phase_before or (before and before[-1].phase is phase):
        return before  # in the second case, another client has edited the phase in the status
    entry = HistoryEntry(phase=phase, time=view.now, reason=_reason(view), message=_sentence(phase, view))
    return (*before, *_unwritten(phase, phase_before, view), entry)[-MAX_HISTORY:]


def _unwritten(phase: MatchPhase, phase_before: MatchPhase | None, view: MatchView) -> tuple[HistoryEntry, ...]:
    """The step Terminating of a Match that ended so fast that no status said so; the ledger knows since when it was."""
    end = view.case.ledger.end if view.case.ledger is not None else None
    if phase is not MatchPhase.ENDED or phase_before in {None, MatchPhase.TERMINATING} or end is None:
        return ()
    began, sentence = from_milliseconds(end.at_ms), _sentence(MatchPhase.TERMINATING, view)
    return (HistoryEntry(phase=MatchPhase.TERMINATING, time=began, reason=_reason(view), message=sentence),)


def _reason(view: MatchView) -> str:
    return (view.reason or view.phase).value


def _sentence(phase: MatchPhase, view: MatchView) -> str:
    case = view.case
    if case.cause is not None:
        return case.cause.message
    if phase is MatchPhase.PENDING:
        return not_claimed(view)[1]
    if phase is MatchPhase.CREATING:
        return "users claimed; room and tokens are being made"
    if phase is MatchPhase.CONNECTING:
        return f"participants are joining; {case.match.spec.timeouts.connect_seconds} s to connect"
    if phase is MatchPhase.ACTIVE:
        return "both are in the room: " + ", ".join(f"{p.identity} ({p.evidence})" for p in case.presences)
    return "; ".join(f"{p.identity}: {p.detail or 'left'}, seen by {p.evidence}" for p in case.missing)


def _summary(identities: tuple[str, ...]) -> str:
    text = ", ".join(identities)
    return text if len(text) <= _SUMMARY_LENGTH else text[: _SUMMARY_LENGTH - 1] + "…"
