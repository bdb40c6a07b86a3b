"""When each background loop of this replica last came round: the ages behind /livez and a metric.

A loop that died or hangs does not show anywhere else: the pod runs, and users wait. Neighbors: `app.supervisor` starts
and restarts loops, the loops in `triggers` and elsewhere beat, `telemetry.health` judges the ages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeAlias

import structlog

from controller.telemetry import metrics

log = structlog.get_logger(__name__)

_SAY_AGAIN_SECONDS = 60.0


class LoopName(StrEnum):
    """The background loops, as the label `loop` of metrics names them."""

    WATCH = "watch"
    RESYNC = "resync"
    CREDENTIALS = "credentials"
    EVENTS = "events"
    LAG = "lag"
    LEAD = "lead"
    SERVERS = "servers"
    POLLERS = "pollers"
    POLL = "poll"
    CHECKS = "checks"
    STREAMS = "streams"
    HEARTBEATS = "heartbeats"
    AUDIT = "audit"
    SWEEP = "sweep"
    POOLS = "pools"
    SEARCH = "search"
    FLAGS = "flags"
    TOKENS = "tokens"
    PEOPLE = "people"
    SERVED = "served"
    UNSERVED = "unserved"
    ASKED = "asked"
    NEIGHBORS = "neighbors"
    DRAIN = "drain"
    ERRORS = "errors"
    REDIS = "redis"
    CERTIFICATES = "certificates"


Reported: TypeAlias = Callable[[LoopName, Exception, Mapping[str, str]], None]


class Pulse:
    """The pulse of one loop. The loop calls `beat` each time it comes round, and `item` isolates what it handles.

    `limit_seconds` is the age from which on the loop counts as dead. `everyday` are the exceptions that other parts
    report. `reported` gets every exception of an item, with the name of the loop and what was named with the item.
    """

    def __init__(
        self,
        name: LoopName,
        limit_seconds: float,
        everyday: tuple[type[Exception], ...] = (),
        monotonic: Callable[[], float] = time.monotonic,
        reported: Reported | None = None,
    ) -> None:
        self.name = name
        self.limit_seconds = limit_seconds
        self._everyday = everyday
        self._monotonic = monotonic
        self._reported = reported
        self._last = monotonic()
        self._said: dict[tuple[str, ...], float] = {}

    @property
    def age_seconds(self) -> float:
        """Seconds since the last beat."""
        return self._monotonic() - self._last

    @property
    def overdue_seconds(self) -> float:
        """Seconds for which the loop has counted as dead; 0 as long as it comes round in time."""
        return max(0.0, self.age_seconds - self.limit_seconds)

    def beat(self) -> None:
        """The loop came round."""
        self._last = self._monotonic()

    @contextmanager
    def item(self, what: str, **named: str) -> Iterator[None]:
        """Isolate one item of the loop: whatever fails inside costs this item alone.

        What is not everyday is a bug, or data that no code expected: it is counted, and logged once a minute for the
        same item.
        """
        try:
            yield
        except self._everyday as error:
            self._report(error, named)
            log.debug(f"{what} is not possible at the moment", loop=self.name.value, error=str(error), **named)
        except Exception as error:  # one bad item must never stop the others
            self._report(error, named)
            metrics.item_failures.labels(self.name).inc()
            now = self._monotonic()
            subject = (what, *named.values())
            if now >= self._said.get(subject, 0.0):
                self._said = {known: until for known, until in self._said.items() if until > now}
                self._said[subject] = now + _SAY_AGAIN_SECONDS
                log.exception(f"{what} failed unexpectedly; the loop goes on", loop=self.name.value, **named)

    def _report(self, error: Exception, named: Mapping[str, str]) -> None:
        if self._reported is not None:
            self._reported(self.name, error, named)


class Pulses:
    """The pulses of all loops that run. `everyday` are exceptions that a loop may meet at any time; `reported` gets
    every exception that an item of a loop met."""

    def __init__(self, everyday: tuple[type[Exception], ...] = (), reported: Reported | None = None) -> None:
        self._everyday = everyday
        self._reported = reported
        self._running: list[Pulse] = []

    def start(self, name: LoopName, limit_seconds: float) -> Pulse:
        """Make the pulse of a loop that begins. Its failures are counted from 0 on: the first one is an increase."""
        metrics.loop_failures.labels(name)
        metrics.item_failures.labels(name)
        pulse = Pulse(name, limit_seconds, self._everyday, reported=self._reported)
        self._running.append(pulse)
        return pulse

    def stop(self, pulse: Pulse) -> None:
        """The loop has ended on purpose: it has no age."""
        self._running.remove(pulse)

    def overdue(self) -> list[Pulse]:
        """The loops that count as dead."""
        return [pulse for pulse in self._running if pulse.overdue_seconds > 0]

    def ages(self) -> dict[LoopName, tuple[float, float]]:
        """The age of each loop, and for how long it is overdue, in seconds; of several with one name, the largest."""
        ages: dict[LoopName, tuple[float, float]] = {}
        for pulse in self._running:
            age_seconds, overdue_seconds = ages.get(pulse.name, (0.0, 0.0))
            ages[pulse.name] = max(age_seconds, pulse.age_seconds), max(overdue_seconds, pulse.overdue_seconds)
        return ages
