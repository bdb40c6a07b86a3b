"""The ledger of a Match as a value: whom it claimed, from where, what became of them, and why it ended.

Redis keeps it under `match:<uid>`; `clients.redis.ledger` reads it, `plan` decides on it. It is the commit point of an
ending: the first cause that is stored stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import orjson


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a Match ended. Stored by the first settle that names a reason; later ones cannot replace it.

    `evidence` is free text for people and machines (JSON, say): what was seen, and by which witness.
    """

    reason: str = ""
    initiator: str = ""
    message: str = ""
    evidence: str = ""


class Outcome(StrEnum):
    """Where a user went when the Match let go of them."""

    WAITING = "WAITING"
    IDLE = "IDLE"
    LOST = "LOST"
    """The Match did not hold this user."""


@dataclass(frozen=True, slots=True)
class SettledUser:
    """`score_ms` is the place in the queue of who is WAITING; `detail` is what the settle said about them."""

    id: str
    outcome: Outcome
    score_ms: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The end as the ledger has it: the first cause, and when it was stored."""

    cause: Cause
    at_ms: int


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last LiveKit event about a participant; times are 0 where LiveKit did not say."""

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
    """That the call be over, as a gateway's signal or an older client's flag said it: `action` is skip, end or
    disconnect. `user` is who skips or ends, or who is to be disconnected; `by` is who says so, where that is told.
    """

    action: str
    user: str
    by: str = ""
    reason: str = ""
    via: str = ""
    at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Solo:
    """How long one was alone in the call: in all before, and since when now (None: nobody is)."""

    before_ms: int = 0
    since_ms: int | None = None

    def after(self, *, alone: bool, now_ms: int) -> Solo:
        """The same when somebody has become, or has ceased to be, alone."""
        if alone == (self.since_ms is not None):
            return self
        if self.since_ms is None:
            return Solo(self.before_ms, now_ms)
        return Solo(self.before_ms + max(0, now_ms - self.since_ms))


@dataclass(frozen=True, slots=True)
class Ledger:
    """`queued_at_ms` has every user of the Match: their place in the queue before, None if they had none.

    `outcomes` has those who are settled; `last` those about whom LiveKit sent an event; `suspected_at_ms` those whose
    gateway has lost them. `taken_at_ms` is the claim by the clock of Redis, for comparisons with beats.
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
    queued_at_ms: Mapping[str, int | None] = field(default_factory=dict)
    outcomes: Mapping[str, SettledUser] = field(default_factory=dict)
    end: End | None = None
    last: Mapping[str, LastEvent] = field(default_factory=dict)
    wish: Wish | None = None
    solo: Solo = Solo()
    suspected_at_ms: Mapping[str, int] = field(default_factory=dict)
    tokens_asked_at_ms: int | None = None
    taken_at_ms: int = 0

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Users whom the Match still holds."""
        return tuple(user_id for user_id in self.queued_at_ms if user_id not in self.outcomes)
