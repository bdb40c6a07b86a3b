"""The replies of the scripts that write a Match's ledger: claim, advance, settle and witness."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias, cast

from controller.api.tolerant import unknown_word
from controller.clients.reading import NO_SENSE, moment_ms
from controller.clients.redis.replies.refusals import FENCED, Lost, Settled, Stale, Unclaimed
from controller.clients.redis.replies.table import ReplyTable, is_replay, milliseconds, pairs
from controller.errors import clip
from controller.facts.ledger import Cause, Destination, End, SettledUser

# claim


@dataclass(frozen=True, slots=True)
class ClaimedUser:
    """A user whom the Match holds; `score_ms` is their former place in the queue, None if they had none."""

    id: str
    score_ms: int | None


@dataclass(frozen=True, slots=True)
class ClaimOk:
    """All users are held by this Match."""

    users: tuple[ClaimedUser, ...]
    replay: bool


@dataclass(frozen=True, slots=True)
class ClaimBusy:
    """`id` is held by another Match."""

    id: str
    holder_uid: str


@dataclass(frozen=True, slots=True)
class ClaimReserved:
    """`id` is reserved for the Match of another name."""

    id: str
    match_name: str


@dataclass(frozen=True, slots=True)
class ClaimNotQueued:
    """`id` does not wait in the queue, and the claim is for waiting users only."""

    id: str


@dataclass(frozen=True, slots=True)
class ClaimBlocked:
    """`id` is blocked."""

    id: str


ClaimReply: TypeAlias = ClaimOk | ClaimBusy | ClaimReserved | ClaimNotQueued | ClaimBlocked | Settled | Stale | Lost


def _claimed(kind: str, *rest: str) -> ClaimOk:
    users = tuple(ClaimedUser(user_id, milliseconds(score)) for user_id, score in pairs(rest))
    return ClaimOk(users, replay=is_replay(kind))


CLAIM: Final = ReplyTable[ClaimReply](
    "claim",
    {
        "OK": _claimed,
        "BUSY": ClaimBusy,
        "RESERVED": ClaimReserved,
        "NOTQUEUED": ClaimNotQueued,
        "BLOCKED": ClaimBlocked,
        "SETTLED": Settled,
        **FENCED,
    },
)


# advance


class Step(StrEnum):
    """What `advance` did to a user's state."""

    CHANGED = "changed"
    SAME = "same"
    LOST = "lost"
    """The Match does not hold this user, or no longer does."""


@dataclass(frozen=True, slots=True)
class AdvanceOk:
    """The step per user."""

    users: tuple[tuple[str, Step], ...]


AdvanceReply: TypeAlias = AdvanceOk | Settled | Unclaimed | Stale | Lost


def _advanced(*rest: str) -> AdvanceOk:
    return AdvanceOk(tuple((user_id, Step(step)) for user_id, step in pairs(rest)))


ADVANCE: Final = ReplyTable[AdvanceReply](
    "advance", {"OK": _advanced, "SETTLED": Settled, "UNCLAIMED": Unclaimed, **FENCED}
)


# settle


@dataclass(frozen=True, slots=True)
class SettleOk:
    """The users are settled. `end` is the end in the ledger, even if another request wrote it; None without a cause."""

    users: tuple[SettledUser, ...]
    end: End | None
    replay: bool


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A final settle did not name `id`, whom the Match still holds."""

    id: str


SettleReply: TypeAlias = SettleOk | Incomplete | Unclaimed | Stale | Lost


def parse_outcome(user_id: str, text: str, detail: str) -> SettledUser:
    """Read an outcome as the ledger spells it: `WAITING:<score>`, `IDLE` or `LOST`.

    Any other text is that of another version, or damaged. The user is settled all the same.
    """
    name, _, score = text.partition(":")
    known = name in Destination.__members__
    outcome = Destination(name) if known else cast("Destination", unknown_word(Destination, clip(name)))
    try:
        return SettledUser(user_id, outcome, milliseconds(score), detail)
    except NO_SENSE:
        return SettledUser(user_id, outcome, None, detail)


def _settled(kind: str, reason: str, initiator: str, message: str, evidence: str, at_ms: str, *rest: str) -> SettleOk:
    return SettleOk(
        tuple(
            parse_outcome(user_id, outcome, detail)
            for user_id, outcome, detail in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
        ),
        End(Cause(reason, initiator, clip(message), evidence), moment_ms(at_ms)) if at_ms else None,
        replay=is_replay(kind),
    )


SETTLE: Final = ReplyTable[SettleReply](
    "settle", {"OK": _settled, "INCOMPLETE": Incomplete, "UNCLAIMED": Unclaimed, **FENCED}
)


# witness


class Verdict(StrEnum):
    """What `witness` did with an event besides writing it to the stream."""

    STORED = "stored"
    OLDER = "older"
    """A later event of this participant is known already."""
    DUPLICATE = "duplicate"
    SETTLED = "settled"
    ABSENT = "absent"
    """No Match of this UID is known."""
    STRANGER = "stranger"
    """The event is about a participant who is no user of the Match, such as an agent."""
    UNADDRESSED = "unaddressed"
    """The event names no participant of a Match."""


@dataclass(frozen=True, slots=True)
class WitnessReply:
    """`entry_id` is the event's place in the stream."""

    entry_id: str
    verdict: Verdict


def _witnessed(entry_id: str, verdict: str) -> WitnessReply:
    return WitnessReply(entry_id, Verdict(verdict))


WITNESS: Final = ReplyTable[WitnessReply]("witness", {"OK": _witnessed})
