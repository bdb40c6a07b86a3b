"""The Lease: one replica works, the others wait, and the epoch shows every store which replica is current.

The epoch is `spec.leaseTransitions`. A replica reads it, increments it and writes it with the resourceVersion, so only
one of several replicas wins. If the Lease was deleted, the epoch would fall below what Redis has seen. So the replica
asks Redis before it takes the Lease. If Redis does not answer then, the first pool that opens tells, and the replica
takes the Lease again above that.

A holder counts as gone in three cases: its Lease has not changed for its whole duration *by our own monotonic clock*
(as in client-go's leaderelection); it released the Lease; or it is known to be dead, because it has our pod name (the
kubelet never runs two containers of one pod), or was a process of this machine that no longer runs. So a restarted
replica does not wait until the lease of its predecessor expires.

A write whose answer is lost may have run. So a Conflict is no loss: the replica reads the Lease, and goes on if the
Lease still names it under its epoch. An annotation of the Lease carries what a successor has to know
(`backends.handover`). Labels and annotations of other clients stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from controller.api.names import GROUP
from controller.backends.identity import ReplicaIdentity
from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.clock import Clock
from controller.errors import AlreadyExists, BackendError, BackendRefused, Conflict, LeadershipLost, NotFound
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

# leaseTransitions is an int32.
_HIGHEST_FLOOR = 2**31 - 1_000_000

LEASES = Resource("coordination.k8s.io", "v1", "leases")
HANDOVER = f"{GROUP}/handover"
"""The annotation with what a leader leaves to its successor."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """The durations of a lease, in seconds."""

    duration_seconds: float = 15.0
    renew_seconds: float = 3.0
    retry_seconds: float = 1.0
    request_seconds: float = 4.0


def _nothing() -> None:
    """For a caller that has no pulse."""


async def _no_epoch(_near: int) -> int:
    """For a Lease whose epochs no store remembers."""
    return 0


def _no_mark() -> Mapping[str, Mapping[str, str]]:
    """For a Lease that says nothing about its operator."""
    return {}


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The leader before this one: what it left on the Lease, and when it wrote the Lease for the last time.

    `lease` is the whole Lease as it was before this one took it. It has no UID if there was none.
    """

    handover: str = ""
    renewed_at: datetime | None = None
    lease: Body = field(default_factory=lambda: {"metadata": {}}, compare=False, repr=False)


