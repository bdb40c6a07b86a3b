"""Whether one backend, or one LiveKit server, can be used: one line in the log at each change, and a gauge.

A backend cannot be used when its breaker is open, when it refuses our credentials, or when its very first request
fails. A line has the reason in a word and in a sentence, and at the end of an outage its length. What fails because of
an outage is not told a second time: `BackendError.is_told`. Neighbors: `clients.request` reports the end of each
request, `clients.outage_reasons` has the words, `app.wiring` introduces the backends of the operator.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from controller.clients.breaker import Breaker, BreakerState
from controller.clients.outage_reasons import OutageReason
from controller.errors import Backend, BackendError, Forbidden
from controller.telemetry.meters import BreakerMeter

log = structlog.get_logger(__name__)

ANSWERS: Final = "a backend answers"
ANSWERS_AGAIN: Final = "a backend answers again"
SILENT: Final = "a backend does not answer: requests wait until it does, and nothing is decided about what it has"
REFUSES: Final = "a backend refuses our credentials: nothing is decided about what it has"
UNUSABLE: Final = "a backend cannot be used: nothing is decided about what it has"

# A backend that comes and goes would fill the log: so many outages are told within so many seconds.
_MOST_TOLD: Final = 3
_TOLD_WITHIN_SECONDS: Final = 60.0

Version = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class _Outage:
    """Since when, why, whether the backend answers with refusals, and whether the log says so."""

    since: float
    reason: OutageReason
    why: str
    is_refusal: bool
    is_told: bool


class Availability:
    """The state of one backend: `is_up` is None before the first answer or failure that says which."""

    def __init__(self, backend: Backend, server: str, breaker: Breaker) -> None:
        self._about = {"backend": str(backend)} | ({"server": server} if server else {})
        self._breaker = breaker
        self._meter = BreakerMeter(backend, server)
        self._outage: _Outage | None = None
        self._told: deque[float] = deque(maxlen=_MOST_TOLD)
        self._untold = 0
        self.address = ""
        self._version: Version | None = None
        self._greeting: tuple[asyncio.Task[None], Callable[[str], None]] | None = None
        self.is_up: bool | None = None
        self._unfollow = breaker.follow(self._breaker_changed)

    def introduce(self, address: str, version: Version | None = None) -> None:
        """Say in the log where the backend is, and whether it answers, as soon as that is known.

        `address` holds no secret. `version` asks the backend what it is; what it raises of BackendError leaves the
        version out.
        """
        self.address, self._version = address, version

    def end(self) -> None:
        """The client is no longer used. Requests that are still under way change nothing that is shown."""
        self._unfollow()
        self._greet_at_once()
        self._meter.end()

    def answered(self) -> None:
        """The backend has accepted a request."""
        if self.is_up:
            return
        outage, self._outage = self._outage, None
        self._become(is_up=True)
        if outage is not None:
            ended = {
                "away_seconds": round(time.monotonic() - outage.since, 1),
                "reason": str(outage.reason),
                "why": outage.why,
            }
            self._greet(log.info if outage.is_told else log.debug, ANSWERS_AGAIN, ended)
        elif self.address:
            self._greet(log.info, ANSWERS, {})

    def failed(self, failure: BackendError, reason: Callable[[], OutageReason], *, since: float) -> None:
        """A request that was sent at `since` was not answered."""
        is_first = self.is_up is None and bool(self.address)
        if self.is_up is not False and (is_first or not self._breaker.is_closed):
            failing_since = self._breaker.failing_since
            self._down(SILENT, failure, reason(), since if failing_since is None else failing_since)

    @property
    def is_refusing(self) -> bool:
        """Whether it is known that the backend accepts no request of ours."""
        return self._outage is not None and self._outage.is_refusal

    def refused(self, failure: BackendError, reason: OutageReason, *, since: float) -> None:
        """The backend answers a request that was sent at `since`, and accepts none of ours."""
        if not self.is_refusing:
            event = REFUSES if isinstance(failure, Forbidden) else UNUSABLE
            since = self._outage.since if self._outage is not None else since
            self._down(event, failure, reason, since, is_refusal=True)

    def _down(
        self, event: str, failure: BackendError, reason: OutageReason, since: float, *, is_refusal: bool = False
    ) -> None:
        self._greet_at_once()
        now = time.monotonic()
        is_told = len(self._told) < _MOST_TOLD or now - self._told[0] > _TOLD_WITHIN_SECONDS
        self._outage = _Outage(since, reason, failure.message, is_refusal, is_told)
        self._become(is_up=False)
        where = {"address": self.address} if self.address else {}
        fields = {**self._about, **where, "code": failure.code, "reason": str(reason), "why": failure.message}
        if is_told:
            self._told.append(now)
            log.warning(event, **fields, unlogged=self._untold)
            self._untold = 0
        else:
            self._untold += 1
            log.debug(event, **fields)

    def _become(self, *, is_up: bool) -> None:
        self.is_up = is_up
        self._meter.up(is_up=is_up)

    def _breaker_changed(self, state: BreakerState) -> None:
        self._meter.became(state)

    # ---- the line with the version, which the backend has to be asked for

    def _greet(self, say: Callable[..., object], event: str, fields: dict[str, object]) -> None:
        where = {"address": self.address} if self.address else {}

        def tell(version: str) -> None:
            self._greeting = None
            say(event, **self._about, **where, **({"version": version} if version else {}), **fields)

        if self._version is None:
            tell("")
        else:
            self._greeting = asyncio.get_running_loop().create_task(self._ask(self._version, tell)), tell

    async def _ask(self, version: Version, tell: Callable[[str], None]) -> None:
        told = ""
        try:
            told = await version()
        except BackendError:
            pass  # the line is written without it
        except Exception:  # whatever is wrong with the version, the line that waits for it is written
            log.exception("the version of a backend cannot be understood", **self._about)
        tell(told)

    def _greet_at_once(self) -> None:
        """Write the line that waits for the version without it: the backend is away again, or no longer used."""
        if self._greeting is not None:
            task, tell = self._greeting
            task.cancel()
            tell("")
