"""The rights that the operator needs, as a table. The manifests grant the same; a test compares them.

`doctor.cluster` asks the API server for each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.api.names import GROUP, KINDS


class Place(StrEnum):
    """Where a right counts."""

    WATCHED = "watched"
    """In every namespace that the operator serves."""
    OWN = "own"
    """In the operator's own namespace."""
    CLUSTER = "cluster"
    """For a resource without namespace."""


@dataclass(frozen=True, slots=True)
class Right:
    """The verbs on one resource; with `names`, on these objects alone."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    place: Place = Place.WATCHED
    names: tuple[str, ...] = ()
    is_optional: bool = False
    """The operator works without it."""


LEASE: Final = "{lease}"
"""Stands for the name of the Lease."""

RIGHTS: Final = (
    Right(GROUP, "matches", ("get", "list", "watch", "patch", "delete")),
    Right(GROUP, "rooms", ("get", "list", "watch", "create", "patch", "delete")),
    *(Right(GROUP, f"{plural}/status", ("patch",)) for plural in ("matches", "rooms")),
    Right(GROUP, "matches/finalizers", ("update",)),
    Right("", "secrets", ("create", "update", "delete")),
    Right("", "events", ("create", "patch")),
    Right("", "namespaces", ("get",), Place.CLUSTER, is_optional=True),
    Right(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        ("get",),
        Place.CLUSTER,
        tuple(kind.crd for kind in KINDS),
        is_optional=True,
    ),
    Right("coordination.k8s.io", "leases", ("create", "list"), Place.OWN),
    Right("coordination.k8s.io", "leases", ("list",), Place.CLUSTER, is_optional=True),
    Right("coordination.k8s.io", "leases", ("get", "update"), Place.OWN, (LEASE,)),
    Right(GROUP, "livekitservers", ("list", "watch", "patch"), Place.OWN),
    Right(GROUP, "livekitservers/status", ("patch",), Place.OWN),
)


@dataclass(frozen=True, slots=True)
class Question:
    """One review: may this be done?"""

    group: str
    resource: str
    subresource: str
    verb: str
    namespace: str
    name: str

    def __str__(self) -> str:
        resource = ".".join(part for part in (self.resource, self.group) if part)
        path = "/".join(part for part in (resource, self.subresource) if part)
        named = f" {self.name}" if self.name else ""
        return f"{self.verb} {path}{named}" + (f" in {self.namespace}" if self.namespace else "")


def questions(namespace: str, watched: tuple[str, ...], lease: str) -> Iterator[Question]:
    """The reviews for an operator in `namespace` that serves `watched` (empty for all namespaces)."""
    places = {Place.WATCHED: watched or ("",), Place.OWN: (namespace,), Place.CLUSTER: ("",)}
    for right in RIGHTS:
        if right.is_optional:
            continue
        resource, _, subresource = right.resource.partition("/")
        for place in places[right.place]:
            for name in right.names or ("",):
                for verb in right.verbs:
                    whole = name.format(lease=lease)
                    yield Question(right.group, resource, subresource, verb, place, whole)
