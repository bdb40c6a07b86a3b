"""Kubernetes Events: posted beside the work, never in its way, and deduplicated.

The same thing said again of the same object within ten minutes raises the count of the Event that is there, as
client-go's correlator does, instead of adding another. The queue is bounded: under a flood Events are dropped and
counted, since they are for people.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from controller.api.match import Match
from controller.api.meta import format_seconds
from controller.api.names import API_VERSION, Kind
from controller.api.room import Room
from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.clock import Clock
from controller.errors import AlreadyExists, BackendError, NotFound
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

EVENTS = Resource("", "v1", "events")
_AGAIN = timedelta(minutes=10)
_QUEUE_SIZE = 1000
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about."""

    kind: Kind
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, kind: Kind, found: Match | Room) -> Subject:
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
        digest = hashlib.sha256(f"{self.subject.uid}\0{self.type}\0{self.reason}\0{self.message}".encode()).hexdigest()
        return f"{self.subject.name[:200]}.{digest[:16]}"


@dataclass(slots=True)
class _Posted:
    last: datetime
    count: int


class EventPoster:
    """Takes notes at once and posts them one after another from a task of its own."""

    def __init__(self, client: KubernetesClient, clock: Clock, identity: str) -> None:
        self._client = client
        self._clock = clock
        self._identity = identity
        self._queue: asyncio.Queue[_Note] = asyncio.Queue(_QUEUE_SIZE)
        self._posted: OrderedDict[str, _Posted] = OrderedDict()

    def normal(self, subject: Subject, reason: str, message: str) -> None:
        """Something went as it should."""
        self._take(_Note(subject, "Normal", reason, message))

    def warning(self, subject: Subject, reason: str, message: str) -> None:
        """Something that somebody may want to look at."""
        self._take(_Note(subject, "Warning", reason, message))

    async def run(self) -> None:
        """Post until cancelled."""
        while True:
            note = await self._queue.get()
            try:
                await self._post(note)
                metrics.events_posted.labels("ok").inc()
            except BackendError as error:
                # A namespace that is going away takes no Events; nothing hangs on one.
                metrics.events_posted.labels("failed").inc()
                log.debug("event could not be posted", reason=note.reason, error=str(error))

    def _take(self, note: _Note) -> None:
        try:
            self._queue.put_nowait(note)
        except asyncio.QueueFull:
            metrics.events_posted.labels("dropped").inc()

    async def _post(self, note: _Note) -> None:
        now = self._clock.now()
        name, namespace = note.event_name, note.subject.namespace
        posted = self._posted.get(name)
        if posted is not None and now - posted.last < _AGAIN and await self._count_again(posted, namespace, name, now):
            return
        self._posted[name] = _Posted(now, 1)
        while len(self._posted) > _REMEMBERED:
            self._posted.popitem(last=False)
        with contextlib.suppress(AlreadyExists):  # an earlier process has said the same of the same object
            await self._client.create(EVENTS, namespace, self._body(note, name, now))

    async def _count_again(self, posted: _Posted, namespace: str, name: str, now: datetime) -> bool:
        """Raise the count of the Event that is there; False if it has run out of its time to live."""
        posted.count, posted.last = posted.count + 1, now
        patch: list[Body] = [
            {"op": "replace", "path": "/count", "value": posted.count},
            {"op": "replace", "path": "/lastTimestamp", "value": format_seconds(now)},
        ]
        try:
            await self._client.json_patch(EVENTS, namespace, name, patch)
        except NotFound:
            return False
        return True

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
