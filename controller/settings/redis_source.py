"""The address of Redis as it is now: the Secret that holds the URL may change while the operator runs.

Neighbors: `model` reads the file, `clients.redis.target` asks here before each connection.
"""

from __future__ import annotations

import structlog

from controller.settings.model import Settings
from controller.settings.redis_address import RedisAddress

log = structlog.get_logger(__name__)


class RedisSource:
    """Returns the address, call by call. While the file cannot be used, the address stays as it was."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._last = settings.redis_address()
        self._problem = ""

    def __call__(self) -> RedisAddress:
        """The address as it is now."""
        try:
            self._last, problem = self._settings.redis_address(), ""
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except ValueError as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.warning(f"the file of the Redis URL {problem}; the URL from before stays in use")
        self._problem = problem
        return self._last
