"""Reads what is there of an installation from the API server. What could not be read is Unknown, with the reason."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from controller.api.conditions import ConditionType
from controller.api.names import GROUP, KINDS, LIVEKIT_SERVER, MATCH, PAUSED, VERSION, ResourceKind
from controller.api.phases import MATCH_PHASES, MatchPhase
from controller.backends.lease import LEASES
from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.clock import Clock
from controller.errors import BackendError, NotFound, NotServed
from controller.facts.observation import Absent, Observation, Present, Unknown, value_of
from controller.settings import variable
from controller.uninstall.facts import (
    ORDER,
    CrdFacts,
    DeploymentFacts,
    Found,
    Installation,
    LeaseFacts,
    ObjectFacts,
    PolicyFacts,
)

DEPLOYMENTS: Final = Resource("apps", "v1", "deployments")
_NAMESPACES: Final = Resource("", "v1", "namespaces")
PODS: Final = Resource("", "v1", "pods")
CRDS: Final = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions")
POLICIES: Final = tuple(
    Resource("admissionregistration.k8s.io", "v1", plural)
    for plural in ("mutatingadmissionpolicybindings", "mutatingadmissionpolicies")
)
"""The binding first: without it, the policy does nothing."""

_OURS: Final = "app.kubernetes.io/name=roomkeeper"
_OVER: Final = re.compile("Succeeded|Failed")
_RELEASE: Final = "meta.helm.sh/release-name"
T = TypeVar("T")


class Survey:
    """Looks at one installation with the caller's rights.

    `look` and `vital_signs` turn a failure into Unknown. The other methods return None for what is not there, and raise
    BackendError for what cannot be read.
    """

    def __init__(self, client: KubernetesClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def look(self, installation: Installation, *, whole_cluster: bool) -> Found:
        """All that is there now. `whole_cluster`: also what other installations and namespaces have, and the CRDs."""
        signs = await self.vital_signs(installation)
        installation = signs.installation
        objects, servers, policies = await asyncio.gather(
            self._observe(self.objects(installation.watched or ("",), ORDER)),
            self._observe(self.servers(installation)),
            asyncio.gather(*(self._observe(self.policy(resource, installation)) for resource in POLICIES)),
        )
        found = replace(signs, objects=objects, servers=servers, policies=tuple(policies))
        if not whole_cluster:
            return found
        crds = await asyncio.gather(*(self._observe(self.crd(kind.crd)) for kind in KINDS))
        others = await self._observe(self.others(installation))
        everything = await self._observe(self.objects(("",), KINDS))
        elsewhere = _without(everything, (*found.known_objects, *found.known_servers))
        return replace(found, crds=tuple(crds), others=others, elsewhere=elsewhere)

    async def vital_signs(self, installation: Installation) -> Found:
        """What tells whether the operator works; nothing else is read."""
        deployment = await self._observe(self.deployment(installation))
        installation = known_by(deployment, installation)
        facts = value_of(deployment)
        pods: Observation[tuple[str, ...]] = Absent(self._clock.now())
        if facts is not None:
            pods = await self._observe(self.pods(installation, facts))
        lease = await self._observe(self.lease(installation))
        now = self._clock.now()
        nothing = Absent(now)
        return Found(installation, now, deployment, pods, lease, (), (), nothing, nothing, nothing, nothing)

    async def deployment(self, installation: Installation) -> DeploymentFacts | None:
        """The operator's Deployment."""
        body = await self._get(DEPLOYMENTS, installation.namespace, installation.name)
        return None if body is None else _deployment(body)

    async def pods(self, installation: Installation, deployment: DeploymentFacts) -> tuple[str, ...]:
        """The names of the Deployment's pods that run or are being stopped."""
        labels = ",".join(f"{key}={value}" for key, value in deployment.selector)
        bodies = await self._all(PODS, installation.namespace, labels)
        return tuple(pod["metadata"]["name"] for pod in bodies if not self._is_over(pod))

    async def lease(self, installation: Installation) -> LeaseFacts | None:
        """The Lease of the working replica."""
        body = await self._get(LEASES, installation.namespace, installation.lease_name)
        return None if body is None else _lease(body)

    async def is_active(self, namespace: str) -> bool:
        """Whether the namespace is there and is not being deleted."""
        body = await self._get(_NAMESPACES, "", namespace)
        return body is not None and "deletionTimestamp" not in body["metadata"]

    async def policy(self, resource: Resource, installation: Installation) -> PolicyFacts | None:
        """The policy that adds our finalizer, or its binding; `resource` is one of `POLICIES`."""
        body = await self._get(resource, "", installation.policy_name)
        return None if body is None else PolicyFacts(body["metadata"]["uid"])

    async def crd(self, name: str) -> CrdFacts | None:
        """One of our CRDs."""
        body = await self._get(CRDS, "", name)
        if body is None:
            return None
        return CrdFacts(name, body["metadata"]["uid"], is_deleting="deletionTimestamp" in body["metadata"])

    async def objects(self, namespaces: Iterable[str], kinds: Iterable[ResourceKind]) -> tuple[ObjectFacts, ...]:
        """The objects of these kinds; of a kind that is not served there are none. The empty namespace means all."""
        collections = [(kind, namespace) for kind in kinds for namespace in namespaces]
        parts = await asyncio.gather(*(self._collection(kind, namespace) for kind, namespace in collections))
        return tuple(thing for part in parts for thing in part)

    async def servers(self, installation: Installation) -> tuple[ObjectFacts, ...]:
        """Its LiveKitServers, which are in its own namespace."""
        return await self.objects((installation.namespace,), (LIVEKIT_SERVER,))

    async def others(self, installation: Installation) -> tuple[str, ...]:
        """The Deployments of other installations, as NAMESPACE/NAME."""
        bodies = [body["metadata"] for body in await self._all(DEPLOYMENTS, "", _OURS)]
        names = sorted(f"{body['namespace']}/{body['name']}" for body in bodies)
        return tuple(name for name in names if name != str(installation))

    async def _collection(self, kind: ResourceKind, namespace: str) -> list[ObjectFacts]:
        resource = Resource(GROUP, VERSION, kind.plural)
        return [_object(kind, body) for body in await self._all(resource, namespace)]

    async def _all(self, resource: Resource, namespace: str, labels: str = "") -> list[Body]:
        pages = self._client.pages(resource, namespace, labels=labels)
        try:
            return [body async for page in pages for body in page["items"]]
        except NotServed:
            return []

    async def _get(self, resource: Resource, namespace: str, name: str) -> Body | None:
        try:
            return await self._client.get(resource, namespace, name)
        except (NotFound, NotServed):
            return None

    async def _observe(self, read: Awaitable[T | None]) -> Observation[T]:
        try:
            value = await read
        except BackendError as error:
            return Unknown(self._clock.now(), error.message or str(error))
        return Absent(self._clock.now()) if value is None else Present(value, self._clock.now())

    def _is_over(self, pod: Mapping[str, Any]) -> bool:
        """Whether nothing of it runs: it ended, or its node is gone and its time to stop has passed."""
        if _OVER.fullmatch(pod.get("status", {}).get("phase", "")):
            return True
        deadline = _time(pod["metadata"].get("deletionTimestamp"))
        return deadline is not None and deadline + _NODE_IS_GONE < self._clock.now()


