"""The address of Redis as it is now: the Secret that holds the URL may change while the operator runs.

Neighbors: `model` reads the file, `clients.redis.target` asks here before each connection, `telemetry.logs` blanks what
the URL has of secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from controller.settings.model import Settings
from controller.settings.redis_address import RedisAddress, secrets_in

log = structlog.get_logger(__name__)


class RedisSource:
    """Returns the address, call by call. While the file cannot be used, the address stays as it was.

    `blank` gets the secrets of a URL that was read, before the URL is used or found to be wrong.
    """

    def __init__(self, settings: Settings, blank: Callable[[Iterable[str]], None]) -> None:
        self._settings = settings
        self._blank = blank
        self._problem = ""
        self._last = self._read()

    def __call__(self) -> RedisAddress:
        """The address as it is now."""
        try:
            self._last, problem = self._read(), ""
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except ValueError as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.warning(f"the file of the Redis URL {problem}; the URL from before stays in use")
        self._problem = problem
        return self._last

    def _read(self) -> RedisAddress:
        url = self._settings.redis_url_now()
        self._blank(secrets_in(url))
        return self._settings.redis_address(url)