class Leadership:
    """One Lease, from the view of one replica. `handover` makes the text that every write leaves to a successor.

    `mark` makes the labels and annotations by which other installations know this one. `highest` gets the epoch that
    the Lease says, and tells the highest one that a store remembers; it may raise BackendError.
    """

    def __init__(
        self,
        client: KubernetesClient,
        clock: Clock,
        identity: ReplicaIdentity,
        *,
        namespace: str,
        name: str,
        times: LeaseTimes,
        handover: Callable[[], str] = str,
        mark: Callable[[], Mapping[str, Mapping[str, str]]] = _no_mark,
        highest: Callable[[int], Awaitable[int]] = _no_epoch,
    ) -> None:
        self._client = client
        self._clock = clock
        self._identity = identity
        self._namespace = namespace
        self._name = name
        self._times = times
        self._handover = handover
        self._mark = mark
        self._highest = highest
        self._held: Body | None = None
        # A write was sent and its answer has not come: the Lease may be ours in a version that we do not know.
        self._is_unsure = False
        # What the Lease was before such a write took it.
        self._before_unsure: Predecessor | None = None
        self._lost = asyncio.Event()
        self._confirmation: asyncio.Task[None] | None = None
        self._floor = 0
        self._valid_until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)
        self._told = ""
        self.epoch = 0
        self.predecessor = Predecessor()

    @property
    def is_held(self) -> bool:
        """Whether this replica holds the lease and it has not expired."""
        return self._held is not None and time.monotonic() < self._valid_until

    def require(self, request_seconds: float = 0.0) -> None:
        """Raise LeadershipLost unless the lease outlasts a request that starts now and takes `request_seconds`."""
        if self._held is None or time.monotonic() + request_seconds >= self._valid_until:
            raise LeadershipLost(f"the lease {self._namespace}/{self._name} is not ours for long enough")

    async def acquire(self, beat: Callable[[], None] = _nothing) -> int:
        """Wait until this replica holds the lease. Returns the new epoch. `beat` is called at every attempt."""
        waiting_for = said = ""
        while True:
            beat()
            try:
                holder = await self._try()
            except BackendError as error:
                holder = ""
                if str(error) != said:
                    said = str(error)
                    tell = log.debug if error.is_told else log.warning
                    tell("lease cannot be read or written", lease=self._name, error=said)
            if self._held is not None:
                metrics.leader.set(1)
                metrics.epoch.set(self.epoch)
                log.info("lease acquired", lease=self._name, epoch=self.epoch, identity=str(self._identity))
                return self.epoch
            if holder and holder != waiting_for:
                waiting_for = holder
                log.info("waiting for the lease", lease=self._name, holder=holder)
            await asyncio.sleep(self._times.retry_seconds)

    async def hold(self, beat: Callable[[], None] = _nothing) -> None:
        """Renew the lease until it is lost, then return. `beat` is called at every renewal."""
        pause_seconds = self._times.renew_seconds
        while not self._lost.is_set():
            beat()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), pause_seconds)
            if self._held is None:
                return
            pause_seconds = self._times.retry_seconds
            try:
                # One connection that hangs must not use up the whole duration.
                async with asyncio.timeout(self._times.renew_seconds):
                    await self._renew(self._held)
                pause_seconds = self._times.renew_seconds
            except NotFound as error:
                self._lose(f"it was deleted: {error}")
            except TimeoutError:
                await self._client.reconnect(self._times.renew_seconds)
                self._not_renewed(f"no answer within {self._times.renew_seconds:g} s", is_told=True)
            except BackendError as error:
                self._not_renewed(str(error), is_told=error.is_told)

    async def _renew(self, held: Body) -> None:
        """Renew the lease once. On a Conflict, read it: it is ours as long as it names us under our epoch."""
        started = time.monotonic()
        try:
            renewed = await self._write(held, self.epoch)
        except Conflict as error:
            lease = await self._client.get(LEASES, self._namespace, self._name)
            if not self._is_ours(lease):
                self._lose(f"another client wrote it: {error}")
                return
            started = time.monotonic()
            renewed = await self._write(lease, self.epoch)
        if not self._lost.is_set():  # else it was lost during the renewal
            self._told = ""
            self._held = renewed
            self._valid_until = started + self._times.duration_seconds

    def _not_renewed(self, why: str, *, is_told: bool) -> None:
        if time.monotonic() >= self._valid_until:
            self._lose(f"it could not be renewed in time: {why}")
        elif why != self._told:
            self._told = why
            tell = log.debug if is_told else log.warning
            tell("lease could not be renewed yet", lease=self._name, error=why)

    def outdated(self, fence: int) -> None:
        """Step down, since a store has seen the epoch `fence`, which is higher than ours.

        This happens, for example, when the Lease was deleted. The replica takes the lease again above `fence`.
        """
        self._floor = max(self._floor, min(fence, _HIGHEST_FLOOR))
        self._lose(f"epoch {fence} has been seen, ours is {self.epoch}")

    async def confirm(self) -> None:
        """Ask the API server whether we still hold the lease. All who ask in one turn share one request.

        Raises LeadershipLost if we do not, and BackendError if the API server does not answer.
        """
        self.require()
        if self._confirmation is None:
            self._confirmation = asyncio.create_task(self._ask_who_holds_it(), name="confirm the lease")
            self._confirmation.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        await asyncio.shield(self._confirmation)

    async def _ask_who_holds_it(self) -> None:
        # Who asks from now on wants to know about a later moment.
        self._confirmation = None
        lease = await self._client.get(LEASES, self._namespace, self._name)
        if not self._is_ours(lease):
            self._lose(f"it is held by {(lease.get('spec') or {}).get('holderIdentity')!r}")
            self.require()

    async def release(self) -> None:
        """Release the lease at once, so that another replica can take it. If this fails, the lease expires by
        itself.

        A write that was cancelled on its way may have run, so in doubt the Lease is read first.
        """
        held, self._held = self._held, None
        metrics.leader.set(0)
        if held is None and not self._is_unsure:
            return
        try:
            async with asyncio.timeout(self._times.request_seconds):
                if held is None or self._is_unsure or not await self._is_released(held):
                    lease = await self._client.get(LEASES, self._namespace, self._name)
                    if lease["spec"].get("holderIdentity") == str(self._identity):
                        await self._is_released(lease)
        except (BackendError, TimeoutError) as error:
            log.warning("lease could not be released; it runs out by itself", lease=self._name, error=str(error))

    async def _is_released(self, lease: Body) -> bool:
        """Write the Lease without a holder. False if this version of it is no longer the latest."""
        epoch = int(lease["spec"]["leaseTransitions"])
        body = self._body(lease, epoch)
        body["spec"].update(holderIdentity="", leaseDurationSeconds=1)
        try:
            await self._client.replace(LEASES, self._namespace, self._name, body)
        except Conflict:
            return False
        log.info("lease released", lease=self._name, epoch=epoch)
        return True

    def _is_ours(self, lease: Body) -> bool:
        spec = lease.get("spec") or {}
        return (spec.get("holderIdentity"), spec.get("leaseTransitions")) == (str(self._identity), self.epoch)

    def _lose(self, why: str) -> None:
        if self._held is None:
            return
        self._held = None
        self._lost.set()
        metrics.leader.set(0)
        log.warning("lease lost", lease=self._name, epoch=self.epoch, why=why)

    async def _try(self) -> str:
        """Take the lease if it is free. Otherwise return the name of its holder."""
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
        except NotFound:
            lease = {"metadata": {"name": self._name, "namespace": self._namespace}}
        # `kubectl create` can make a Lease without a spec.
        spec: dict[str, Any] = lease.setdefault("spec", {})
        holder = str(spec.get("holderIdentity") or "")
        foreign = holder not in {"", str(self._identity)}
        if foreign and not self._identity.is_dead_predecessor(holder) and not self._has_run_out(lease):
            return holder
        # If our write has run and its answer was lost, the Lease tells about us: who was before is known since then.
        before_unsure = self._before_unsure if holder == str(self._identity) else None
        predecessor = before_unsure or _predecessor(lease)
        transitions = int(spec.get("leaseTransitions") or 0)
        epoch = max(transitions, self._floor, await self._remembered(transitions)) + 1
        started, self._before_unsure = time.monotonic(), predecessor
        try:
            self._held = await self._write(lease, epoch)
        except (Conflict, AlreadyExists):
            return "another replica, which was faster"
        self.epoch = epoch
        self.predecessor, self._before_unsure = predecessor, None
        self._lost.clear()
        self._valid_until = started + self._times.duration_seconds
        return ""

    async def _remembered(self, before: int) -> int:
        """The highest epoch that the store remembers; 0 if it does not answer in time: the Lease does not wait."""
        try:
            async with asyncio.timeout(self._times.request_seconds):
                return min(await self._highest(before), _HIGHEST_FLOOR)
        except (BackendError, TimeoutError) as error:
            log.debug("the highest epoch is not known", lease=self._name, error=str(error))
            return 0

    def _has_run_out(self, lease: Body) -> bool:
        version = str(lease["metadata"].get("resourceVersion", ""))
        now = time.monotonic()
        if version != self._seen[0]:
            self._seen = (version, now)
            return False
        duration_seconds = float(lease["spec"].get("leaseDurationSeconds") or self._times.duration_seconds)
        # Wait one request timeout longer: by then, the last requests of the old holder have arrived.
        return now - self._seen[1] > duration_seconds + self._times.request_seconds

    async def _write(self, lease: Body, epoch: int) -> Body:
        body = self._body(lease, epoch)
        self._is_unsure = True
        try:
            if "resourceVersion" in body["metadata"]:
                written = await self._client.replace(LEASES, self._namespace, self._name, body)
            else:
                written = await self._client.create(LEASES, self._namespace, body)
        except BackendRefused:
            self._is_unsure = False
            raise
        self._is_unsure = False
        return written

    def _body(self, lease: Body, epoch: int) -> Body:
        now = _micro_time(self._clock.now())
        mine = epoch == self.epoch and self._held is not None
        metadata = {
            key: lease["metadata"][key]
            for key in ("name", "namespace", "resourceVersion", "uid", "labels", "annotations")
            if key in lease["metadata"]
        }
        for part, words in self._mark().items():
            metadata[part] = {**(metadata.get(part) or {}), **words}
        if text := self._handover():
            metadata["annotations"] = {**(metadata.get("annotations") or {}), HANDOVER: text}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": str(self._identity),
                "leaseDurationSeconds": max(1, round(self._times.duration_seconds)),
                "leaseTransitions": epoch,
                "acquireTime": lease["spec"].get("acquireTime", now) if mine else now,
                "renewTime": now,
            },
        }


def _predecessor(lease: Body) -> Predecessor:
    """What the Lease tells of the leader before. A client may have written anything there."""
    annotations = lease["metadata"].get("annotations") or {}
    try:
        renewed_at = datetime.fromisoformat(str(lease["spec"].get("renewTime", "")))
    except ValueError:
        renewed_at = None
    return Predecessor(str(annotations.get(HANDOVER, "")), renewed_at, lease)


def _micro_time(moment: datetime) -> str:
    # MicroTime: the API server requires exactly six fractional digits.
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
