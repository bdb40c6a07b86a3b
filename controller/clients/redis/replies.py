"""What the scripts answer, as values; one parser per script.

Refusals are values, not exceptions: to be refused is an ordinary fact that a plan acts upon. In the answers
of idempotent scripts `replay` tells that the effect was already there, so a call whose reply was lost is
simply repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.errors import Backend, BackendRefused
from controller.facts.ledger import Cause, Destination, End, SettledUser

Raw = Sequence[str]

# Refusals that several scripts share


@dataclass(frozen=True, slots=True)
class Stale:
    """Somebody with a higher epoch owns the shard by now: whoever gets this must stop writing."""

    current_epoch: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Redis is not the one we knew: it lost its data, or is being restored. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The Match is over: its ledger is closed."""


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """The Match has claimed nobody: there is no ledger."""


# claim


@dataclass(frozen=True, slots=True)
class ClaimedUser:
    """A user whom the Match holds; `score_ms` is their place in the queue before, None if they had none."""

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
    """`id` does not wait in the queue, and only such users are wanted."""

    id: str


@dataclass(frozen=True, slots=True)
class ClaimBlocked:
    """`id` is banned."""

    id: str


ClaimReply = ClaimOk | ClaimBusy | ClaimReserved | ClaimNotQueued | ClaimBlocked | Settled | Stale | Lost


def parse_claim(raw: Raw) -> ClaimReply:
    """The answer of `claim`."""
    match raw:
        case ["OK", kind, *rest]:
            users = tuple(ClaimedUser(user_id, milliseconds(score)) for user_id, score in _pairs(rest))
            return ClaimOk(users, replay=kind == "replay")
        case ["SETTLED"]:
            return Settled()
    return _claim_refused(raw) or _fenced("claim", raw)


def _claim_refused(raw: Raw) -> ClaimBusy | ClaimReserved | ClaimNotQueued | ClaimBlocked | None:
    match raw:
        case ["BUSY", user_id, holder_uid]:
            return ClaimBusy(user_id, holder_uid)
        case ["RESERVED", user_id, match_name]:
            return ClaimReserved(user_id, match_name)
        case ["NOTQUEUED", user_id]:
            return ClaimNotQueued(user_id)
        case ["BLOCKED", user_id]:
            return ClaimBlocked(user_id)
    return None


# advance


class Step(StrEnum):
    """What `advance` did to a user's state."""

    CHANGED = "changed"
    SAME = "same"
    LOST = "lost"
    """The Match does not hold this user (any more)."""


@dataclass(frozen=True, slots=True)
class AdvanceOk:
    """The step per user."""

    users: tuple[tuple[str, Step], ...]


AdvanceReply = AdvanceOk | Settled | Unclaimed | Stale | Lost


def parse_advance(raw: Raw) -> AdvanceReply:
    """The answer of `advance`."""
    match raw:
        case ["OK", *rest]:
            return AdvanceOk(tuple((user_id, Step(step)) for user_id, step in _pairs(rest)))
        case ["SETTLED"]:
            return Settled()
        case ["UNCLAIMED"]:
            return Unclaimed()
    return _fenced("advance", raw)


# settle


@dataclass(frozen=True, slots=True)
class SettleOk:
    """The users are settled. `end` is what the ledger has, whoever wrote it; None before there is a cause."""

    users: tuple[SettledUser, ...]
    end: End | None
    replay: bool


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A final settle did not name `id`, whom the Match still holds."""

    id: str


SettleReply = SettleOk | Incomplete | Unclaimed | Stale | Lost


def parse_settle(raw: Raw) -> SettleReply:
    """The answer of `settle`."""
    match raw:
        case ["OK", kind, reason, initiator, message, evidence, at_ms, *rest]:
            return SettleOk(
                tuple(
                    parse_outcome(user_id, outcome, detail)
                    for user_id, outcome, detail in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
                ),
                End(Cause(reason, initiator, message, evidence), int(at_ms)) if at_ms else None,
                replay=kind == "replay",
            )
        case ["INCOMPLETE", user_id]:
            return Incomplete(user_id)
        case ["UNCLAIMED"]:
            return Unclaimed()
    return _fenced("settle", raw)


def parse_outcome(user_id: str, text: str, detail: str) -> SettledUser:
    """An outcome as the ledger spells it: `WAITING:<score>`, `IDLE` or `LOST`."""
    name, _, score = text.partition(":")
    return SettledUser(user_id, Destination(name), milliseconds(score), detail)


# signal, silent, expire, notify


@dataclass(frozen=True, slots=True)
class Noted:
    """The signal is in the ledger of the Match `match_name`; `replay`: an earlier wish of its kind is."""

    match_name: str
    replay: bool


class Ignored(StrEnum):
    """Why a signal has no effect."""

    UNKNOWN = "unknown"
    """No such Match holds anybody."""
    OVER = "over"
    STRANGER = "stranger"
    """The user is not of that Match."""
    ELSEWHERE = "elsewhere"
    """The Match has let go of the user."""
    OLDER = "older"
    """It was sent before the call began; a flag, that it is gone or says something else by now."""


SignalReply = Noted | Ignored | Stale | Lost


def parse_signal(raw: Raw) -> SignalReply:
    """The answer of `signal`."""
    match raw:
        case ["OK", kind, match_name]:
            return Noted(match_name, replay=kind == "replay")
        case ["IGNORED", why]:
            return Ignored(why)
    return _fenced("signal", raw)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a search for the silent has come, by their last beats: whoever was heard of last at `known_ms` or before
    is known, and up to `checked_ms` they were looked at again (None: none of them).
    """

    known_ms: int | None = None
    checked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """Who has not beaten for a while, with the last beat, out of `beating` who ever did; `at_ms` is now, by the clock
    that the beats have.

    `fresh` are behind what was known, and `crowd` is how many stopped with the first of them, late ones included.
    `still` are those of the known who are silent still, between what was checked before and what `reach` says now.
    """

    beating: int
    at_ms: int
    crowd: int
    reach: Reach
    fresh: dict[str, int]
    still: dict[str, int]


