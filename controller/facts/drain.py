"""The drain of a LiveKit server, as the calls on it learn of it.

`rules.drain` makes it from the spec of the LiveKitServer. LiveKit's metadata, the message to clients and the notices in
Redis have the same fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.api.livekitserver import OFF, DrainType
from controller.facts.time import milliseconds


@dataclass(frozen=True, slots=True)
class DrainFacts:
    """A drain. Its `id` follows from its content: another type, message or deadline is another drain."""

    id: str
    type: DrainType
    message: str = ""
    expected_downtime_seconds: int = 0
    deadline: datetime | None = None

    def to_json(self) -> dict[str, object]:
        """What clients read: times in ms; 0 seconds and no deadline are null."""
        return {
            "id": self.id,
            "type": self.type.value,
            "message": self.message,
            "expectedDowntimeSeconds": self.expected_downtime_seconds or None,
            "deadline": milliseconds(self.deadline) if self.deadline is not None else None,
        }


def over(drain_id: str) -> dict[str, object]:
    """The same for a drain that is over."""
    return {"id": drain_id, "type": OFF, "message": "", "expectedDowntimeSeconds": None, "deadline": None}
