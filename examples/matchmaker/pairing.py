"""Who meets whom, and the name of their Match. Pure: `matchmaker` hands in who waits, and reserves what comes out.

This is the module to change for a product of your own: languages, levels, blocks between users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody in the queue. `since_ms` is their place, `met` are the ids of those whom they met a short while ago."""

    id: str
    since_ms: int
    met: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two people who are to meet; `first` waits longer."""

    first: Waiting
    second: Waiting

    @property
    def ids(self) -> tuple[str, str]:
        return self.first.id, self.second.id


def pairs(waiting: Sequence[Waiting], *, now_ms: int, repeat_after_ms: int, is_everybody: bool) -> list[Pair]:
    """Pairs among `waiting`, who are the longest waiting first; those who wait longest choose first.

    Two who just met are paired again only if nobody new is left for either of them, and both have waited longer than
    `repeat_after_ms` or nobody else waits at all (`is_everybody`: there is nobody in the queue but `waiting`).
    """
    found, left = _matched(waiting, _is_new)
    alone = is_everybody and len(waiting) == 2

    def may_meet_again(one: Waiting, other: Waiting) -> bool:
        return alone or max(one.since_ms, other.since_ms) < now_ms - repeat_after_ms

    again, _ = _matched(left, may_meet_again)
    place = {person.id: number for number, person in enumerate(waiting)}
    return sorted(found + again, key=lambda pair: place[pair.first.id])


def match_name(users: Sequence[tuple[str, int]], attempt: int = 0) -> str:
    """The name of the Match of these users in these places (id, milliseconds), in whatever order they are given.

    Whoever chooses the same pair chooses the same name, and the same two get another one once they have queued anew.
    `attempt` tells Matches apart whose users were put back into the very places that they had come from.
    """
    parts = (f"{user_id}\0{since_ms}" for user_id, since_ms in sorted(users))
    # NUL cannot occur in an id, so that no two pairs read the same.
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    return f"mm-{digest}-{attempt}"


def is_match_name(name: str, users: Sequence[tuple[str, int]]) -> bool:
    """Whether a Match of these users in these places gets this name from us, at some attempt."""
    number = name.rpartition("-")[2]
    return number.isdecimal() and name == match_name(users, int(number))


def _is_new(one: Waiting, other: Waiting) -> bool:
    return other.id not in one.met and one.id not in other.met


def _matched(
    waiting: Sequence[Waiting], may_meet: Callable[[Waiting, Waiting], bool]
) -> tuple[list[Pair], list[Waiting]]:
    """Each in turn gets the first of those behind them whom they may meet; the pairs, and who is left."""
    found, left, open_ = [], [], list(waiting)
    while open_:
        one = open_.pop(0)
        place = next((place for place, other in enumerate(open_) if may_meet(one, other)), None)
        if place is None:
            left.append(one)
        else:
            found.append(Pair(one, open_.pop(place)))
    return found, left
