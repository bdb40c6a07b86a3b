"""What the loop is about: the name of one object. Triggers carry a key and never a meaning.

What woke us up does not matter, the state does: `observe` reads it again for every reconcile.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Kind(enum.StrEnum):
    """The kinds that have a reconcile of their own."""

    MATCH = "Match"
    ROOM = "Room"


class Key(NamedTuple):
    """One object's identity in the queue, in logs and in metrics. (A NamedTuple: hashed on every hop.)"""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.namespace}/{self.name}"
