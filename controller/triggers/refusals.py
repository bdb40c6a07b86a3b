"""What a port does not serve: refused webhooks are counted by their cause, and some refusals are logged.

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
    """Logs one refusal of each cause in ten seconds. The causes (`code`) are a bounded set.

    Those of the webhook port are counted as webhooks; `port` names another one, whose refusals are logged alone.
    """

    def __init__(self, port: str = "") -> None:
        self._port = port
        self._quiet: dict[str, _Quiet] = {}

    def refused(self, code: str, why: str, peer: str | None, **more: str) -> None:
        """Count one refusal of a webhook, and perhaps log it.

        `more` is what else the line says; strangers choose some of it.
        """
        if not self._port:
            metrics.webhooks.labels(code, "").inc()
        now = time.monotonic()
        quiet = self._quiet.setdefault(code, _Quiet())
        if now < quiet.until:
            quiet.unlogged += 1
            return
        event = f"connection to the {self._port} port refused" if self._port else "webhook refused"
        log.warning(event, code=code, why=why, peer=peer, unlogged=quiet.unlogged, **more)
        quiet.until, quiet.unlogged = now + _LOG_INTERVAL_SECONDS, 0
