"""Carries a plan out. Every step looks again before it acts, so a run can be interrupted and repeated at any point.

Only our own finalizer is ever removed, from exactly the object that was seen (its UID, and the finalizer at its place).
Nothing waits for longer than the deadline. Neighbors: `survey` looks, `plan` has the steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from controller.api.names import FINALIZER, GROUP, KINDS, LIVEKIT_SERVER, PAUSED, VERSION, ResourceKind
from controller.backends.lease import LEASES
from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.errors import BackendUnavailable, Conflict, Forbidden, NotFound, NotServed, RoomkeeperError
from controller.facts.observation import Present, Unknown, value_of
from controller.uninstall.facts import ORDER, DeploymentFacts, Found, Installation, Life, ObjectFacts, pulse
from controller.uninstall.plan import (
    DeleteCrds,
    DeleteDeployment,
    DeleteLease,
    DeletePolicy,
    Drain,
    EndOperator,
    Plan,
    Release,
    RunOperator,
    StopOperator,
)
from controller.uninstall.survey import CRDS, DEPLOYMENTS, POLICIES, Survey
from controller.uninstall.words import count, sentence, still_held

T = TypeVar("T")

_AT_ONCE: Final = 16
_PAUSE_SECONDS: Final = 0.3
_LONGEST_PAUSE_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 1.0
_FALL_BACK_SECONDS: Final = 60.0
_NAMED: Final = 5


class Told(Protocol):
    """Shows the progress."""

    def running(self, step: str, detail: str) -> None:
        """A step is under way; `detail` says how far it is."""

    def done(self, step: str, detail: str) -> None:
        """A step is over."""

    def warn(self, text: str) -> None:
        """Something a user should know later, too."""


class TimedOut(RoomkeeperError):
    """The time is over. The message names what is left, and why."""


class OperatorGone(RoomkeeperError):
    """The operator stopped working while it drained."""


class Beside(Protocol):
    """An operator that runs beside the command."""

    async def start(self, installation: Installation) -> None:
        """Start it; its Lease is in the namespace of `installation`."""

    def require(self) -> None:
        """Raise RoomkeeperError if it has ended."""

    def last_words(self) -> str:
        """The end of its log."""

    async def end(self) -> None:
        """End it."""


class Work:
    """The steps of one plan."""

    def __init__(
        self,
        client: KubernetesClient,
        survey: Survey,
        installation: Installation,
        told: Told,
        deadline: float,
        beside: Beside,
    ) -> None:
        """`deadline` is a moment of the monotonic clock."""
        self._beside = beside
        self._serving = installation
        """What the operator that drains calls itself: ours may need another namespace for its Lease."""
        self._client = client
        self._survey = survey
        self._installation = installation
        self._told = told
        self._deadline = deadline
        self._silent_since: float | None = None
        self._limit = asyncio.Semaphore(_AT_ONCE)

    async def carry_out(self, plan: Plan, found: Found) -> None:
        """All steps in order. Raises TimedOut, OperatorGone, or BackendError for a refusal."""
        carry: dict[type[Any], Callable[[Any, Found], Awaitable[str]]] = {
            DeletePolicy: self._delete_policy,
            RunOperator: self._run_operator,
            EndOperator: self._end_operator,
            Drain: self._drain,
            StopOperator: self._stop_operator,
            Release: self._release,
            DeleteLease: self._delete_lease,
            DeleteDeployment: self._delete_deployment,
            DeleteCrds: self._delete_crds,
        }
        for step in plan.steps:
            title = _TITLES[type(step)]
            self._told.running(title, sentence(step, found))
            self._told.done(title, await carry[type(step)](step, found))

    # ---- the steps; each returns what it has done

    async def _delete_policy(self, step: DeletePolicy, found: Found) -> str:
        for resource, seen in zip(POLICIES, found.policies, strict=True):
            if isinstance(seen, Present):
                await self._delete(resource, "", step.name, seen.value.uid)
        return f"{step.name} and its binding are gone"

    async def _drain(self, step: Drain, _found: Found) -> str:
        drained: set[str] = set()
        pause = _Pause()
        while True:
            started = time.monotonic()
            things = await self._objects()
            left = [thing for thing in things if thing.is_held or not thing.is_deleting]
            if not left:
                return self._summary(len(drained), things)
            drained |= {thing.uid for thing in left}
            self._told.running(_TITLES[Drain], f"{count(left)} left")
            try:
                await self._end(left)
                await self._require_operator(left)
                self._in_time(f"{count(left)} are left: {_reasons(left)}")
            except (OperatorGone, TimedOut) as error:
                if not step.may_fall_back:
                    raise
                self._told.warn(f"the drain did not finish ({error}): our finalizer is taken off instead")
                self._deadline = max(self._deadline, time.monotonic() + _FALL_BACK_SECONDS)
                return f"not finished: {count(left)} are left"
            await pause(time.monotonic() - started)

    async def _end(self, left: Sequence[ObjectFacts]) -> None:
        """Delete the first kind that is left, and lift the pause of what is being deleted."""
        kind = next(kind for kind in ORDER if any(thing.kind is kind for thing in left))
        due = [thing for thing in left if thing.kind is kind and not thing.is_deleting]
        await self._each(due, lambda thing: self._delete(_resource(kind), thing.namespace, thing.name, thing.uid))
        await self._each([thing for thing in left if thing.is_paused and thing.is_deleting], self._lift_pause)

    async def _require_operator(self, left: Sequence[ObjectFacts]) -> None:
        """Raise OperatorGone if it certainly stopped, or has been silent for too long."""
        try:
            self._beside.require()
        except RoomkeeperError:
            # The last object may have taken the CRDs with it, and an operator does not outlive them.
            if await self._objects():
                raise
            return
        signs = await self._survey.vital_signs(self._serving)
        now = pulse(signs)
        if now.life is not Life.SILENT:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = time.monotonic()
        is_gone = self._silent_since is not None and time.monotonic() - self._silent_since >= signs.patience_seconds
        if now.life is Life.STOPPED or is_gone:
            raise OperatorGone(f"the operator stopped working: {now.why}; {count(left)} are left: {_reasons(left)}")

    async def _run_operator(self, _step: RunOperator, found: Found) -> str:
        namespaces = (self._installation.namespace, *(thing.namespace for thing in found.known_objects), "default")
        for namespace in dict.fromkeys(namespaces):
            if await self._insist(partial(self._survey.is_active, namespace)):
                break
        self._serving = replace(self._installation, namespace=namespace)
        await self._beside.start(self._serving)
        pause = _Pause()
        while True:
            self._beside.require()
            now = pulse(await self._survey.vital_signs(self._serving))
            if now.life is Life.WORKS:
                return now.why
            self._in_time(f"the operator beside this command does not work; its log ends:\n{self._beside.last_words()}")
            await pause()

    async def _end_operator(self, _step: EndOperator, _found: Found) -> str:
        await self._beside.end()
        lease = await self._insist(lambda: self._survey.lease(self._serving))
        if lease is not None:
            await self._delete(LEASES, self._serving.namespace, self._serving.lease_name, lease.uid)
        return "it has ended"

    async def _stop_operator(self, _step: StopOperator, _found: Found) -> str:
        pause = _Pause()
        while True:
            signs = await self._survey.vital_signs(self._installation)
            deployment = value_of(signs.deployment)
            if deployment is not None and deployment.wanted:
                await self._scale_to_zero(deployment)
            still = _still_running(signs)
            if not still:
                return "nothing of it runs"
            self._told.running(_TITLES[StopOperator], f"waiting for {still}")
            self._in_time(f"the operator does not stop: {still}")
            await pause()

    async def _scale_to_zero(self, deployment: DeploymentFacts) -> None:
        namespace, name = self._installation.namespace, self._installation.name

        async def scale() -> None:
            # Another client changed it: it is read again before the next attempt.
            with contextlib.suppress(Conflict, NotFound):
                await self._client.merge_patch(
                    DEPLOYMENTS, namespace, name, {"spec": {"replicas": 0}}, deployment.resource_version, "scale"
                )

        await self._insist(scale)

    async def _release(self, _step: Release, _found: Found) -> str:
        released: list[ObjectFacts] = []
        pause = _Pause()
        while True:
            held = [thing for thing in (*await self._objects(), *await self._servers()) if thing.is_held]
            if not held:
                break
            self._told.running(_TITLES[Release], f"{count(held)} left")
            released += [
                thing for thing, done in zip(held, await self._each(held, self._take_off), strict=True) if done
            ]
            self._in_time(f"our finalizer is still on {_named(held)}")
            await pause()
        # LiveKitServers stay, and never had the operator to wait for.
        if left := [thing for thing in released if thing.kind is not LIVEKIT_SERVER]:
            self._told.warn(f"released without the operator: {_named(left)}")
        if people := [user for thing in released if thing.is_deleting for user in thing.people]:
            self._told.warn(still_held(people))
        return f"our finalizer is off {count(released)}" if released else "nothing was left"

    async def _delete_lease(self, step: DeleteLease, _found: Found) -> str:
        lease = await self._insist(lambda: self._survey.lease(self._installation))
        if lease is not None:
            await self._delete(LEASES, self._installation.namespace, step.name, lease.uid)
        return f"{step.name} is gone"

    async def _delete_deployment(self, _step: DeleteDeployment, _found: Found) -> str:
        installation = self._installation
        deployment = await self._insist(lambda: self._survey.deployment(installation))
        if deployment is not None:
            await self._delete(DEPLOYMENTS, installation.namespace, installation.name, deployment.uid)
        return f"{installation} is gone"

    async def _delete_crds(self, step: DeleteCrds, _found: Found) -> str:
        pause = _Pause()
        while True:
            crds = [crd for name in step.names if (crd := await self._insist(partial(self._survey.crd, name)))]
            if not crds:
                return f"{', '.join(step.names)} are gone"
            for crd in crds:
                if not crd.is_deleting:
                    await self._delete(CRDS, "", crd.name, crd.uid)
            left = ", ".join(crd.name for crd in crds)
            self._told.running(_TITLES[DeleteCrds], f"waiting for {left}")
            things = await self._insist(lambda: self._survey.objects(("",), KINDS))
            self._in_time(f"{left} are left: {_reasons(things)}")
            await pause()

    # ---- requests

    async def _objects(self) -> tuple[ObjectFacts, ...]:
        """The objects of the watched namespaces; none where our kinds are not served."""

        return await self._insist(lambda: self._survey.objects(self._installation.watched or ("",), ORDER))

    async def _servers(self) -> tuple[ObjectFacts, ...]:
        """The LiveKitServers; none without the right to list them, which the plan has told of."""
        try:
            return await self._insist(lambda: self._survey.servers(self._installation))
        except Forbidden:
            return ()

    async def _take_off(self, thing: ObjectFacts) -> bool:
        """Remove our finalizer and no other. False: the object changed meanwhile, and is looked at again."""
        path = f"/metadata/finalizers/{thing.finalizers.index(FINALIZER)}"
        operations: list[Body] = [
            {"op": "test", "path": "/metadata/uid", "value": thing.uid},
            {"op": "test", "path": path, "value": FINALIZER},
            {"op": "remove", "path": path},
        ]
        return await self._patch(thing, operations)

    async def _lift_pause(self, thing: ObjectFacts) -> bool:
        path = f"/metadata/annotations/{PAUSED.replace('/', '~1')}"
        operations: list[Body] = [
            {"op": "test", "path": "/metadata/uid", "value": thing.uid},
            {"op": "remove", "path": path},
        ]
        return await self._patch(thing, operations)

    async def _patch(self, thing: ObjectFacts, operations: list[Body]) -> bool:
        async def patch() -> bool:
            try:
                await self._client.json_patch(_resource(thing.kind), thing.namespace, thing.name, operations)
            except (NotFound, NotServed, Conflict):
                return False
            return True

        return await self._insist(patch)

    async def _delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Delete exactly this object; another one of its name is left alone."""

        async def delete() -> None:
            # A kind that is no longer served has no objects.
            with contextlib.suppress(Conflict, NotServed):
                await self._client.delete(resource, namespace, name, uid)

        await self._insist(delete)

    async def _each(self, things: Iterable[ObjectFacts], do: Callable[[ObjectFacts], Awaitable[T]]) -> list[T]:
        async def one(thing: ObjectFacts) -> T:
            async with self._limit:
                return await do(thing)

        return await asyncio.gather(*(one(thing) for thing in things))

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat an attempt that may be repeated, until it works or the time is over."""
        while True:
            try:
                return await attempt()
            except BackendUnavailable as error:
                self._in_time(str(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    def _in_time(self, left: str) -> None:
        if time.monotonic() >= self._deadline:
            raise TimedOut(f"the time is over: {left}")

    def _summary(self, number: int, things: Sequence[ObjectFacts]) -> str:
        for thing in things:
            self._told.warn(f"{thing} waits for the finalizer {', '.join(thing.foreign)}, which is not ours")
        return f"{number} objects ended" if number else "nothing was left"


_TITLES: Final[dict[type[Any], str]] = {
    DeletePolicy: "finalizer policy",
    RunOperator: "own operator",
    EndOperator: "own operator",
    Drain: "drain",
    StopOperator: "operator",
    Release: "finalizers",
    DeleteLease: "Lease",
    DeleteDeployment: "Deployment",
    DeleteCrds: "CRDs",
}


class _Pause:
    """The time between two looks: short at first, and never shorter than the look itself took."""

    def __init__(self) -> None:
        self._seconds = _PAUSE_SECONDS

    async def __call__(self, look_seconds: float = 0.0) -> None:
        await asyncio.sleep(max(self._seconds, look_seconds))
        self._seconds = min(self._seconds * 1.3, _LONGEST_PAUSE_SECONDS)


def _still_running(signs: Found) -> str:
    """What of the operator still runs, for people; empty if nothing does."""
    for what, seen in (("Deployment", signs.deployment), ("pods", signs.pods), ("Lease", signs.lease)):
        if isinstance(seen, Unknown):
            return f"its {what} cannot be read: {seen.why}"
    deployment, lease, pods = value_of(signs.deployment), value_of(signs.lease), value_of(signs.pods)
    if pods:
        return ", ".join(pods[:_NAMED])
    if lease is not None and lease.is_live(signs.now):
        return f"{lease.holder}, which holds the Lease"
    return f"the Deployment, which wants {deployment.wanted}" if deployment is not None and deployment.wanted else ""


def _resource(kind: ResourceKind) -> Resource:
    return Resource(GROUP, VERSION, kind.plural)


def _named(things: Sequence[ObjectFacts]) -> str:
    more = f" and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return ", ".join(map(str, things[:_NAMED])) + more


def _reasons(things: Sequence[ObjectFacts]) -> str:
    """The objects that are left, each with what holds it."""
    more = f"; and {len(things) - _NAMED} more" if len(things) > _NAMED else ""
    return "; ".join(f"{thing} ({_reason(thing)})" for thing in things[:_NAMED]) + more or "no object is"


def _reason(thing: ObjectFacts) -> str:
    if thing.problem:
        return thing.problem
    if thing.foreign and not thing.is_held:
        return f"finalizer {', '.join(thing.foreign)}"
    if thing.is_paused:
        return f"annotation {PAUSED}"
    return thing.state or "the operator has not seen it"
