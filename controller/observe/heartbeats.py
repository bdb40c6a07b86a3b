"""Who has stopped beating: one read per interval for all users of a pool, kept until the next.

A gateway that restarts takes all its heartbeats with it. So where more than a fifth of those who beat stop together
(and more than a handful), the witness is Unknown about them: they count as silent only if they have not beaten again
after a while. Times of beats are those of Redis. Neighbours: `triggers.heartbeats` reads, `observe.match` asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.facts.match import HeartbeatFacts

_MANY = 0.2
_HANDFUL = 5
_DOUBT = timedelta(minutes=5)
_LATE = 2 / 3


@dataclass(frozen=True, slots=True)
class Heard:
    """What an interval brought: who is silent for certain and was not before, and how many fell silent at once."""

    newly_silent: tuple[str, ...] = ()
    doubted: int = 0


class HeartbeatView:
    """The silent users of each pool, by namespace; `after_seconds` is how long silence lasts before it counts."""

    def __init__(self, after_seconds: float, *, decide_alone: bool) -> None:
        self.after_seconds = after_seconds
        self._decide_alone = decide_alone
        self._silent: dict[str, Mapping[str, int]] = {}
        self._doubted: dict[str, dict[str, datetime]] = {}

    @property
    def late_after_seconds(self) -> float:
        """For how long somebody has not beaten who may be falling silent."""
        return self.after_seconds * _LATE

    def heard(self, namespace: str, beating: int, last_beat_ms: Mapping[str, int], at_ms: int, now: datetime) -> Heard:
        """Take in one read: `last_beat_ms` has all who are late at `at_ms`, out of `beating` who ever beat."""
        known, before = self._silent.get(namespace, {}), self.silent(namespace)
        silent = {who: at for who, at in last_beat_ms.items() if at_ms - at >= self.after_seconds * 1000}
        doubted = {
            who: until for who, until in self._doubted.get(namespace, {}).items() if who in silent and now < until
        }
        fresh = [who for who in silent if who not in known]
        # Beats of one gateway are spread over an interval: when the first of its users counts as silent the others are
        # late already, and when the last one does the first ones have been silent for no longer than that.
        spread_ms = (self.after_seconds - self.late_after_seconds) * 1000
        stopped_at = min((silent[who] for who in fresh), default=0) - spread_ms
        crowd = sum(at >= stopped_at for at in last_beat_ms.values()) if fresh else 0
        is_doubtful = crowd > max(_HANDFUL, _MANY * beating)
        if is_doubtful:
            doubted.update(dict.fromkeys(fresh, now + _DOUBT))
        self._silent[namespace], self._doubted[namespace] = silent, doubted
        newly = tuple(who for who in self.silent(namespace) if who not in before)
        return Heard(newly, len(fresh) if is_doubtful else 0)

    def silent(self, namespace: str) -> Mapping[str, int]:
        """Who is silent for certain, with the last beat."""
        doubted = self._doubted.get(namespace, {})
        return {who: at for who, at in self._silent.get(namespace, {}).items() if who not in doubted}

    def facts(self, namespace: str, identities: Iterable[str], since_ms: int) -> HeartbeatFacts:
        """Who of `identities` has beaten since the claim at `since_ms`, and is silent now."""
        last = self._silent.get(namespace, {})
        doubted = self._doubted.get(namespace, {})
        silent = frozenset(who for who in identities if last.get(who, -1) >= since_ms > 0 and who not in doubted)
        return HeartbeatFacts(silent, self.after_seconds, self._decide_alone)
