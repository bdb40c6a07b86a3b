"""Settings under which kopf only watches: it persists, compares, posts and paces nothing.

Each value was measured against real servers. kopf is pinned exactly, because these settings depend on its details.
Neighbor: `triggers.kubernetes`.
"""

from __future__ import annotations

from typing import Any

import kopf


class NoDiffs(kopf.DiffBaseStorage):
    """Stores no earlier state of an object: kopf would copy the whole body for every event, and no handler reads it."""

    def build(self, **_: Any) -> Any:
        """An empty essence."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """None is stored."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing to store."""


class NoProgress(kopf.ProgressStorage):
    """Keeps no progress of handlers on the objects: event handlers have none."""

    def fetch(self, **_: Any) -> Any:
        """None is stored."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing to store."""

    def purge(self, **_: Any) -> None:
        """Nothing to remove."""

    def touch(self, **_: Any) -> None:
        """Objects are never touched."""

    def clear(self, *, essence: Any) -> Any:
        """There is nothing of ours in it."""
        return essence


def kopf_settings() -> kopf.OperatorSettings:
    """The settings for `kopf.operator`."""
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = NoDiffs()
    settings.persistence.progress_storage = NoProgress()
    settings.posting.enabled = False
    settings.queueing.worker_limit = None
    settings.queueing.idle_timeout = 1.0
    settings.queueing.exit_timeout = 2.0
    # Every pause stays at a second or less: after an outage of the API server the next step is due at once.
    settings.queueing.error_delays = (0.1, 0.5, 1, 1, 1, 1)
    # A connection that only its other end knows to be dead is silent, like one on which nothing happens. So the API
    # server is asked to end each watch after 20 s, with a bookmark at its end; more silence means a dead connection.
    settings.watching.inactivity_timeout = 25
    settings.watching.connect_timeout = 5
    settings.watching.server_timeout = 20
    settings.watching.client_timeout = 40
    settings.watching.reconnect_backoff = 0.1
    # A page is decoded in one turn of the event loop. The first one of a watch is thrown away (`triggers.intake`).
    settings.watching.chunk_size = 100
    settings.networking.request_timeout = 10
    settings.networking.connect_timeout = 3
    settings.networking.error_backoffs = (0.1, 0.2, 0.5, 1, 1, 1, 1, 1)
    settings.networking.enforce_retry_after = True
    settings.scanning.disabled = True
    settings.peering.standalone = True
    # kopf would kill the process some seconds after the end of a watch; `app.life` bounds its own end.
    settings.process.ultimate_exiting_timeout = None
    return settings
