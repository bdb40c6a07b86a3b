"""What a leader leaves to its successor on the Lease: when LiveKit answered last, and the silences before.

Windows count from the times in the statuses and in the ledgers, which outlive a replica; so must the silences that move
them, or a restart would end the calls that an outage had kept open. A restart is a silence itself: from LiveKit's last
answer to the old leader until its first answer to the new one. Neighbors: `backends.lease` carries the text and knows
nothing of it; `views.silences` has the records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog

from controller.backends.lease import Predecessor
from controller.backends.servers import Servers
from controller.clock import Clock
from controller.facts.silences import LONG_AGO, Silence
from controller.facts.time import from_milliseconds, milliseconds
from controller.views.silences import MAX_SILENCES, SilenceRecord

log = structlog.get_logger(__name__)

_REDIS = "redis"


@dataclass(frozen=True, slots=True)
class _Left:
    """What the Lease says about one backend; `answered_at` is None where nothing is known."""

    answered_at: datetime | None = None
    silences: tuple[Silence, ...] = ()


class Handover:
    """Writes and reads the annotation of the Lease."""

    def __init__(self, redis: SilenceRecord, clock: Clock) -> None:
        self._servers: Servers | None = None
        self._redis = redis
        self._clock = clock

    def write(self) -> str:
        """What a successor has to know at this moment, as JSON; times in ms. Empty unless this replica leads."""
        if self._servers is None:
            return ""
        now = self._clock.now()
        left = {_REDIS: _text(self._redis, now)}
        for server in self._servers:
            answered = milliseconds(server.view.answered_at)
            left[f"livekit/{server.name}"] = {"answered": answered, **_text(server.view.silences, now)}
        return orjson.dumps(left).decode()

    def begin(self, servers: Servers, predecessor: Predecessor) -> None:
        """Begin a term with `servers` where the predecessor stopped.

        Of one that left no readable text, only the time of its last renewal is known; without a predecessor, nothing.
        """
        now = self._clock.now()
        left = _parse(predecessor.handover)
        self._redis.inherit(left.get(_REDIS, _Left()).silences, now)
        self._servers = servers
        for server in servers:
            known = left.get(f"livekit/{server.name}", _Left())
            server.view.silences.inherit(known.silences, now)
            server.view.succeed(min(now, known.answered_at or predecessor.renewed_at or LONG_AGO))

    def end(self) -> None:
        """The term is over: another replica writes from now on."""
        self._servers = None


def _text(record: SilenceRecord, now: datetime) -> dict[str, Any]:
    silences = record.at(now).known
    return {"silences": [[milliseconds(one.start), milliseconds(one.end)] for one in silences]}


def _parse(text: str) -> dict[str, _Left]:
    """The annotation as values. A client may have written anything there, so whatever cannot be read is left out."""
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        log.warning("the lease has an annotation that cannot be read: silences of earlier leaders are not known")
        return {}
    return {name: _left(value) for name, value in found.items() if isinstance(value, dict)}


def _left(value: dict[str, Any]) -> _Left:
    rows = value.get("silences")
    return _Left(_moment(value.get("answered")), tuple(_silences(rows))[-MAX_SILENCES:])


def _silences(rows: Any) -> Iterator[Silence]:
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, list) or len(row) != 2:
            continue
        start, end = map(_moment, row)
        if start is not None and end is not None and start < end:
            yield Silence(start, end)


def _moment(value: Any) -> datetime | None:
    """A time in ms; None where it is none, or none that a calendar has."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    try:
        return from_milliseconds(value)
    except OverflowError:
        return None
