"""Installations in one cluster, as their Leases describe them, and which of two serves a namespace (pure).

Every installation writes on its Lease which namespaces it is set up for. All compute the same result from that: they
rank the Leases in one total order, and the lower rank serves. Neighbors: `backends.neighbors` reads the Leases and
remembers what they said, `doctor.cluster` shows what they say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from controller.api.names import GROUP

LABEL: Final = f"{GROUP}/lease"
"""Label of the Lease of an operator: the others find it by that."""

OPERATOR: Final = "operator"
"""The value of that label."""

SERVES: Final = f"{GROUP}/serves"
"""The annotation of that Lease with what the installation serves."""

COUNTS_FOR: Final = timedelta(minutes=10)
"""How long an installation counts after it renewed its Lease for the last time: an upgrade takes less."""

_MOST_NAMED: Final = 5
_REMEDY: Final = "Let each serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES)"


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation, as its Lease describes it. `namespaces` are those that it serves; empty for all.

    `sees_all` is whether it may read the Leases of all namespaces. `holder` is the replica that works, empty if none
    does; it renewed the Lease at `renewed_at`, for `lease_seconds`.
    """

    namespace: str
    name: str
    namespaces: frozenset[str]
    cluster_id: str
    sees_all: bool
    created: str
    uid: str
    holder: str
    renewed_at: datetime
    lease_seconds: float

    @property
    def rank(self) -> tuple[bool, str, str]:
        """The lower rank serves what two installations are set up for. RFC 3339 texts sort like their times."""
        return (self.sees_all, self.created, self.uid)

    @property
    def shown(self) -> str:
        """How a sentence names it."""
        return f"the operator with the Lease {self.namespace}/{self.name} (cluster id {self.cluster_id})"

    def counts(self, now: datetime) -> bool:
        """Whether the others leave its namespaces to it. A Lease that was left behind counts for ten minutes."""
        return now - self.renewed_at <= COUNTS_FOR

    def is_left_behind(self, now: datetime) -> bool:
        """Whether no replica holds the Lease: it was released, or its holder did not renew it in time."""
        return not self.holder or now - self.renewed_at > timedelta(seconds=self.lease_seconds)


@dataclass(frozen=True, slots=True)
class Shared:
    """Namespaces that we and another installation are set up for. `is_all` stands for every namespace."""

    other: Installation
    is_ours: bool
    namespaces: frozenset[str] = frozenset()
    is_all: bool = False

    def covers(self, namespace: str) -> bool:
        """Whether the namespace is one of them."""
        return self.is_all or namespace in self.namespaces

    @property
    def where(self) -> str:
        """The namespaces, for a sentence."""
        if self.is_all:
            return "all namespaces"
        named = sorted(self.namespaces)
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        return f"{'the namespace' if len(named) == 1 else 'the namespaces'} {', '.join(named[:_MOST_NAMED])}{more}"

    @property
    def sentence(self) -> str:
        """How each of the two operators describes it to an administrator."""
        what = f"{self.other.shown} is set up for {self.where} too"
        them = "it" if len(self.namespaces) == 1 else "them"
        if self.is_ours:
            return f"{what}, and leaves {them} to this one. {_REMEDY}"
        return (
            f"{what}, and serves {them}: this one leaves {them} alone. {_REMEDY}, or delete that Lease if its operator "
            "is gone for good"
        )


def mark(namespaces: Iterable[str], cluster_id: str, *, sees_all: bool) -> Mapping[str, Mapping[str, str]]:
    """The labels and annotations by which an installation describes itself on its Lease."""
    serves = {"clusterId": cluster_id, "namespaces": sorted(namespaces), "seesAll": sees_all}
    return {"labels": {LABEL: OPERATOR}, "annotations": {SERVES: orjson.dumps(serves).decode()}}


def installation(lease: Mapping[str, Any]) -> Installation | None:
    """What a Lease says of its installation; None if it says nothing that can be used."""
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    try:
        serves: dict[str, Any] = orjson.loads(metadata["annotations"][SERVES])
        return Installation(
            namespace=str(metadata["namespace"]),
            name=str(metadata["name"]),
            namespaces=frozenset(str(name) for name in serves["namespaces"]),
            cluster_id=str(serves["clusterId"]),
            sees_all=bool(serves["seesAll"]),
            created=str(metadata["creationTimestamp"]),
            uid=str(metadata["uid"]),
            holder=str(spec.get("holderIdentity") or ""),
            renewed_at=datetime.fromisoformat(str(spec["renewTime"])).astimezone(UTC),
            lease_seconds=float(spec.get("leaseDurationSeconds") or 0),
        )
    except (KeyError, OverflowError, TypeError, ValueError):
        return None


def shared(ours: Installation, others: Iterable[Installation]) -> tuple[Shared, ...]:
    """Every overlap of `ours` with another installation, and whose it is."""
    found = []
    for other in others:
        if (other.namespace, other.name) == (ours.namespace, ours.name):
            continue
        is_ours = ours.rank < other.rank
        if not ours.namespaces and not other.namespaces:
            found.append(Shared(other, is_ours, is_all=True))
        elif both := (
            ours.namespaces & other.namespaces
            if ours.namespaces and other.namespaces
            else ours.namespaces or other.namespaces
        ):
            found.append(Shared(other, is_ours, both))
    return tuple(found)
