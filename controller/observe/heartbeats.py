"""Who has stopped beating: one read per interval for all users of a pool, kept until the next.

A gateway that restarts takes all its heartbeats with it. So where more than a fifth of those who beat fall silent
within one interval (and more than a handful), the witness is Unknown about them: they count as silent only if they
have not beaten again after a while. Times of beats are those of Redis. Neighbours: `triggers.heartbeats` reads,
`observe.match` asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.facts.match import HeartbeatFacts

_MANY = 0.2
_HANDFUL = 5
_DOUBT = timedelta(minutes=5)


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

    def heard(self, namespace: str, beating: int, last_beat_ms: Mapping[str, int], now: datetime) -> Heard:
        """Take in one read: `last_beat_ms` has all who are silent, `beating` counts everybody who ever beat."""
        known = self._silent.get(namespace, {})
        before = self.silent(namespace)
        doubted = {
            who: until for who, until in self._doubted.get(namespace, {}).items() if who in last_beat_ms and now < until
        }
        fresh = [who for who in last_beat_ms if who not in known]
        is_doubtful = len(fresh) > max(_HANDFUL, _MANY * beating)
        if is_doubtful:
            doubted.update(dict.fromkeys(fresh, now + _DOUBT))
        self._silent[namespace], self._doubted[namespace] = last_beat_ms, doubted
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