# The kubelet ends a pod by the time in its deletionTimestamp. Well after it, only a node that is gone keeps the object.
_NODE_IS_GONE: Final = timedelta(seconds=30)


def known_by(deployment: Observation[DeploymentFacts], installation: Installation) -> Installation:
    """The installation, completed by what its Deployment says."""
    facts = value_of(deployment)
    if facts is None:
        return installation
    watched = installation.watched if installation.watched is not None else facts.watched
    lease = installation.lease or facts.lease
    return Installation(installation.namespace, installation.name, watched, lease)


def _without(
    everything: Observation[tuple[ObjectFacts, ...]], known: tuple[ObjectFacts, ...]
) -> Observation[tuple[ObjectFacts, ...]]:
    if not isinstance(everything, Present):
        return everything
    uids = {thing.uid for thing in known}
    return Present(tuple(thing for thing in everything.value if thing.uid not in uids), everything.at)


def _deployment(body: Body) -> DeploymentFacts:
    metadata, spec = body["metadata"], body["spec"]
    containers = spec["template"]["spec"]["containers"]
    environment = {entry["name"]: entry for container in containers for entry in container.get("env") or ()}
    # What comes from a Secret or a ConfigMap is not read.
    is_elsewhere = any(container.get("envFrom") for container in containers)
    return DeploymentFacts(
        uid=metadata["uid"],
        wanted=int(spec.get("replicas", 1)),
        ready=int(body.get("status", {}).get("readyReplicas", 0)),
        selector=tuple(sorted(spec["selector"].get("matchLabels", {}).items())),
        resource_version=metadata["resourceVersion"],
        helm_release=metadata.get("annotations", {}).get(_RELEASE, ""),
        watched=_watched(environment.get(variable("watch_namespaces")), is_elsewhere=is_elsewhere),
        lease=str(environment.get(variable("lease_name"), {}).get("value", "")),
    )


def _watched(entry: Body | None, *, is_elsewhere: bool) -> tuple[str, ...] | None:
    if (entry is None and is_elsewhere) or (entry is not None and "valueFrom" in entry):
        return None
    text = str(entry.get("value", "")) if entry is not None else ""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _lease(body: Body) -> LeaseFacts:
    spec = body.get("spec", {})
    return LeaseFacts(
        uid=body["metadata"]["uid"],
        holder=str(spec.get("holderIdentity") or ""),
        renewed_at=_time(spec.get("renewTime")),
        lasts=timedelta(seconds=float(spec.get("leaseDurationSeconds") or 0)),
    )


def _object(kind: ResourceKind, body: Body) -> ObjectFacts:
    metadata, status = body["metadata"], body.get("status") or {}
    phase = str(status.get("phase") or "")
    conditions = {entry.get("type"): entry for entry in status.get("conditions") or ()}
    degraded = conditions.get(ConditionType.DEGRADED, {})
    return ObjectFacts(
        kind=kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        finalizers=tuple(metadata.get("finalizers") or ()),
        is_deleting="deletionTimestamp" in metadata,
        is_paused=(metadata.get("annotations") or {}).get(PAUSED) == "true",
        is_owned=any(owner.get("kind") == MATCH.kind for owner in metadata.get("ownerReferences") or ()),
        people=_people(body, phase) if kind is MATCH else (),
        state=phase,
        problem=str(degraded.get("message", "")) if degraded.get("status") == "True" else "",
    )


def _people(body: Body, phase: str) -> tuple[str, ...]:
    """The users of a Match, unless it has let go of them. A phase of another version counts as one that holds them."""
    is_over = any(str(known) == phase and MATCH_PHASES[known].terminal for known in MatchPhase)
    participants = (body.get("spec") or {}).get("participants") or ()
    return () if is_over else tuple(str(person.get("identity")) for person in participants)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
