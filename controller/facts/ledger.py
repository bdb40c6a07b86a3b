"""The ledger of a Match as a value: which users it claimed and from where, where they went, and why it ended.

Redis keeps it under `match:<uid>`. `clients.redis.ledger` reads it, `rules` judge it. It is the commit point of an
ending: the first cause that is stored stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import orjson

from controller.api.match import QueuePlace, TerminationAction

VIA_SIGNAL = "signal"
"""`Wish.via` of a wish that a gateway sent; any other value names the flag of an older client."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a Match ended, as the ledger stores it. The first settle that names a reason stores it; later ones cannot
    replace it.

    `reason` is a value of `EndReason`, or a word of another version of Roomkeeper: `rules.end_cause` reads it.
    `evidence` is text for people and machines (JSON, for example): what was seen, and by which witness.
    """

    reason: str = ""
    initiator: str = ""
    message: str = ""
    evidence: str = ""


class Destination(StrEnum):
    """Where a user goes, or went, when the Match releases them."""

    WAITING = "WAITING"
    """Into the queue. A user who never came from it becomes idle."""
    IDLE = "IDLE"
    BACK = "BACK"
    """Only as a decision: the rollback, exactly where the user was before the claim."""
    LOST = "LOST"
    """Only as a result: the Match did not hold this user."""


@dataclass(frozen=True, slots=True)
class Release:
    """The decision about one user at the end. `place` counts only with WAITING; `detail` is kept with the result."""

    id: str
    to: Destination
    place: QueuePlace = QueuePlace.ORIGINAL
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SettledUser:
    """Where one user went. `score_ms` is the place in the queue of a user who is WAITING; `detail` is that of the
    `Release`, or what the script found instead.
    """

    id: str
    outcome: Destination
    score_ms: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The end as the ledger has it: the first cause, and when it was stored."""

    cause: Cause
    at_ms: int


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last LiveKit event about a participant; times are 0 where LiveKit did not give them."""

    event: str
    reason: str
    sid: str
    at_ms: int
    joined_at_ms: int

    def to_json(self) -> str:
        """How the ledger stores it."""
        value = {
            "event": self.event,
            "reason": self.reason,
            "sid": self.sid,
            "at": self.at_ms,
            "joinedAtMs": self.joined_at_ms,
        }
        return orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class Wish:
    """A request to end the call, from a gateway's signal or an older client's flag.

    `user` is the one who skips or ends, or the one to be disconnected; `by` is the one who asks for it, where that is
    known.
    """

    action: TerminationAction
    user: str
    by: str = ""
    reason: str = ""
    via: str = ""
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class AloneTime:
    """How long one participant was alone in the call: in total before, and since when now (None: not alone)."""

    before_ms: int = 0
    since_ms: int | None = None

    def after(self, *, alone: bool, now_ms: int) -> AloneTime:
        """The same after a participant has become, or is no longer, alone."""
        if alone == (self.since_ms is not None):
            return self
        if self.since_ms is None:
            return AloneTime(self.before_ms, now_ms)
        return AloneTime(self.before_ms + max(0, now_ms - self.since_ms))


@dataclass(frozen=True, slots=True)
class Ledger:
    """`queued_at_ms` has every user of the Match: their place in the queue before, None if they had none.

    `outcomes` has the users who are settled; `last` those about whom LiveKit sent an event; `suspected_at_ms` those
    whose gateway has lost them. `taken_at_ms` is the claim by the clock of Redis, for comparisons with beats.
    `rejoined` is LiveKit's id of the latest room that was made again and that the users were told about, and `drain`
    the id of the drain of its server that they were told about last; empty for none, or if it is over.
    """

    uid: str
    claimed: bool = False
    settled: bool = False
    phase: str = ""
    created_at_ms: int | None = None
    settled_at_ms: int | None = None
    session_id: str = ""
    match_name: str = ""
    room: str = ""
    url: str = ""
    queued_at_ms: Mapping[str, int | None] = field(default_factory=dict)
    outcomes: Mapping[str, SettledUser] = field(default_factory=dict)
    end: End | None = None
    last: Mapping[str, LastEvent] = field(default_factory=dict)
    wish: Wish | None = None
    alone: AloneTime = AloneTime()
    suspected_at_ms: Mapping[str, int] = field(default_factory=dict)
    tokens_asked_at_ms: int | None = None
    taken_at_ms: int = 0
    rejoined: str = ""
    drain: str = ""