def parse_silent(raw: Raw) -> Silence:
    """The answer of `silent`."""
    match raw:
        case ["OK", beating, at_ms, crowd, known_ms, checked_ms, count, *rest]:
            reach = Reach(milliseconds(known_ms), milliseconds(checked_ms))
            rows = [(user_id, int(float(score))) for user_id, score in _pairs(rest)]
            fresh, still = dict(rows[: int(count)]), dict(rows[int(count) :])
            return Silence(int(beating), int(at_ms), int(crowd), reach, fresh, still)
    raise unknown_reply("silent", raw)


class Expiry(StrEnum):
    """What `expire` found."""

    IDLE = "idle"
    ALIVE = "alive"
    HELD = "held"
    UNKNOWN = "unknown"


ExpireReply = Expiry | Stale | Lost


def parse_expire(raw: Raw) -> ExpireReply:
    """The answer of `expire`."""
    match raw:
        case ["OK", what]:
            return Expiry(what)
    return _fenced("expire", raw)


@dataclass(frozen=True, slots=True)
class Told:
    """How many were told who were not before."""

    users: int


ToldReply = Told | Stale | Lost


def parse_notify(raw: Raw) -> ToldReply:
    """The answer of `notify`."""
    match raw:
        case ["OK", users]:
            return Told(int(users))
    return _fenced("notify", raw)


# room, tokens, incarnation, witness


@dataclass(frozen=True, slots=True)
class Written:
    """It is written (again, perhaps)."""


@dataclass(frozen=True, slots=True)
class RoomOver:
    """The room's record is closed, or the room has a tombstone: nothing brings it back."""


@dataclass(frozen=True, slots=True)
class RoomAbsent:
    """There is no record to be closed."""


RoomReply = Written | RoomOver | RoomAbsent | Stale | Lost
TokensReply = Written | Settled | Unclaimed | Stale | Lost


def parse_room(raw: Raw) -> RoomReply:
    """The answer of `room`."""
    match raw:
        case ["OK"]:
            return Written()
        case ["OVER"]:
            return RoomOver()
        case ["ABSENT"]:
            return RoomAbsent()
    return _fenced("room", raw)


def parse_tokens(raw: Raw) -> TokensReply:
    """The answer of `tokens`."""
    match raw:
        case ["OK"]:
            return Written()
        case ["SETTLED"]:
            return Settled()
        case ["UNCLAIMED"]:
            return Unclaimed()
    return _fenced("tokens", raw)


RESTORING = "restoring:"


@dataclass(frozen=True, slots=True)
class Incarnation:
    """Which life of Redis this is. While `restoring`, only claims with mode Restore are let through."""

    value: str

    @property
    def restoring(self) -> bool:
        """The ledgers are being rebuilt from the Matches' statuses."""
        return self.value.startswith(RESTORING)


IncarnationReply = Incarnation | Stale | Lost


def parse_incarnation(raw: Raw) -> IncarnationReply:
    """The answer of `incarnation`."""
    match raw:
        case ["OK", value]:
            return Incarnation(value)
    return _fenced("incarnation", raw)


class Verdict(StrEnum):
    """What `witness` did with an event besides writing it to the stream."""

    STORED = "stored"
    OLDER = "older"
    """A later event of this participant is known already."""
    DUPLICATE = "duplicate"
    SETTLED = "settled"
    ABSENT = "absent"
    """No such Match is known."""
    UNADDRESSED = "unaddressed"
    """The event names no participant of a Match."""


@dataclass(frozen=True, slots=True)
class WitnessReply:
    """`entry_id` is the event's place in the stream."""

    entry_id: str
    verdict: Verdict


def parse_witness(raw: Raw) -> WitnessReply:
    """The answer of `witness`."""
    match raw:
        case ["OK", entry_id, verdict]:
            return WitnessReply(entry_id, Verdict(verdict))
    raise unknown_reply("witness", raw)


# Helpers


def milliseconds(text: str) -> int | None:
    """A time or score as Redis spells it; None for the empty string."""
    return int(float(text)) if text else None


def unknown_reply(script: str, raw: Raw) -> BackendRefused:
    """For an answer that is not known here; only its first word is shown, the rest may name users."""
    word = raw[0] if raw else "nothing"
    return BackendRefused(Backend.REDIS, script, f"the script answered {word!r}, which this version does not know")


def _fenced(script: str, raw: Raw) -> Stale | Lost:
    match raw:
        case ["STALE", epoch]:
            return Stale(int(epoch))
        case ["LOST"]:
            return Lost()
    raise unknown_reply(script, raw)


def _pairs(flat: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(flat[::2], flat[1::2], strict=True)
