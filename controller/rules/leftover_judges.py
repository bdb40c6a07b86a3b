"""What follows from a key without a TTL that a scan saw: one small judge for each kind of leftover. Pure.

"Could not read" judges nothing: a time that is none is never old. Neighbors: the table `rules.leftovers` names a judge
for each form of key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from controller.api.states import UserState
from controller.facts.leftover import Leftover, Remedy, SeenKey, SweepKind

YOUNG_SECONDS: Final = 60
"""A user whose state does not fit any Match is left alone for so long: a step may be under way."""

_LONGEST: Final = 19
_ANY_HOLDER: Final = frozenset({UserState.CONNECTING, UserState.IN_CALL, UserState.DISCONNECTING})


@dataclass(frozen=True, slots=True)
class Look:
    """When a key is judged, in which pool, and from which age on it is a leftover.

    `lives` says whether a Match with this UID may still be alive.
    """

    namespace: str
    now_ms: int
    max_age_seconds: int
    lives: Callable[[str], bool]
    young_seconds: int = YOUNG_SECONDS

    def is_old(self, moment: str, seconds: int) -> bool:
        """Whether a time in milliseconds, as Redis has it, is that long ago. False for what is no time."""
        return _is_time(moment) and int(moment) <= self.now_ms - seconds * 1000

    def is_young(self, moment: str, seen: SeenKey) -> bool:
        """Whether a step that began then may be under way.

        Our scripts write the moment of each step. Where there is none, or it lies in the future, another client wrote
        the record: then it counts as young as long as it was written or read a moment ago.
        """
        if _is_time(moment) and int(moment) <= self.now_ms + self.young_seconds * 1000:
            return not self.is_old(moment, self.young_seconds)
        return seen.idle_seconds is not None and seen.idle_seconds < self.young_seconds


def _is_time(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _LONGEST


Judge: TypeAlias = Callable[[SeenKey, Look], Leftover | None]


def held(seen: SeenKey, look: Look) -> Leftover | None:
    """A user whom a Match holds that does not live, or a user in a call of no Match."""
    state, uid, since = (seen.fields.get(name, "") for name in ("state", "match", "since"))
    if not uid and state not in _ANY_HOLDER:
        return None
    if look.is_young(since, seen) or (uid and look.lives(uid)):
        return None
    why = f"{state or 'held'}, and the match {uid} does not live" if uid else f"{state}, and in no match"
    return _user(seen, look, Remedy.FREE, why)


def waiting_nowhere(seen: SeenKey, look: Look) -> Leftover | None:
    """A user who waits, and is neither in the queue nor reserved: no matchmaker ever sees them."""
    fields = seen.fields
    if fields.get("match") or fields.get("state") != UserState.WAITING:
        return None
    if look.is_young(fields.get("since", ""), seen):
        return None
    return _user(seen, look, Remedy.FREE, "WAITING, and neither in the queue nor reserved")


def idle_user(seen: SeenKey, look: Look) -> Leftover | None:
    """The record of an idle user that has no end."""
    fields = seen.fields
    if fields.get("match") or fields.get("state") != UserState.IDLE:
        return None
    if not look.is_old(fields.get("since", ""), look.max_age_seconds):
        return None
    return _user(seen, look, Remedy.EXPIRE, "IDLE for long, and its record has no TTL")


def _user(seen: SeenKey, look: Look, remedy: Remedy, why: str) -> Leftover:
    return Leftover(
        SweepKind.USERS,
        remedy,
        look.namespace,
        seen.id,
        why,
        key=seen.key,
        type=seen.type,
        match=seen.fields.get("match", ""),
        name=seen.fields.get("matchName", ""),
        unchanged={name: seen.fields.get(name, "") for name in ("state", "match", "since")},
    )


def unreadable_user(seen: SeenKey, look: Look) -> Leftover | None:
    """A record of a user that says nothing: no script reads it, and only its owner can write it again."""
    if seen.fields.get("state") or seen.fields.get("match"):
        return None
    return _without_age(SweepKind.USERS, seen, look, "the record of a user has no state", still=("state", "match"))


def room_record(seen: SeenKey, look: Look) -> Leftover | None:
    updated = seen.fields.get("lastUpdated", "")
    if not updated:
        why = "the record of a room does not say when it was written"
        return _without_age(SweepKind.ROOMS, seen, look, why, still=("lastUpdated",))
    if not look.is_old(updated, look.max_age_seconds):
        return None
    return Leftover(
        SweepKind.ROOMS,
        Remedy.DELETE,
        look.namespace,
        seen.id,
        "the record of a room was not written for long, and has no TTL",
        key=seen.key,
        type=seen.type,
        name=seen.fields.get("roomName", ""),
        unchanged={"lastUpdated": updated},
    )


def settled_ledger(seen: SeenKey, look: Look) -> Leftover | None:
    if not seen.fields.get("settled"):
        return None
    why = "the ledger of a match that is over has no TTL"
    return _match(seen, look, Remedy.EXPIRE, why, unchanged={"settled": seen.fields["settled"]})


def unlisted_ledger(seen: SeenKey, look: Look) -> Leftover | None:
    """A ledger that holds users, of a Match that does not live. What `live` lists, the light sweep finds first."""
    fields = seen.fields
    if fields.get("settled") or not fields.get("claimed") or look.lives(seen.id):
        return None
    if look.is_young(fields.get("createdAt", ""), seen):
        return None
    return _match(seen, look, Remedy.SETTLE, "the ledger of a match that does not live still holds users")


def empty_ledger(seen: SeenKey, look: Look) -> Leftover | None:
    if seen.fields.get("settled") or seen.fields.get("claimed") or look.lives(seen.id):
        return None
    return _without_age(SweepKind.MATCHES, seen, look, "a ledger has no users", match=seen.id)


def _match(seen: SeenKey, look: Look, remedy: Remedy, why: str, unchanged: Mapping[str, str] = {}) -> Leftover:
    return Leftover(
        SweepKind.MATCHES,
        remedy,
        look.namespace,
        seen.id,
        why,
        key=seen.key,
        type=seen.type,
        match="" if remedy is Remedy.EXPIRE else seen.id,
        name=seen.fields.get("matchName", ""),
        unchanged=unchanged,
    )


def tokens(seen: SeenKey, look: Look) -> Leftover | None:
    if look.lives(seen.id):
        return None
    return _by_idle_time(SweepKind.MATCHES, seen, look, "tokens of a match that does not live", match=seen.id)


def session(seen: SeenKey, look: Look) -> Leftover | None:
    if seen.value and look.lives(seen.value):
        return None
    why = "the session of a match that does not live"
    found = _by_idle_time(SweepKind.SESSIONS, seen, look, why, match=seen.value)
    # It was read, so its idle time has begun again.
    return replace(found, idle_seconds=0, unchanged={"": seen.value}) if found is not None else None


def notices(seen: SeenKey, look: Look) -> Leftover | None:
    if not seen.value:
        return _without_age(SweepKind.NOTICES, seen, look, "a stream of notices is empty", still=("",))
    if not look.is_old(seen.value, look.max_age_seconds):
        return None
    return Leftover(
        SweepKind.NOTICES,
        Remedy.DELETE,
        look.namespace,
        seen.id,
        "the newest notice is old, and the stream has no TTL",
        key=seen.key,
        type=seen.type,
        unchanged={"": seen.value},
    )


def of_idle_key(kind: SweepKind, what: str) -> Judge:
    def judge_idle(seen: SeenKey, look: Look) -> Leftover | None:
        return _by_idle_time(kind, seen, look, what)

    return judge_idle


def _by_idle_time(kind: SweepKind, seen: SeenKey, look: Look, what: str, match: str = "") -> Leftover | None:
    """A key without a field that tells its age. Where Redis does not tell the idle time, it gets a TTL."""
    if seen.idle_seconds is None:
        return _without_age(kind, seen, look, what, match=match)
    if seen.idle_seconds < look.max_age_seconds:
        return None
    return Leftover(
        kind,
        Remedy.DELETE,
        look.namespace,
        seen.id,
        f"{what}: not touched for long, and without a TTL",
        key=seen.key,
        type=seen.type,
        match=match,
        idle_seconds=look.max_age_seconds,
    )


def _without_age(
    kind: SweepKind, seen: SeenKey, look: Look, what: str, match: str = "", still: Sequence[str] = ()
) -> Leftover:
    """A key whose age is not known: it goes after the time after which an old one would, unless it is written again.

    `still` names what must still be missing then: a key of another type has none of it.
    """
    return Leftover(
        kind,
        Remedy.EXPIRE if look.max_age_seconds else Remedy.DELETE,
        look.namespace,
        seen.id,
        f"{what}, and its age is not known",
        key=seen.key,
        type=seen.type,
        match=match,
        unchanged=dict.fromkeys(still, "") if seen.type in {"hash", "stream"} else {},
        ttl_seconds=look.max_age_seconds,
    )
