"""Other installations in the cluster, and who serves a namespace that two of them are set up for.

Two operators that work on the same objects would undo each other's work: two statuses, two rooms, users claimed twice.
So each writes on its Lease which namespaces it serves, reads the Leases of the others, and all of them come to the same
result: the one that was installed first serves a namespace, and the others leave it alone. An installation counts as
long as its Lease exists, also while it does not run: to take its calls over is a person's decision. One that may not
read the Leases of other namespaces cannot give way to what it does not see, so the others give way to it.

Neighbors: `backends.lease` writes our own mark, `triggers.neighbors` looks at intervals, `loop.work_queue` and
`backends.pools` leave alone what another one serves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
import structlog

from controller.api.names import GROUP
from controller.backends.lease import LEASES
from controller.clients.kubernetes import Body, KubernetesClient
from controller.clock import Clock
from controller.errors import Forbidden
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

LABEL: Final = f"{GROUP}/lease"
"""Label of the Lease of an operator: the others find it by that."""

SERVES: Final = f"{GROUP}/serves"
"""The annotation of that Lease with what the installation serves."""

_VALUE: Final = "operator"
# A Lease that was left behind holds nobody up for ever.
_FORGOTTEN: Final = timedelta(hours=24)
_MOST_NAMED: Final = 5
_REMEDY: Final = "Let each serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES)"


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation, as its Lease describes it. `namespaces` are those that it serves; empty for all.

    `sees_all` is whether it may read the Leases of all namespaces.
    """

    namespace: str
    name: str
    namespaces: frozenset[str]
    cluster_id: str
    sees_all: bool
    created: str
    uid: str

    @property
    def rank(self) -> tuple[bool, str, str]:
        """The lower rank serves what two installations are set up for. RFC 3339 texts sort like their times."""
        return (self.sees_all, self.created, self.uid)

    @property
    def shown(self) -> str:
        """How a sentence names it."""
        return f"the operator with the Lease {self.namespace}/{self.name} (cluster id {self.cluster_id})"


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
        """What each of the two says about it."""
        what = f"{self.other.shown} is set up for {self.where} too"
        them = "it" if len(self.namespaces) == 1 else "them"
        if self.is_ours:
            return f"{what}: it leaves {them} to this one. {_REMEDY}"
        return (
            f"{what}, and serves {them}: this one leaves {them} alone. {_REMEDY}, or delete that Lease if its operator "
            "is gone for good"
        )


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


class Neighbors:
    """What the installation with this Lease knows of the others, as of its last look.

    It belongs to the replica, not to a term. `namespaces` are those of the settings; empty for all.
    """

    def __init__(
        self,
        client: KubernetesClient,
        clock: Clock,
        *,
        namespace: str,
        name: str,
        namespaces: tuple[str, ...],
        cluster_id: str,
    ) -> None:
        self._client = client
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._namespaces = namespaces
        self._cluster_id = cluster_id
        self._sees_all = True
        self._said: frozenset[str] = frozenset()
        self.found: tuple[Shared, ...] = ()

    def mark(self) -> Mapping[str, Mapping[str, str]]:
        """The metadata that our own Lease carries: labels and annotations."""
        serves = {
            "clusterId": self._cluster_id,
            "namespaces": sorted(self._namespaces),
            "seesAll": self._sees_all,
        }
        return {"labels": {LABEL: _VALUE}, "annotations": {SERVES: orjson.dumps(serves).decode()}}

    def serves(self, namespace: str) -> bool:
        """Whether we serve this namespace: True unless another installation does."""
        return not any(one.covers(namespace) for one in self.found if not one.is_ours)

    def trouble(self, namespace: str) -> str:
        """Why we leave the namespace alone, as a sentence; empty if we serve it."""
        return next((one.sentence for one in self.found if not one.is_ours and one.covers(namespace)), "")

    async def look(self) -> None:
        """Read the Leases of all installations that may be read; say what is new. Raises BackendError."""
        bodies, self._sees_all = await self._leases()
        read = [found for body in bodies if (found := _installation(body, self._clock.now())) is not None]
        ours = next((one for one in read if (one.namespace, one.name) == (self._namespace, self._name)), None)
        # Without a mark of our own no other one can know of us.
        self.found = shared(ours, read) if ours is not None else ()
        metrics.other_operators.set(len(self.found))
        self._tell()

    async def _leases(self) -> tuple[list[Body], bool]:
        """The Leases of operators, and whether those of all namespaces may be read."""
        for namespace in ("", self._namespace):
            pages = self._client.pages(LEASES, namespace, labels=f"{LABEL}={_VALUE}")
            with contextlib.suppress(Forbidden):
                return [body async for page in pages for body in page["items"]], not namespace
        return [], False

    def _tell(self) -> None:
        sentences = frozenset(one.sentence for one in self.found)
        for sentence in sorted(sentences - self._said):
            log.warning(sentence)
        if self._said and not sentences:
            log.info("no other operator is set up for our namespaces any longer")
        self._said = sentences


def _installation(lease: Body, now: datetime) -> Installation | None:
    """What a Lease says of its installation; None if it says nothing that can be used, or is of long ago."""
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    try:
        serves: dict[str, Any] = orjson.loads(metadata["annotations"][SERVES])
        renewed = datetime.fromisoformat(str(spec["renewTime"])).astimezone(UTC)
        if now - renewed > _FORGOTTEN:
            return None
        return Installation(
            namespace=str(metadata["namespace"]),
            name=str(metadata["name"]),
            namespaces=frozenset(str(name) for name in serves["namespaces"]),
            cluster_id=str(serves["clusterId"]),
            sees_all=bool(serves["seesAll"]),
            created=str(metadata["creationTimestamp"]),
            uid=str(metadata["uid"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
