"""What the loop is about: the name of one object. Triggers carry a key and never a meaning.

The source of a wake does not matter, the state does: `observe` reads it again for every reconcile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import NamedTuple

from controller.api.names import ResourceKind


class Key(NamedTuple):
    """One object's identity in the queue, in logs and in metrics. (A NamedTuple, because every hop hashes it.)"""

    kind: ResourceKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.singular}/{self.namespace}/{self.name}"


def in_turn(keys: Iterable[Key]) -> Iterator[Key]:
    """The same keys, with the namespaces in turn: each keeps the order of its own keys."""
    namespaces: defaultdict[str, list[Key]] = defaultdict(list)
    for key in keys:
        namespaces[key.namespace].append(key)
    for turn in zip_longest(*namespaces.values()):
        yield from (key for key in turn if key is not None)
