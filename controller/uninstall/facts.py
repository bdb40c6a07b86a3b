"""What an installation consists of, and what is there of it now. Values only.

`survey` makes them, `plan` decides on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from controller.api.names import FINALIZER, MATCH, ROOM, ResourceKind
from controller.facts.observation import Observation, Present, Unknown, value_of

ORDER: Final = (MATCH, ROOM)
"""The kinds that carry our finalizer, in the order of their deletion: a Match takes its own Room with it."""


_DEFAULT_LEASE: Final = timedelta(seconds=15)


class Policy(StrEnum):
    """What becomes of the calls."""

    DRAIN = "drain"
    """The operator ends them: all Matches and Rooms are deleted while it runs."""
    RELEASE = "release"
    """They go on: the operator stops, Matches and Rooms stay without our finalizer, a later install takes them up."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The names of one installation: all follow from `name`, the name of its Deployment."""

    namespace: str
    name: str
    watched: tuple[str, ...] | None = None
    """The namespaces that it serves; empty for all, None where that is not known."""
    lease: str = ""

    @property
    def lease_name(self) -> str:
        return self.lease or f"{self.name}-shard-0"

    @property
    def policy_name(self) -> str:
        """Of the optional policy that adds our finalizer, and of its binding."""
        return f"{self.name}-finalizer"

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """The operator's Deployment."""

    uid: str
    wanted: int
    ready: int
    selector: tuple[tuple[str, str], ...]
    resource_version: str
    helm_release: str = ""
    """The release that owns it; empty if Helm did not install it."""
    watched: tuple[str, ...] | None = ()
    """What its setting of the namespaces says; empty for all, None if it comes from elsewhere."""
    lease: str = ""
    """What its setting of the Lease says; empty for the default."""


@dataclass(frozen=True, slots=True)
class LeaseFacts:
    """The Lease that the working replica holds."""

    uid: str
    holder: str
    """Empty if it was released."""
    renewed_at: datetime | None
    lasts: timedelta

    def is_live(self, now: datetime) -> bool:
        """Whether a replica holds it and renews it."""
        return bool(self.holder) and self.renewed_at is not None and now <= self.renewed_at + self.lasts


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """The policy that adds our finalizer, or its binding."""

    uid: str


@dataclass(frozen=True, slots=True)
class CrdFacts:
    """One of our CustomResourceDefinitions."""

    name: str
    uid: str
    is_deleting: bool


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """A Match, a Room or a LiveKitServer."""

    kind: ResourceKind
    namespace: str
    name: str
    uid: str
    finalizers: tuple[str, ...]
    is_deleting: bool
    is_paused: bool
    is_owned: bool
    """A Room of a Match, which goes with it."""
    people: tuple[str, ...]
    """The users of a Match that is not over."""
    state: str
    """Its phase; empty before the operator has seen it."""
    problem: str
    """What keeps the operator from going on with it, as its status says; empty if nothing does."""

    @property
    def is_held(self) -> bool:
        """Whether our finalizer is on it."""
        return FINALIZER in self.finalizers

    @property
    def foreign(self) -> tuple[str, ...]:
        """The finalizers of others, which nobody but they may remove."""
        return tuple(name for name in self.finalizers if name != FINALIZER)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Found:
    """What is there of an installation, read at `now` (the API server's time)."""

    installation: Installation
    now: datetime
    deployment: Observation[DeploymentFacts]
    pods: Observation[tuple[str, ...]]
    """The names of the Deployment's pods that are still there."""
    lease: Observation[LeaseFacts]
    policies: tuple[Observation[PolicyFacts], ...]
    crds: tuple[Observation[CrdFacts], ...]
    objects: Observation[tuple[ObjectFacts, ...]]
    """Those of the watched namespaces."""
    elsewhere: Observation[tuple[ObjectFacts, ...]]
    """Those of all other namespaces; they matter only to a deletion of the CRDs."""
    others: Observation[tuple[str, ...]]
    """Other installations in this cluster, as NAMESPACE/NAME."""
    servers: Observation[tuple[ObjectFacts, ...]]
    """Its LiveKitServers. They stay, and lose our finalizer."""

    @property
    def known_objects(self) -> tuple[ObjectFacts, ...]:
        return value_of(self.objects) or ()

    @property
    def known_servers(self) -> tuple[ObjectFacts, ...]:
        return value_of(self.servers) or ()

    @property
    def held(self) -> tuple[ObjectFacts, ...]:
        """The objects with our finalizer."""
        return tuple(thing for thing in (*self.known_objects, *self.known_servers) if thing.is_held)

    @property
    def patience_seconds(self) -> float:
        """How long the operator may be silent before it counts as not working.

        Another replica takes the Lease over one duration after its last renewal, and needs some seconds for it.
        """
        lease = value_of(self.lease)
        lasts = lease.lasts if lease is not None else timedelta()
        return 5.0 + 2 * (lasts or _DEFAULT_LEASE).total_seconds()


class Life(StrEnum):
    """Whether the operator works."""

    WORKS = "works"
    STOPPED = "stopped"
    """Certainly: nothing of it runs, and nothing will start it."""
    SILENT = "silent"
    """It should run, and no replica renews the Lease."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Pulse:
    """Whether the operator works, and the sentence that says how we know."""

    life: Life
    why: str


def pulse(found: Found) -> Pulse:
    """Whether the operator works: the Lease says so; where it is not renewed, the Deployment says whether it may yet.

    An operator without a Deployment (in a development cluster) is known by its Lease alone.
    """
    installation, lease, deployment = found.installation, found.lease, found.deployment
    named = f"the Lease {installation.namespace}/{installation.lease_name}"
    if isinstance(lease, Unknown):
        return Pulse(Life.UNKNOWN, f"{named} cannot be read: {lease.why}")
    if isinstance(lease, Present) and lease.value.is_live(found.now):
        return Pulse(Life.WORKS, f"{lease.value.holder} holds {named}")
    if isinstance(deployment, Unknown):
        return Pulse(Life.UNKNOWN, f"the Deployment {installation} cannot be read: {deployment.why}")
    if not isinstance(deployment, Present):
        return Pulse(Life.STOPPED, f"there is no Deployment {installation}, and {_unheld(found, named)}")
    pods = value_of(found.pods)
    if deployment.value.wanted == 0 and not pods:
        return Pulse(Life.STOPPED, f"the Deployment {installation} is scaled to 0")
    counts = f"{deployment.value.ready} of {deployment.value.wanted} pods of the Deployment {installation} are ready"
    return Pulse(Life.SILENT, f"{counts}, and {_unheld(found, named)}")


def _unheld(found: Found, named: str) -> str:
    lease = value_of(found.lease)
    if lease is None or not lease.holder or lease.renewed_at is None:
        return f"no replica holds {named}"
    seconds = (found.now - lease.renewed_at).total_seconds()
    return f"{named} was last renewed {seconds:.0f} s ago"
