"""What the loop is about: the name of one object. Triggers carry a key and never a meaning.

The source of a wake does not matter, the state does: `observe` reads it again for every reconcile.
"""

from __future__ import annotations

from typing import NamedTuple

from controller.api.names import ResourceKind


class Key(NamedTuple):
    """One object's identity in the queue, in logs and in metrics. (A NamedTuple, because every hop hashes it.)"""

    kind: ResourceKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.singular}/{self.namespace}/{self.name}"
