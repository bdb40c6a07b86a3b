"""Asks Redis whether it is there when nothing else does, so that an outage shows although nobody needs it yet.

Users who wait are no work for the operator, and a replica without the lease has none at all. While other requests are
answered, this sends nothing. Neighbors: `clients.availability` tells what is found; `app.life` runs this in every
replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Final

from controller.clients.redis.client import Redis
from controller.errors import BackendError
from controller.telemetry.pulse import Pulse

_QUIET_SECONDS: Final = 5.0
"""Redis is asked when it has answered nothing for so long."""
_AGAIN_SECONDS: Final = 1.0


class RedisWatch:
    """One Redis, watched for as long as `run` runs."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def run(self, pulse: Pulse) -> None:
        """Ask at intervals until cancelled."""
        while True:
            pulse.beat()
            quiet_seconds = time.monotonic() - self._redis.breaker.answered_at
            if quiet_seconds >= _QUIET_SECONDS:
                with contextlib.suppress(BackendError):  # the client tells about it
                    await self._redis.ask()
                    quiet_seconds = 0.0
            await asyncio.sleep(max(_AGAIN_SECONDS, _QUIET_SECONDS - quiet_seconds))
