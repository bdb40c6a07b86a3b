"""Kubernetes Events, posted by a task of their own so that no reconcile waits for them, and deduplicated.

If an Event with the same reason and message exists for the object, this module raises its count instead of adding
another one; it does not matter which process posted it. The queue is bounded: under a flood Events are dropped and
counted, because only people read them. Neighbor: `announce.announcer` decides what is posted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

import structlog

from controller.api.match import Match
from controller.api.meta import format_seconds
from controller.api.names import API_VERSION, ResourceKind
from controller.api.room import Room
from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.clock import Clock
from controller.errors import AlreadyExists, BackendError, NotFound
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

EVENTS = Resource("", "v1", "events")
_QUEUE_SIZE = 1000
_REMEMBERED = 4096
_LOOK_UP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about."""

    kind: ResourceKind
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, kind: ResourceKind, found: Match | Room) -> Subject:
        """The subject for an object of ours."""
        return cls(kind, found.metadata.namespace, found.metadata.name, found.metadata.uid)


@dataclass(frozen=True, slots=True)
class _Note:
    subject: Subject
    type: str
    reason: str
    message: str

    @property
    def event_name(self) -> str:
        return event_name(self.subject, self.type, self.reason, self.message)


def event_name(subject: Subject, type_: str, reason: str, message: str) -> str:
    """The name of the Event that says this about the subject: equal Events have equal names."""
    digest = hashlib.sha256(f"{subject.uid}\0{type_}\0{reason}\0{message}".encode()).hexdigest()
    # What is cut off may leave a character at the end that no part of a name ends with.
    return f"{subject.name[:200].rstrip('-.')}.{digest[:16]}"


class EventPoster:
    """Accepts Events at once and posts them one after another from a task of its own."""

    def __init__(self, client: KubernetesClient, clock: Clock, identity: str) -> None:
        self._client = client
        self._clock = clock
        self._identity = identity
        self._queue: asyncio.Queue[_Note] = asyncio.Queue(_QUEUE_SIZE)
        self._counts: OrderedDict[str, int] = OrderedDict()

    def normal(self, subject: Subject, reason: str, message: str) -> None:
        """Queue an Event of type Normal: something went as it should."""
        self._take(_Note(subject, "Normal", reason, message))

    def warning(self, subject: Subject, reason: str, message: str) -> None:
        """Queue an Event of type Warning: something that a person should look at."""
        self._take(_Note(subject, "Warning", reason, message))

    async def run(self, pulse: Pulse) -> None:
        """Post until cancelled."""
        while True:
            note = await self._next(pulse)
            with pulse.item("to post an Event", reason=note.reason):
                try:
                    await self._post(note)
                    metrics.events_posted.labels("ok").inc()
                except BackendError as error:
                    # A namespace that is going away takes no Events; nothing depends on one.
                    metrics.events_posted.labels("failed").inc()
                    log.debug("event could not be posted", reason=note.reason, error=str(error))

    async def _next(self, pulse: Pulse) -> _Note:
        """The next Event to post. The loop is alive while it waits for one."""
        while True:
            pulse.beat()
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self._queue.get(), _LOOK_UP_SECONDS)

    def _take(self, note: _Note) -> None:
        try:
            self._queue.put_nowait(note)
        except asyncio.QueueFull:
            metrics.events_posted.labels("dropped").inc()

    async def _post(self, note: _Note) -> None:
        now = self._clock.now()
        name, namespace = note.event_name, note.subject.namespace
        if name in self._counts:
            with contextlib.suppress(NotFound):  # its time to live is over: post a new one
                return await self._count_again(namespace, name, now)
        try:
            await self._client.create(EVENTS, namespace, self._body(note, name, now))
            self._remember(name, 1)
        except AlreadyExists:
            # An earlier process has posted the same Event. We may not read Events, but the answer to a patch contains
            # the Event as it is.
            found = await self._patch(namespace, name, [_last_seen(now)])
            self._remember(name, int(found.get("count") or 1))
            await self._count_again(namespace, name, now)

    async def _count_again(self, namespace: str, name: str, now: datetime) -> None:
        """Raise the count of the existing Event. Raises NotFound if it is gone."""
        count = self._counts[name] + 1
        await self._patch(namespace, name, [{"op": "replace", "path": "/count", "value": count}, _last_seen(now)])
        self._remember(name, count)

    async def _patch(self, namespace: str, name: str, operations: list[Body]) -> Body:
        return await self._client.json_patch(EVENTS, namespace, name, operations)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)

    def _body(self, note: _Note, name: str, now: datetime) -> Body:
        subject = note.subject
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": subject.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": subject.kind.kind,
                "namespace": subject.namespace,
                "name": subject.name,
                "uid": subject.uid,
            },
            "type": note.type,
            "reason": note.reason,
            "message": note.message[:1024],
            "count": 1,
            "firstTimestamp": format_seconds(now),
            "lastTimestamp": format_seconds(now),
            "source": {"component": "roomkeeper"},
            "reportingComponent": "roomkeeper.dev/controller",
            "reportingInstance": self._identity[:128],
        }


def _last_seen(now: datetime) -> Body:
    return {"op": "replace", "path": "/lastTimestamp", "value": format_seconds(now)}
