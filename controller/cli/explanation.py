"""The story of a call, as its ledger has it, in lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.api.phases import MatchPhase
from controller.facts.ledger import Destination, Ledger, SettledUser
from controller.facts.time import from_milliseconds

_WENT: Final = {
    Destination.WAITING: "is back in the queue",
    Destination.IDLE: "is not in the queue",
    Destination.LOST: "was no longer held by this Match",
}


def text(ledger: Ledger) -> str:
    """The story: the names of the call, then a line for each thing that happened, with its time in UTC."""
    return "\n".join([f"match {ledger.match_name or '(no name)'}: {_state(ledger)}", *_names(ledger), *_story(ledger)])


def _state(ledger: Ledger) -> str:
    reason = ledger.end.cause.reason if ledger.end is not None else ""
    if ledger.settled:
        return f"over ({reason})"
    return f"ending ({reason})" if reason else f"goes on ({ledger.phase or MatchPhase.PENDING})"


def _names(ledger: Ledger) -> Iterator[str]:
    told = {"UID": ledger.uid, "session": ledger.session_id, "LiveKit room": ledger.room}
    yield "  " + ", ".join(f"{what} {name}" for what, name in told.items() if name)
    yield f"  users {' and '.join(sorted(ledger.queued_at_ms))}"


def _story(ledger: Ledger) -> Iterator[str]:
    """The lines in the order of their times; users are settled last."""
    lines: list[tuple[int, str]] = []
    for user, at in ledger.queued_at_ms.items():
        if at is not None:
            lines.append((at, f"{user} entered the queue"))
    if ledger.created_at_ms is not None:
        lines.append((ledger.created_at_ms, "both users were claimed"))
    for user, event in ledger.last.items():
        why = f" ({event.reason})" if event.reason else ""
        lines.append((event.at_ms, f"LiveKit's last event about {user}: {event.event}{why}"))
    if (end := ledger.end) is not None:
        by = f" (by {end.cause.initiator})" if end.cause.initiator else ""
        lines.append((end.at_ms, f"{end.cause.reason}: {end.cause.message}{by}"))
    for user, settled in ledger.outcomes.items():
        lines.append((ledger.settled_at_ms or (end.at_ms if end is not None else 0), f"{user} {_outcome(settled)}"))
    for at, line in sorted(lines, key=lambda one: one[0]):
        yield f"  {from_milliseconds(at):%Y-%m-%d %H:%M:%S}  {line}"


def _outcome(settled: SettledUser) -> str:
    went = _WENT.get(settled.outcome, str(settled.outcome))
    return f"{went} ({settled.detail})" if settled.detail else went
