"""The other replies to `clients.redis.pool` and `clients.redis.outbox`: rooms, tokens, notices, incarnation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from controller.clients.redis.replies.refusals import FENCED, Lost, Settled, Stale, Unclaimed
from controller.clients.redis.replies.table import ReplyTable, is_replay

# room and tokens


@dataclass(frozen=True, slots=True)
class Written:
    """It is written; perhaps it was before."""


@dataclass(frozen=True, slots=True)
class RoomOver:
    """The room's record is closed, or the room has a tombstone: it stays so."""


@dataclass(frozen=True, slots=True)
class RoomAbsent:
    """There is no record to close."""


RoomReply: TypeAlias = Written | RoomOver | RoomAbsent | Stale | Lost
TokensReply: TypeAlias = Written | Settled | Unclaimed | Stale | Lost

ROOM: Final = ReplyTable[RoomReply]("room", {"OK": Written, "OVER": RoomOver, "ABSENT": RoomAbsent, **FENCED})
TOKENS: Final = ReplyTable[TokensReply]("tokens", {"OK": Written, "SETTLED": Settled, "UNCLAIMED": Unclaimed, **FENCED})


# serve

ServeReply: TypeAlias = Written | Stale | Lost

SERVE: Final = ReplyTable[ServeReply]("serve", {"OK": Written, **FENCED})


# notify


@dataclass(frozen=True, slots=True)
class Told:
    """How many users got a notice that they did not have before."""

    users: int


ToldReply: TypeAlias = Told | Stale | Lost


def _told(users: str) -> Told:
    return Told(int(users))


DrainReply: TypeAlias = Told | Settled | Unclaimed | Stale | Lost

DRAIN: Final = ReplyTable[DrainReply]("drain", {"OK": _told, "SETTLED": Settled, "UNCLAIMED": Unclaimed, **FENCED})

NOTIFY: Final = ReplyTable[ToldReply]("notify", {"OK": _told, **FENCED})


# errors


@dataclass(frozen=True, slots=True)
class Recorded:
    """The errors are in the records; `replay` if they were before."""

    kind: str

    @property
    def replay(self) -> bool:
        """Whether the same request was written before."""
        return is_replay(self.kind)


RECORDED: Final = ReplyTable[Recorded]("errors", {"OK": Recorded})


# mend


def _names(*names: str) -> tuple[str, ...]:
    return names


MENDED: Final = ReplyTable[tuple[str, ...]]("mend", {"OK": _names})


# repair

REPAIRED: Final = ReplyTable[tuple[str, ...]]("repair", {"OK": _names})


# incarnation

RESTORING: Final = "restoring:"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """Which life of Redis this is. While `restoring`, only claims with mode Restore are accepted."""

    value: str

    @property
    def restoring(self) -> bool:
        """The ledgers are being rebuilt from the Matches' statuses."""
        return self.value.startswith(RESTORING)


IncarnationReply: TypeAlias = Incarnation | Stale | Lost

INCARNATION: Final = ReplyTable[IncarnationReply]("incarnation", {"OK": Incarnation, **FENCED})
