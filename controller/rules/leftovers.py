"""The table of leftovers in Redis: how each is found, how its age is known, and what is done about it. Pure.

Whatever is over has a TTL, and what lives is listed (`live`, `heartbeats`). A leftover is a key that has neither: an
older version, another client or a damaged key left it. Each row of `LEFTOVERS` names the keys of one form; its judge
says what follows from what was seen of one of them. "Could not read" judges nothing. Neighbors: `facts.leftover` has
the values, `backends.cleaning` asks Kubernetes before anything is done, docs/sweep.md has the same table for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from controller.facts.leftover import Leftover, Remedy, SeenKey, SweepKind
from controller.rules import leftover_judges as judges
from controller.rules.leftover_judges import Judge, Look


class FoundBy(StrEnum):
    """How a leftover is found."""

    LISTING = "the list of LiveKit's rooms"
    LIVE = "the sorted set `live`"
    RESERVED = "the sorted set `reserved`"
    BEATS = "the sorted set `heartbeats`"
    SCAN = "SCAN"


class AgeBy(StrEnum):
    """How the age of a leftover is known."""

    ROUNDS = "it was so in an earlier round"
    DEADLINE = "its deadline is over"
    SINCE = "`since`"
    UPDATED = "`lastUpdated`"
    CREATED = "`createdAt`"
    SCORE = "its score"
    NEWEST = "its newest entry"
    IDLE = "OBJECT IDLETIME"
    AT_ONCE = "it needs none: Kubernetes or Redis says that it is over"
    NONE = "not at all: it gets a TTL"


@dataclass(frozen=True, slots=True)
class LeftoverRule:
    """One row: which leftover, how it is found, how its age is known, and by which request it is cleaned.

    `form` is the key as in `KEY_RULES`. `judge` is for what SCAN finds; the others are found with their age.
    """

    kind: SweepKind
    form: str
    what: str
    found: FoundBy
    age: AgeBy
    remedies: tuple[Remedy, ...]
    script: str
    judge: Judge | None = None


def judge(seen: SeenKey, look: Look) -> Leftover | None:
    """What is to be done about a key without a TTL; None if it is to be left alone."""
    found = (row.judge(seen, look) for row in _BY_FORM.get(seen.form, ()) if row.judge is not None)
    return next((leftover for leftover in found if leftover is not None), None)


def kinds_of(form: str) -> frozenset[SweepKind]:
    """What keys of this form, up to the id, can be left over as."""
    return frozenset(row.kind for row in _BY_FORM.get(form, ()))


def forms_of(kind: SweepKind) -> tuple[str, ...]:
    """The forms of keys, up to the id, that a scan looks at for leftovers of this kind."""
    return tuple(form for form, rows in _BY_FORM.items() if any(row.kind is kind for row in rows))


_K, _R, _F, _A = SweepKind, Remedy, FoundBy, AgeBy
_FLAG: Final = "a flag of an older client without a TTL"

LEFTOVERS: Final = (
    LeftoverRule(
        _K.ROOMS, "", "a LiveKit room with our mark, and without its Room",
        _F.LISTING, _A.ROUNDS, (_R.CLOSE,), "",
    ),
    LeftoverRule(
        _K.ROOMS, "", "a LiveKit room that a client made again after its end; its tombstone says so",
        _F.LISTING, _A.AT_ONCE, (_R.CLOSE,), "",
    ),
    LeftoverRule(
        _K.MATCHES, "live", "a Match that is gone, and whose ledger still holds users",
        _F.LIVE, _A.AT_ONCE, (_R.SETTLE,), "settle",
    ),
    LeftoverRule(
        _K.MATCHES, "live", "a Match that is gone, and of which there is no ledger",
        _F.LIVE, _A.AT_ONCE, (_R.SETTLE,), "settle",
    ),
    LeftoverRule(
        _K.USERS, "reserved", "a reservation for which no Match came",
        _F.RESERVED, _A.DEADLINE, (_R.RELEASE,), "unreserve",
    ),
    LeftoverRule(
        _K.HEARTBEATS, "heartbeats", "the beat of a user who is idle, unknown, or silent for long",
        _F.BEATS, _A.SCORE, (_R.RETIRE,), "expire",
    ),
    LeftoverRule(
        _K.USERS, "user:<id>", "a user whom a Match holds that is gone, or who is in the call of no Match",
        _F.SCAN, _A.SINCE, (_R.FREE,), "free", judges.held,
    ),
    LeftoverRule(
        _K.USERS, "user:<id>", "a user who waits, and is neither in the queue nor reserved",
        _F.SCAN, _A.SINCE, (_R.FREE,), "free", judges.waiting_nowhere,
    ),
    LeftoverRule(
        _K.USERS, "user:<id>", "the record of an idle user",
        _F.SCAN, _A.SINCE, (_R.EXPIRE,), "drop", judges.idle_user,
    ),
    LeftoverRule(
        _K.USERS, "user:<id>", "the record of a user without a state",
        _F.SCAN, _A.NONE, (_R.EXPIRE,), "drop", judges.unreadable_user,
    ),
    LeftoverRule(
        _K.USERS, "recent:<id>", "the last partners of a user",
        _F.SCAN, _A.IDLE, (_R.DELETE, _R.EXPIRE), "drop", judges.of_idle_key(_K.USERS, "the last partners of a user"),
    ),
    *(
        LeftoverRule(
            _K.USERS, form, _FLAG,
            _F.SCAN, _A.IDLE, (_R.DELETE, _R.EXPIRE), "drop", judges.of_idle_key(_K.USERS, _FLAG),
        )
        for form in ("force-disconnect:<id>", "skip-in-progress:<id>", "pre-skip:<id>")
    ),
    LeftoverRule(
        _K.ROOMS, "room:<LiveKit name>", "the record of a room that is gone",
        _F.SCAN, _A.UPDATED, (_R.DELETE, _R.EXPIRE), "drop", judges.room_record,
    ),
    LeftoverRule(
        _K.ROOMS, "room-deleted:<LiveKit name>", "the tombstone of a room",
        _F.SCAN, _A.IDLE, (_R.DELETE, _R.EXPIRE), "drop", judges.of_idle_key(_K.ROOMS, "the tombstone of a room"),
    ),
    LeftoverRule(
        _K.SESSIONS, "session:<session id>", "the session of a Match that is gone",
        _F.SCAN, _A.IDLE, (_R.DELETE, _R.EXPIRE), "drop", judges.session,
    ),
    LeftoverRule(
        _K.MATCHES, "match:<uid>", "the ledger of a Match that is over",
        _F.SCAN, _A.AT_ONCE, (_R.EXPIRE,), "drop", judges.settled_ledger,
    ),
    LeftoverRule(
        _K.MATCHES, "match:<uid>", "a ledger that holds users, of a Match that is gone and that `live` does not list",
        _F.SCAN, _A.CREATED, (_R.SETTLE,), "settle", judges.unlisted_ledger,
    ),
    LeftoverRule(
        _K.MATCHES, "match:<uid>", "a ledger without users, of a Match that is gone",
        _F.SCAN, _A.NONE, (_R.EXPIRE,), "drop", judges.empty_ledger,
    ),
    LeftoverRule(
        _K.MATCHES, "tokens:<uid>", "the tokens of a Match that is gone",
        _F.SCAN, _A.IDLE, (_R.DELETE, _R.EXPIRE), "drop", judges.tokens,
    ),
    LeftoverRule(
        _K.NOTICES, "notify:<id>", "the notices for a user's client",
        _F.SCAN, _A.NEWEST, (_R.DELETE, _R.EXPIRE), "drop", judges.notices,
    ),
)  # fmt: skip
"""Every leftover that is looked for."""


def _by_form() -> Mapping[str, tuple[LeftoverRule, ...]]:
    found: dict[str, tuple[LeftoverRule, ...]] = {}
    for row in LEFTOVERS:
        if row.found is FoundBy.SCAN:
            stem = row.form.partition("<")[0]
            found[stem] = (*found.get(stem, ()), row)
    return MappingProxyType(found)


_BY_FORM: Final = _by_form()

SCANNED: Final = frozenset(_BY_FORM)
"""The forms of keys, up to the id, that a scan looks at."""
