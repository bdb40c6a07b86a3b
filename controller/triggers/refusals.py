"""What the webhook port does not serve: every refusal is counted by its cause, and some of them are logged.

A wrong URL, a proxy that changes bodies, or a stranger would otherwise write a line per request. Neighbors:
`triggers.webhooks` and `app.door` refuse.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from controller.telemetry import metrics

log = structlog.get_logger(__name__)

_LOG_INTERVAL_SECONDS = 10.0


@dataclass(slots=True)
class _Quiet:
    """Until when refusals of one cause are not logged, and how many there were since the last line."""

    until: float = 0.0
    unlogged: int = 0


class Refusals:
    """Counts all, and logs one of each cause in ten seconds. The causes (`code`) are a bounded set."""

    def __init__(self) -> None:
        self._quiet: dict[str, _Quiet] = {}

    def refused(self, code: str, why: str, peer: str | None, **more: str) -> None:
        """Count one refusal, and perhaps log it. `more` is what else the line says; strangers choose some of it."""
        metrics.webhooks.labels(code, "").inc()
        now = time.monotonic()
        quiet = self._quiet.setdefault(code, _Quiet())
        if now < quiet.until:
            quiet.unlogged += 1
            return
        log.warning("webhook refused", code=code, why=why, peer=peer, unlogged=quiet.unlogged, **more)
        quiet.until, quiet.unlogged = now + _LOG_INTERVAL_SECONDS, 0
