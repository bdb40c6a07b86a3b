"""The replies to `clients.redis.inbox`: signals, silence, and users who leave the queue because they are silent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from controller.clients.reading import moment_ms, rows
from controller.clients.redis.replies.refusals import FENCED, Lost, Stale
from controller.clients.redis.replies.table import ReplyTable, is_replay, milliseconds, pairs
from controller.errors import Backend

# signal


@dataclass(frozen=True, slots=True)
class Noted:
    """The signal is in the ledger of the Match `match_name`; `replay`: an earlier wish of its kind is."""

    match_name: str
    replay: bool


class Ignored(StrEnum):
    """Why a signal has no effect."""

    UNKNOWN = "unknown"
    """No Match of this UID holds users."""
    OVER = "over"
    STRANGER = "stranger"
    """The user does not belong to that Match."""
    ELSEWHERE = "elsewhere"
    """The Match has released the user."""
    OLDER = "older"
    """The signal was sent before the call began. Of a flag: it is gone, or has another value by now."""
    TIMELESS = "timeless"
    """The id of the entry lies in the future, so it does not tell when the signal was sent."""


SignalReply: TypeAlias = Noted | Ignored | Stale | Lost


def _noted(kind: str, match_name: str) -> Noted:
    return Noted(match_name, replay=is_replay(kind))


def _ignored(why: str) -> Ignored:
    return Ignored(why)


SIGNAL: Final = ReplyTable[SignalReply]("signal", {"OK": _noted, "IGNORED": _ignored, **FENCED})


# signals


@dataclass(frozen=True, slots=True)
class SignalsDone:
    """The signals up to some entry are handled; the next read goes on after `read_on_after`."""

    read_on_after: str


SignalsReply: TypeAlias = SignalsDone | Stale | Lost

SIGNALS: Final = ReplyTable[SignalsReply]("signals", {"OK": SignalsDone, **FENCED})


# silent


@dataclass(frozen=True, slots=True)
class ScanCursor:
    """How far a search for silent users has come, in times of their last beats.

    Users whose last beat was at `known_ms` or before are known to be silent. Those up to `checked_ms` were checked
    again (None: none of them).
    """

    known_ms: int | None = None
    checked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """Users who have not beaten for a while, each with their last beat; `beating` is how many ever did.

    `at_ms` is the time of the read by the clock of Redis, which the beats have, too. `newly_silent` are those after
    the cursor that the read started from. `still_silent` are known users who were checked again, between the old
    `checked_ms` and the one of `cursor`. `stopped_together` is how many stopped with the first of the newly silent,
    including users who are only late.
    """

    beating: int
    at_ms: int
    stopped_together: int
    cursor: ScanCursor
    newly_silent: dict[str, int]
    still_silent: dict[str, int]


def _silence(
    beating: str, at_ms: str, stopped_together: str, known_ms: str, checked_ms: str, count: str, *rest: str
) -> Silence:
    beats = list(pairs(rest))
    return Silence(
        int(beating),
        moment_ms(at_ms),
        int(stopped_together),
        ScanCursor(milliseconds(known_ms), milliseconds(checked_ms)),
        newly_silent=dict(rows(Backend.REDIS, "heartbeat", beats[: int(count)], _last_beat)),
        still_silent=dict(rows(Backend.REDIS, "heartbeat", beats[int(count) :], _last_beat)),
    )


def _last_beat(row: tuple[str, str]) -> tuple[str, int]:
    user_id, score = row
    return user_id, moment_ms(score)


SILENT: Final = ReplyTable[Silence]("silent", {"OK": _silence})


# flags


_KEYS_OF_FLAGS: Final = range(1, 4)


@dataclass(frozen=True, slots=True)
class FlagRow:
    """A flag that is set: the number of its key in the request, from 1 on, the user, and its value."""

    number: int
    user_id: str
    value: str


def _flags(*parts: str) -> list[FlagRow]:
    return rows(Backend.REDIS, "flag", zip(*[iter(parts)] * 3, strict=True), _flag_row)


def _flag_row(row: tuple[str, str, str]) -> FlagRow:
    number, user_id, value = row
    if int(number) not in _KEYS_OF_FLAGS:
        raise ValueError(f"the request had no key {number}")
    return FlagRow(int(number), user_id, value)


FLAGS: Final = ReplyTable[list[FlagRow]]("flags", {"OK": _flags})


# expire


class Expiry(StrEnum):
    """What `expire` found."""

    IDLE = "idle"
    ALIVE = "alive"
    HELD = "held"
    UNKNOWN = "unknown"


ExpireReply: TypeAlias = Expiry | Stale | Lost


def _expiry(what: str) -> Expiry:
    return Expiry(what)


EXPIRE: Final = ReplyTable[ExpireReply]("expire", {"OK": _expiry, **FENCED})
