"""Other installations in the cluster, and who serves a namespace that two of them are set up for.

Two operators that work on the same objects would undo each other's work: two statuses, two rooms, users claimed twice.
So each writes on its Lease which namespaces it serves, reads the Leases of the others, and all of them come to the same
result: the one that was installed first serves a namespace, and the others leave it alone. An installation whose Lease
has a holder counts for a day after the last renewal: to take the calls of a process that was killed over earlier is a
person's decision. One that released its Lease in order counts for ten minutes, which is enough for an upgrade. One that
may not read the Leases of other namespaces cannot give way to what it does not see, so the others give way to it.

What is not certain changes nothing. Until the first look, the Lease keeps what it says. One refusal does not take away
what earlier looks saw. A namespace is given up at once, and taken over after two looks that agree.

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
from controller.errors import Forbidden, NotFound
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

LABEL: Final = f"{GROUP}/lease"
"""Label of the Lease of an operator: the others find it by that."""

SERVES: Final = f"{GROUP}/serves"
"""The annotation of that Lease with what the installation serves."""

_VALUE: Final = "operator"
# A Lease that was left behind does not hold up other installations for ever.
_FORGOTTEN: Final = timedelta(hours=24)
_RELEASED_FORGOTTEN: Final = timedelta(minutes=10)
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
        self._sees_all: bool | None = None  # not known before the first look
        self._was_refused = False
        self._is_marked = False
        # What another one served as of the look before the last.
        self._before: tuple[Shared, ...] = ()
        self._said: frozenset[str] = frozenset()
        self.found: tuple[Shared, ...] = ()

    def mark(self) -> Mapping[str, Mapping[str, str]]:
        """The labels and annotations that are written on our own Lease; none before the first look.

        What an earlier process wrote there stays until then: the others rank us by it.
        """
        if self._sees_all is None:
            return {}
        serves = {
            "clusterId": self._cluster_id,
            "namespaces": sorted(self._namespaces),
            "seesAll": self._sees_all,
        }
        return {"labels": {LABEL: _VALUE}, "annotations": {SERVES: orjson.dumps(serves).decode()}}

    @property
    def is_known(self) -> bool:
        """Whether at least one look had an answer."""
        return self._sees_all is not None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is about to change: no namespace is left to another one, and our Lease says what we serve."""
        return self._is_marked and not self._left_alone()

    def serves(self, namespace: str) -> bool:
        """Whether we serve this namespace: True unless one of the last two looks found another one that does."""
        return not any(one.covers(namespace) for one in self._left_alone())

    def trouble(self, namespace: str) -> str:
        """Why we leave the namespace alone, as a sentence; empty if we serve it."""
        return next((one.sentence for one in self._left_alone() if one.covers(namespace)), "")

    async def look(self) -> None:
        """Read the Leases of all installations that may be read; say what is new. Raises BackendError."""
        bodies, sees_all = await self._leases()
        if self._sees_all and not sees_all and not self._was_refused:
            self._was_refused = True  # rights that are replaced are missing for a moment
            return
        lease, now = await self._own_lease(bodies), self._clock.now()
        self._sees_all, self._was_refused = sees_all, not sees_all
        self._before = _foreign(self.found)
        read = [found for body in bodies if (found := _installation(body, now)) is not None]
        # Without a Lease no other one can know of us.
        self.found = shared(self._ours(lease, sees_all, now), read) if lease is not None else ()
        self._is_marked = lease is not None and self._is_written_on(lease)
        metrics.other_operators.set(len(self.found))
        self._tell()

    def _left_alone(self) -> tuple[Shared, ...]:
        """What we leave to others, as of the last two looks."""
        return (*_foreign(self.found), *self._before)

    async def _own_lease(self, bodies: list[Body]) -> Body | None:
        """Our own Lease: one of `bodies`, unless it has no mark yet. None if there is none."""
        for body in bodies:
            if (body["metadata"]["namespace"], body["metadata"]["name"]) == (self._namespace, self._name):
                return body
        with contextlib.suppress(NotFound):
            return await self._client.get(LEASES, self._namespace, self._name)
        return None

    def _ours(self, lease: Body, sees_all: bool, now: datetime) -> Installation:
        """This installation. The others rank it by what its Lease says, so we do the same as long as it says it."""
        metadata, written = lease["metadata"], _installation(lease, now)
        return Installation(
            namespace=self._namespace,
            name=self._name,
            namespaces=frozenset(self._namespaces),
            cluster_id=self._cluster_id,
            sees_all=sees_all if written is None else written.sees_all,
            created=str(metadata["creationTimestamp"]),
            uid=str(metadata["uid"]),
        )

    def _is_written_on(self, lease: Body) -> bool:
        metadata = lease["metadata"]
        return all(words.items() <= (metadata.get(part) or {}).items() for part, words in self.mark().items())

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
        if not sentences and self._before:
            return  # the next look confirms it, or finds the same again
        if self._said and not sentences:
            log.info("no other operator is set up for our namespaces any longer")
        self._said = sentences


def _foreign(found: Iterable[Shared]) -> tuple[Shared, ...]:
    return tuple(one for one in found if not one.is_ours)


def _installation(lease: Body, now: datetime) -> Installation | None:
    """What a Lease says of its installation; None if it says nothing that can be used, or is of long ago."""
    metadata, spec = lease["metadata"], lease.get("spec") or {}
    try:
        serves: dict[str, Any] = orjson.loads(metadata["annotations"][SERVES])
        renewed = datetime.fromisoformat(str(spec["renewTime"])).astimezone(UTC)
        if now - renewed > (_FORGOTTEN if spec.get("holderIdentity") else _RELEASED_FORGOTTEN):
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
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
