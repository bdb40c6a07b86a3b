"""The case of a LiveKit server: the object, what was seen of it, and the moment for which it is judged. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from controller.api.livekitserver import DEFAULT_SERVER, LiveKitServer
from controller.api.names import FINALIZER
from controller.facts.server import ServerSeen

STATUS_EVERY: Final = timedelta(seconds=30)
"""How often the numbers in the status are written."""


@dataclass(frozen=True)
class ServerCase:
    """One look at a server."""

    server: LiveKitServer
    seen: ServerSeen
    now: datetime

    @cached_property
    def is_drained(self) -> bool:
        """Whether a server that is drained has no call and no participant left, and no room of a call is being made.

        LiveKit's count of participants lags by seconds. A server that does not answer since this operator started has
        none: then no room at all may be left on it.
        """
        seen = self.seen
        if seen.drain is None or seen.unknown or seen.calls_left or seen.rooms > seen.standing:
            return False
        return not seen.rooms if seen.participants is None else seen.participants == 0

    @cached_property
    def is_kept(self) -> bool:
        """Whether the object is being deleted, and rooms that are on the server, or may be, keep it."""
        is_deleted = self.server.metadata.deletion_timestamp is not None
        return is_deleted and (self.seen.rooms > 0 or bool(self.seen.unknown))

    @cached_property
    def is_held(self) -> bool:
        """Whether the object cannot go while rooms may be on the server.

        One with the name of the server of the settings may: that has the same URL, and takes its rooms over.
        """
        metadata = self.server.metadata
        return FINALIZER in metadata.finalizers or metadata.name == DEFAULT_SERVER

    @cached_property
    def moves(self) -> bool:
        """Whether the server is asked at another address than its status says, and the status can say it."""
        status, seen = self.server.status, self.seen
        return bool(seen.url) and seen.keeps_address and (seen.url, seen.public_url) != (status.url, status.public_url)

    @cached_property
    def numbers_are_due(self) -> bool:
        """Whether the numbers in the status are too old, or one of them is known for the first time."""
        status, health = self.server.status, self.seen.health
        if status.checked_at is None or not status.checked_at <= self.now < status.checked_at + STATUS_EVERY:
            return True
        is_new = (status.latency_ms is None) is not (health.latency_ms is None)
        return is_new or (status.version or "") != health.version
