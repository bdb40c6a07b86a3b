"""Probes people whom LiveKit lists, to find those who are gone: the ghosts of a node that has died.

A probe is a request that changes nothing and that only the node of the participant can answer. It follows where
something contradicts the list: LiveKit counts fewer people for more than 5 s, a gateway suspects a loss or is silent,
LiveKit was away, or another ghost was found. Without any of these, each occupied room has one of its people probed now
and then, since a node can die without any sign. A participant is a ghost if LiveKit has said twice that no node
answers, still lists the same session, and has reached a node for another request meanwhile. Everything else is not
known, and changes nothing.

All of it is bounded: some rooms at once, one probe of a room at a time, longer and longer pauses. The bulk list never
waits for a probe. Neighbors: `triggers.poll` calls this once per round, `views.ghosts` keeps what was found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from controller.backends.servers import Server
from controller.clock import Clock
from controller.errors import Backend, BackendError, BackendUnavailable, Code, NotFound
from controller.facts.livekit import LiveKitParticipant
from controller.facts.silences import LONG_AGO
from controller.facts.time import from_milliseconds
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

_ROOMS_AT_ONCE = 16
_PEOPLE_PER_ROOM = 2
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(seconds=60)
# LiveKit Cloud allows 1 000 requests a minute; the samples of a large server are an eighth of that.
SAMPLE_EVERY = timedelta(seconds=30)
_SAMPLES_PER_ROUND = 4
_ROUND_OF_SAMPLES = timedelta(seconds=2)
_AFTER_FAILURE = timedelta(seconds=10)
# LiveKit has answered that it has too many requests.
_TOO_MANY, _AFTER_TOO_MANY = "429", timedelta(seconds=60)


@dataclass(slots=True)
class _Suspicion:
    """Why a room is probed: the first sign that a participant may be gone; None once all of them have answered.

    `pause` is how long the room is left alone after the latest probe, unless it is urgent; it ended at `ended_at`.
    """

    since: datetime | None = None
    pause: timedelta = _FIRST_PAUSE
    ended_at: datetime = LONG_AGO


class Prober:
    """Probes the rooms of one server while this replica leads."""

    def __init__(self, server: Server, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._rooms: dict[str, _Suspicion] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sampling: asyncio.Task[None] | None = None
        self._sample_not_before = LONG_AGO
        self._sampled_at: dict[str, datetime] = {}
        self._not_before = LONG_AGO
        self._limit = asyncio.Semaphore(_ROOMS_AT_ONCE)
        self._checking = asyncio.Lock()
        self._node_answered_at = LONG_AGO

    def suspect(self, name: str, since: datetime) -> None:
        """A participant in the room `name` may have been gone `since` this time: probe all who are listed there."""
        room = self._rooms.setdefault(name, _Suspicion())
        room.since = min(since, room.since or since)
        self._start(name, room)

    def verify(self, name: str) -> None:
        """It matters now whether the ghosts in the room `name` are still gone: probe them without a pause."""
        room = self._rooms.setdefault(name, _Suspicion())
        if name not in self._tasks:
            self._tasks[name] = self._task(name, room)

    def round(self, now: datetime) -> None:
        """Look for what is due: rooms that are disputed or suspected, ghosts, and samples of all others."""
        view = self._server.view
        occupied = dict(view.occupied())
        for name in [name for name in self._rooms if name not in occupied and name not in self._tasks]:
            del self._rooms[name]
        for name in [name for name in self._sampled_at if name not in occupied]:
            del self._sampled_at[name]
        for name, since in view.disputed():
            if name in occupied:
                self.suspect(name, since)
        for name in view.ghosts.rooms():
            if name in occupied:
                self._start(name, self._rooms.setdefault(name, _Suspicion()))
        for name, room in self._rooms.items():
            if room.since is not None:
                self._start(name, room)
        if now >= self._sample_not_before and (self._sampling is None or self._sampling.done()):
            due = sorted((self._looked_at(name), name) for name in occupied if name not in self._tasks)
            names = [name for at, name in due[:_SAMPLES_PER_ROUND] if now - at >= SAMPLE_EVERY]
            if names:
                self._sample_not_before = now + _ROUND_OF_SAMPLES
                self._sampling = asyncio.get_running_loop().create_task(self._sample(names), name="sample people")

    def suspect_all(self, since: datetime) -> None:
        """The server was away, or a node of it has died: any participant may have been gone `since` then."""
        for name, _ in list(self._server.view.occupied()):
            if self._server.view.ghosts.probed_at(name) < since:
                self.suspect(name, since)

    def clock_was_set(self) -> None:
        """Forget all moments: those of the earlier clock cannot be compared with those to come."""
        self._node_answered_at = self._sample_not_before = self._not_before = LONG_AGO
        self._sampled_at.clear()
        for room in self._rooms.values():
            room.ended_at = LONG_AGO
            room.since = self._clock.now() if room.since is not None else None

    async def close(self) -> None:
        """End all probes."""
        tasks = [*self._tasks.values(), *((self._sampling,) if self._sampling is not None else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, room: _Suspicion) -> None:
        now = self._clock.now()
        if name not in self._tasks and now >= self._not_before and now - room.ended_at >= room.pause:
            self._tasks[name] = self._task(name, room)

    def _looked_at(self, name: str) -> datetime:
        """When a participant of the room was last probed, whatever the answer was."""
        return max(self._server.view.ghosts.probed_at(name), self._sampled_at.get(name, LONG_AGO))

    def _failed(self, error: BackendError) -> None:
        """After "too many requests" no probe is sent for a while: they must not keep the lists from being answered."""
        if error.code == _TOO_MANY:
            self._not_before = self._sample_not_before = self._clock.now() + _AFTER_TOO_MANY

    def _task(self, name: str, room: _Suspicion) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._probe_room(name, room), name=f"probe {name}")
        task.add_done_callback(partial(self._ended, name, room))
        return task

    def _ended(self, name: str, room: _Suspicion, _task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        now = self._clock.now()
        if now - room.ended_at > 2 * _LONGEST_PAUSE:
            room.pause = _FIRST_PAUSE
        else:
            room.pause = min(2 * room.pause, _LONGEST_PAUSE)
        room.ended_at = now

    async def _sample(self, names: Iterable[str]) -> None:
        """Probe the one in each room who was not probed for longest."""
        view = self._server.view
        occupied = dict(view.occupied())
        for name in names:
            if name not in occupied:
                continue
            person = min(occupied[name], key=partial(view.ghosts.alive_at, name))
            sent_at = self._sampled_at[name] = self._clock.now()
            try:
                is_alive = await self._answers(name, person)
            except BackendError as error:
                log.debug("a participant could not be probed; next time", room=name, error=str(error))
                self._sample_not_before = sent_at + _AFTER_FAILURE
                self._failed(error)
                return
            if not is_alive:
                self.suspect(name, sent_at)

    async def _probe_room(self, name: str, room: _Suspicion) -> None:
        async with self._limit:
            first_sent_at = self._clock.now()
            try:
                silent = await self._silent(name, await self._listed(name))
                again_at = self._clock.now()
                silent = await self._silent(name, silent)
                if silent:
                    await self._require_nodes(first_sent_at)
                    listed = {person.sid for person in await self._listed(name)}
            except BackendError as error:
                tell = log.debug if error.is_told else log.info
                tell("people could not be probed; they count as listed", room=name, error=str(error))
                self._failed(error)
                room.since = room.since or first_sent_at
                return
            suspected_since, room.since = room.since or first_sent_at, None
            found = [one for one in silent if one.sid in listed]
            since = min(first_sent_at, max(suspected_since, self._last_sign(name, found)))
            if new := [one for one in found if self._server.view.saw_ghost(name, one, since, again_at)]:
                self._report(name, new)
                self.suspect_all(since)

    def _last_sign(self, name: str, ghosts: Iterable[LiveKitParticipant]) -> datetime:
        """When any of the ghosts was certainly alive for the last time: they were all on one node, so all of them."""
        ghosts, record = tuple(ghosts), self._server.view.ghosts
        joined = (from_milliseconds(one.joined_at_ms) for one in ghosts)
        return max((*joined, *(record.alive_at(name, one) for one in ghosts)), default=LONG_AGO)

    def _report(self, name: str, new: list[LiveKitParticipant]) -> None:
        metrics.ghosts_found.inc(len(new))
        log.warning(
            "LiveKit lists people whose node does not answer; they count as lost",
            server=self._server.name,
            room=name,
            identities=sorted(one.identity for one in new),
        )

    async def _listed(self, name: str) -> tuple[LiveKitParticipant, ...]:
        sent_at = self._clock.now()
        people = await self._server.client.list_participants(name)
        self._server.view.saw_people(name, people, sent_at)
        return people

    async def _silent(self, name: str, people: Iterable[LiveKitParticipant]) -> tuple[LiveKitParticipant, ...]:
        """Those of `people` for whom no node answers. Raises BackendError if it is not known of one of them."""
        limit, asked = asyncio.Semaphore(_PEOPLE_PER_ROOM), tuple(people)

        async def answers(person: LiveKitParticipant) -> bool:
            async with limit:
                return await self._answers(name, person)

        answered = await asyncio.gather(*(answers(person) for person in asked), return_exceptions=True)
        for one in answered:
            if isinstance(one, BaseException):
                raise one
        return tuple(person for person, is_alive in zip(asked, answered, strict=True) if not is_alive)

    async def _answers(self, name: str, person: LiveKitParticipant) -> bool:
        """Whether a node answers for the participant. One who is no longer listed is not asked for any more."""
        sent_at = self._clock.now()
        try:
            sid = await self._server.client.probe(name, person.identity)
        except NotFound:
            return True  # the next list shows that they are gone
        if sid is None:
            return False
        self._node_answered_at = max(self._node_answered_at, sent_at)
        if sid == person.sid:
            self._server.view.saw_alive(name, person, sent_at)
        return True

    async def _require_nodes(self, since: datetime) -> None:
        """Raise BackendError unless LiveKit has reached a node for a request that was sent after `since`.

        If it reaches no node at all, nothing is known of anyone: media may well flow.
        """
        async with self._checking:
            if self._node_answered_at >= since:
                return
            sent_at = self._clock.now()
            if not await self._server.client.has_nodes_that_answer():
                raise BackendUnavailable(
                    Backend.LIVEKIT, "UpdateParticipant", "LiveKit reaches none of its nodes", code=Code.NO_NODE
                )
            self._node_answered_at = sent_at
