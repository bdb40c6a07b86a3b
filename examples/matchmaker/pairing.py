"""The rules for pairs, and the names of their Matches. Pure: `matchmaker` passes in who waits, and reserves the pairs.

Change this module for your own product: languages, levels, blocks between users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Waiting:
    """A user in the queue. `since_ms` is their place; `met` has the ids of users they met lately."""

    id: str
    since_ms: int
    met: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two users who will meet; `first` has waited longer."""

    first: Waiting
    second: Waiting

    @property
    def ids(self) -> tuple[str, str]:
        return self.first.id, self.second.id


def pairs(waiting: Sequence[Waiting], *, now_ms: int, repeat_after_ms: int, is_whole_queue: bool) -> list[Pair]:
    """Pairs among `waiting`, which has the longest waiting first. The longest waiting user chooses first.

    Two users who met lately are paired again only if neither has a new partner left, and both have waited longer than
    `repeat_after_ms` or no other user waits (`is_whole_queue`: the queue holds no users but `waiting`).
    """
    found, left = _matched(waiting, _is_new)
    alone = is_whole_queue and len(waiting) == 2

    def may_meet_again(one: Waiting, other: Waiting) -> bool:
        return alone or max(one.since_ms, other.since_ms) < now_ms - repeat_after_ms

    again, _ = _matched(left, may_meet_again)
    place = {person.id: number for number, person in enumerate(waiting)}
    return sorted(found + again, key=lambda pair: place[pair.first.id])


def match_name(users: Sequence[tuple[str, int]], attempt: int = 0) -> str:
    """The name of the Match of these users in these places (id, milliseconds). The order of `users` does not matter.

    Two matchmakers that choose the same pair get the same name. The same users get another name when they have entered
    the queue again. `attempt` tells Matches apart whose users were put back in the places that they came from.
    """
    parts = (f"{user_id}\0{since_ms}" for user_id, since_ms in sorted(users))
    # NUL cannot occur in an id, so two different pairs never give the same text.
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    return f"mm-{digest}-{attempt}"


def is_match_name(name: str, users: Sequence[tuple[str, int]]) -> bool:
    """Whether `match_name` gives this name to these users in these places, at any attempt."""
    number = name.rpartition("-")[2]
    return number.isdecimal() and name == match_name(users, int(number))


def _is_new(one: Waiting, other: Waiting) -> bool:
    return other.id not in one.met and one.id not in other.met


def _matched(
    waiting: Sequence[Waiting], may_meet: Callable[[Waiting, Waiting], bool]
) -> tuple[list[Pair], list[Waiting]]:
    """Pair each user in turn with the first one behind them whom they may meet. Returns the pairs and the others."""
    found, left, open_ = [], [], list(waiting)
    while open_:
        one = open_.pop(0)
        place = next((place for place, other in enumerate(open_) if may_meet(one, other)), None)
        if place is None:
            left.append(one)
        else:
            found.append(Pair(one, open_.pop(place)))
    return found, left
