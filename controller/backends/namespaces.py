"""Which namespaces exist in Kubernetes: a pool is served only for one that does.

Gateways name pools. A pool without a namespace is a mistake in a gateway's settings, or an attempt to make the operator
keep pools open without end. Neighbors: `triggers.serving` and `triggers.keeper` ask before they open a pool that no
Match asked for.
"""

from __future__ import annotations

import re
import time

import structlog

from controller.clients.kubernetes import KubernetesClient, Resource
from controller.errors import Forbidden, NotFound

log = structlog.get_logger(__name__)

_NAMESPACES = Resource("", "v1", "namespaces")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_THERE_SECONDS = 300.0
_ABSENT_SECONDS = 5.0
_MOST_KNOWN = 10_000


class Namespaces:
    """Answers from memory for a while; `exists` asks the API server."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client
        self._known: dict[str, tuple[bool, float]] = {}
        self._told: set[str] = set()

    async def exists(self, name: str) -> bool:
        """Whether the namespace exists. Raises BackendError if that cannot be known.

        True as well if the operator may not read namespaces: then nothing says that it does not exist.
        """
        if _NAME.fullmatch(name) is None:
            self._tell(name, "it is no name of a namespace")
            return False
        is_there, until = self._known.get(name, (False, 0.0))
        now = time.monotonic()
        if now >= until:
            is_there = await self._ask(name)
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[name] = is_there, now + (_THERE_SECONDS if is_there else _ABSENT_SECONDS)
        if is_there:
            self._told.discard(name)
        else:
            self._tell(name, "the namespace does not exist in Kubernetes")
        return is_there

    async def _ask(self, name: str) -> bool:
        try:
            await self._client.get(_NAMESPACES, "", name)
        except NotFound:
            return False
        except Forbidden as error:
            self._tell(name, f"it is served although its namespace cannot be read: {error.message}")
        return True

    def _tell(self, name: str, why: str) -> None:
        """Warn once per name, and of a bounded number of names."""
        if name in self._told or len(self._told) >= _MOST_KNOWN:
            return
        self._told.add(name)
        log.warning("users wait in a pool; check the namespace in the gateway's settings", namespace=name[:64], why=why)
