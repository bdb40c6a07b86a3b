"""An object that is there, and whose content this version cannot read.

It is neither Present nor Absent: what relies on its content waits (`Unknown`), and nothing follows from it. Kubernetes
itself vouches for the metadata, so a deletion can be finished. Neighbors: `views.cache` makes these, `observe` and
`loop.reconcile` tell them apart, `rules.stand_in` finishes a deletion.
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.api.meta import ObjectMeta


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Its metadata, and in a sentence what cannot be read."""

    metadata: ObjectMeta
    why: str
