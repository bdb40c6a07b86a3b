"""The end of a Match as one value, which is told the same whether its status says it or the Match was deleted before.

`announce.announcer` counts it and posts its Event, once per Match. `log_end` writes one line with all names by which
one may look for the call, so a search for a user, a session or a LiveKit room finds it. `trace_end` sends its span.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from controller.api.endings import END_CODES, EndCode, EndReason, EndWord, ReleaseDetail
from controller.api.event_reasons import WARNED_ENDINGS
from controller.api.match import EndStatus, Match, MatchStatus
from controller.api.names import TRACEPARENT
from controller.api.phases import MatchPhase
from controller.api.tolerant import is_known
from controller.rules.end_cause import UNKNOWN_REASON, EndCause, read_word
from controller.rules.match_case import MatchCase
from controller.status.match_view import MatchView
from controller.telemetry import tracing
from controller.telemetry.trace_ids import trace_id

log = structlog.get_logger(__name__)

NO_SHOW_DETAILS: Final = (ReleaseDetail.NEVER_SEEN, ReleaseDetail.SIGNAL_ONLY, ReleaseDetail.MEDIA_FAILED)
"""What can be known of a participant who was not connected when their Match ended as NoShow."""

_NO_SHOWS: Final = {str(one): one for one in NO_SHOW_DETAILS}


@dataclass(frozen=True, slots=True)
class MatchEnd:
    """How a Match ended.

    `word` is the finest word for it: no text of a client, so it can be a label. `met_at` is when both were in the room.
    `no_shows` says of each participant who did not come what is known about them; empty if another reason ended it.
    `steps` are the phases that it went through, and when.
    """

    match: Match
    reason: EndReason
    word: EndWord
    initiator: str
    message: str
    phase: MatchPhase | None
    session: str
    livekit_room: str
    server: str
    met_at: datetime | None
    ended_at: datetime
    no_shows: tuple[ReleaseDetail, ...]
    steps: tuple[tuple[str, datetime], ...]

    @property
    def length(self) -> timedelta | None:
        """How long the call lasted; None if both never met. A clock that was set back does not make it negative."""
        return max(timedelta(0), self.ended_at - self.met_at) if self.met_at is not None else None


def end_in_status(match: Match, status: MatchStatus, ended_at: datetime) -> MatchEnd:
    """The end as the status of a Match that is over says it."""
    room, end = status.room, status.end
    word, reason = _words(status.reason, end)
    return MatchEnd(
        match=match,
        reason=reason,
        word=word,
        initiator=(end.initiator or "") if end is not None else "",
        message=(end.message if end is not None else "") or "the match is over",
        phase=status.phase,
        session=status.session_id or match.spec.session_id or match.metadata.uid,
        livekit_room=(room.livekit_name or "") if room is not None else "",
        server=status.livekit_server,
        met_at=status.connected_at,
        ended_at=ended_at,
        no_shows=_no_shows(reason, [one.detail for one in end.outcomes] if end is not None else ()),
        steps=_steps(status),
    )


def end_of_deleted(case: MatchCase, cause: EndCause) -> MatchEnd:
    """The end of a deleted Match that no status says: as the cause has it, not what was written last."""
    match, ledger, room = case.match, case.ledger, case.match.status.room
    settled = ledger.outcomes.values() if ledger is not None else ()
    return MatchEnd(
        match=match,
        reason=cause.reason,
        word=cause.code,
        initiator=cause.initiator,
        message=cause.message,
        phase=MatchView(case, None).phase,
        session=case.session_id,
        livekit_room=(room.livekit_name if room is not None else None) or (ledger.room if ledger is not None else ""),
        server=match.status.livekit_server,
        met_at=case.met_at,
        ended_at=case.now,
        no_shows=_no_shows(cause.reason, [one.detail for one in settled]),
        steps=_steps(match.status),
    )


def log_end(end: MatchEnd) -> None:
    """Write the line. Where both met, `duration_seconds` is the length of the call."""
    metadata, length = end.match.metadata, end.length
    log.info(
        "match is over",
        trace_id=trace_id(metadata.uid),  # the watch may bring the news, outside of any reconcile
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        session=end.session,
        livekit_room=end.livekit_room,
        server=end.server,
        people=list(end.match.spec.identities),
        phase=str(end.phase or ""),
        reason=end.word.value,
        initiator=end.initiator,
        message=end.message,
        duration_seconds=round(length.total_seconds(), 3) if length is not None else None,
    )


def trace_end(end: MatchEnd) -> None:
    """Send the span of the whole Match, if traces are made. Users are not in it: traces are kept by other people."""
    if not tracing.is_on():
        return
    metadata = end.match.metadata
    attributes = {
        "k8s.namespace.name": metadata.namespace,
        "roomkeeper.name": metadata.name,
        "roomkeeper.session": end.session,
        "roomkeeper.reason": end.word.value,
        "roomkeeper.livekit.room": end.livekit_room,
        "roomkeeper.livekit.server": end.server,
    }
    began_at = metadata.creation_timestamp or min((at for _, at in end.steps), default=end.ended_at)
    tracing.match_over(
        tracing.MatchSpan(
            uid=metadata.uid,
            began_at=began_at,
            ended_at=end.ended_at,
            attributes={name: value for name, value in attributes.items() if value},
            steps=end.steps,
            error=end.word.value if end.reason in WARNED_ENDINGS else "",
            link=tracing.link_of(metadata.annotations.get(TRACEPARENT, "")),
        )
    )


def told_of_deletion(end: MatchEnd) -> str:
    """The sentence of the Event about a Match that went before a status said its end: it says who was in the call.

    A call that LiveKit did not report is not known here, so the sentence does not deny it.
    """
    names = " and ".join(end.match.spec.identities)
    if end.length is None:
        return f"{end.message}; no call{f' of {names}' if names else ''} was seen"
    return f"{end.message}; the call of {names} ended after {_in_words(end.length)}"


def _words(text: str | None, end: EndStatus | None) -> tuple[EndWord, EndReason]:
    """The word and the reason of an end in a status, in which another client may have written whatever it wants."""
    reason = end.reason if end is not None and is_known(end.reason) else None
    word = read_word(text or "") or reason or UNKNOWN_REASON
    return word, reason or (END_CODES[word].reason if isinstance(word, EndCode) else word)


def _no_shows(reason: EndReason, details: Iterable[str | None]) -> tuple[ReleaseDetail, ...]:
    """What is known of those who did not come. Reasons that LiveKit gives for a departure are no detail of a NoShow."""
    if reason is not EndReason.NO_SHOW:
        return ()
    return tuple(_NO_SHOWS[detail] for detail in details if detail in _NO_SHOWS)


def _steps(status: MatchStatus) -> tuple[tuple[str, datetime], ...]:
    return tuple((str(step.phase), step.time) for step in status.history)


def _in_words(time: timedelta) -> str:
    """A length of time in words: `3 min 5 s`."""
    minutes, seconds = divmod(round(time.total_seconds()), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
