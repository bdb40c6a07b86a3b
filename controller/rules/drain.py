"""What the drain of a LiveKit server means for the calls on it. Pure.

Everything follows from objects: the spec says that a server is drained; the mark of each room on LiveKit, and the
ledger of each Match, say which drain its participants were told about. So an operator that dies in the middle goes on
where it was. Only the order in which many calls end is kept in memory (`views.drains`): one after another, at a bounded
rate. Neighbors: `rules.endings` and `rules.room` ask whether a call ends, the planners tell participants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from controller.api.endings import ENDINGS, EndReason
from controller.api.livekitserver import Drain, DrainType
from controller.api.tolerant import is_known
from controller.facts.drain import DrainFacts
from controller.rules.end_cause import EndCause, make_cause
from controller.rules.match_look import MatchLook

TELLING: Final = timedelta(seconds=3)
"""How long the end of a call waits for its participants to be told, once it is its turn."""


def drain_of(server: str, drain: Drain | None) -> DrainFacts | None:
    """The drain of this server; None if it is in service.

    A type that this version does not know ends no call.
    """
    if drain is None:
        return None
    kind = drain.type if is_known(drain.type) else DrainType.GRACEFUL
    content = (kind, drain.message, drain.expected_downtime_seconds, drain.deadline)
    digest = hashlib.sha256("\0".join(str(part) for part in content).encode()).hexdigest()[:12]
    return DrainFacts(f"{server}-{digest}", kind, drain.message, drain.expected_downtime_seconds, drain.deadline)


def ends_calls(drain: DrainFacts | None, now: datetime) -> bool:
    """Whether the drain ends the calls that are left by now. A deadline in the past has come."""
    if drain is None:
        return False
    if drain.type is DrainType.MAINTENANCE:
        return drain.deadline is not None and now >= drain.deadline
    return drain.type is DrainType.EMERGENCY


def untold(look: MatchLook) -> bool:
    """Whether the users of a Match were not told yet that its server is drained, or that it is no longer."""
    server, ledger = look.seen.server, look.ledger
    if ledger is None or look.match.status.ready_at is None or not server.is_configured:
        return False
    return ledger.drain != (server.drain.id if server.drain is not None else "")


def drained(look: MatchLook) -> EndCause | None:
    """It is the turn of a call on a server whose drain ends calls, and its participants were told."""
    server, turn = look.seen.server, look.seen.drain_turn
    if turn is None or look.match.status.ready_at is None or not ends_calls(server.drain, look.now):
        return None
    if look.now < turn + TELLING and (untold(look) or _is_untold_in_room(look)):
        return None
    return make_cause(look.match, EndReason.DRAINED, ENDINGS[EndReason.DRAINED].sentence())


def last_wait_for_telling(look: MatchLook) -> datetime | None:
    """Until when a call, whose turn it is to end, waits for its participants to be told."""
    turn = look.seen.drain_turn
    return turn + TELLING if turn is not None and ends_calls(look.seen.server.drain, look.now) else None


def _is_untold_in_room(look: MatchLook) -> bool:
    room, drain = look.livekit_room, look.seen.server.drain
    return room is not None and room.mark is not None and drain is not None and room.mark.drain != drain.id


class CallLeft(Protocol):
    """A call on a server; `since` is when its Match was created."""

    @property
    def since(self) -> datetime:
        """When its Match was created."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a drain has come: how many calls are left, and when the oldest of them was created."""

    calls_left: int
    oldest_call_at: datetime | None = None


def progress(left: Iterable[CallLeft]) -> Progress:
    """The progress from the calls that are left."""
    moments = [call.since for call in left]
    return Progress(len(moments), min(moments, default=None))
