"""One sweep by hand, with the settings of the operator and without its lease: it finds all, and cleans what it found.

It reads the objects from Kubernetes as the operator does when it starts, and LiveKit's rooms once. It writes to Redis
under the fence that it reads there (`backends.borrowed_pools`), so a change of the leader ends it. Neighbors:
`triggers.sweep` is the operator's own sweep, `cli.sweep` shows what this one finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import aiohttp

from controller.api.names import MATCH, ROOM
from controller.app.sweeps import sweep_rules, sweep_store
from controller.app.wiring import Parts, wire
from controller.backends.borrowed_pools import BorrowedPools
from controller.backends.cleaning import Cleaner
from controller.backends.leftover_rooms import RoomFinder
from controller.backends.leftovers import Finder
from controller.backends.objects import Objects
from controller.backends.restores import Restorer
from controller.backends.servers import Server, Servers
from controller.backends.sweep_lock import SweepLock, SweepTaken
from controller.clients.connection import connected
from controller.clients.redis.keys import Keys
from controller.clients.redis.pool import Pool
from controller.clients.redis.sweeps import Notes
from controller.errors import BackendError, RoomkeeperError
from controller.facts.leftover import Cleaned, Leftover, Outcome, SweepKind
from controller.facts.time import milliseconds
from controller.loop.recipes import RECIPES
from controller.settings import Settings
from controller.triggers.sweep_tally import SweepTally
from controller.views.livekit import LiveKitView

_SYNC_SECONDS: Final = 60.0
# A step of the operator's own sweep is short.
_WAIT_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 0.1
# Between two steps: claims have their turn.
_PAUSE_SECONDS: Final = 0.005

Progress = Callable[[int, int], None]
"""Gets how many of how many are done; the second number is 0 if it is not known."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look for: one kind or all, one id or all, in one namespace or in all that the operator serves.

    `force` treats everything as old, and takes the lock away from another sweep.
    """

    kind: SweepKind | None = None
    id: str = ""
    namespace: str = ""
    force: bool = False

    def has(self, leftover: Leftover) -> bool:
        """Whether a leftover is one of those."""
        is_there = self.namespace in {"", leftover.namespace}
        return is_there and self.kind in {None, leftover.kind} and self.id in {"", leftover.id}


@dataclass(slots=True)
class Findings:
    """What was found, how many keys of ours were looked at, and what could not be looked at."""

    leftovers: list[Leftover] = field(default_factory=list)
    keys: int = 0
    problems: list[str] = field(default_factory=list)


class HandSweep:
    """One sweep. Call `read_objects` first."""

    def __init__(self, parts: Parts, wanted: Wanted) -> None:
        self._parts = parts
        self._wanted = wanted
        self._servers = Servers(())
        self._objects = Objects(parts.kubernetes)
        self._store = sweep_store(parts)
        self._lock = SweepLock(self._store, f"by hand, {socket.gethostname()}, process {os.getpid()}")
        self._rules = sweep_rules(parts)
        if wanted.force:
            self._rules = replace(self._rules, max_age_seconds=0, young_seconds=0)

    async def read_objects(self) -> None:
        """Read all Matches, Rooms and LiveKit servers, and which namespaces other installations serve.

        Raises RoomkeeperError.
        """
        trigger = self._parts.trigger
        try:
            async with asyncio.timeout(_SYNC_SECONDS):
                await trigger.first_sync()
                await self._parts.neighbors.look_from_outside()
        except TimeoutError:
            raise RoomkeeperError("the Matches and Rooms cannot be read from Kubernetes; nothing was done") from None
        await self._parts.reader.first_read()
        for configured in self._parts.configs:
            config = configured.where_it_was()
            client = self._parts.livekit_client(config)
            self._servers.add(Server(config.name, config.public_url, config.credentials.keys, client, LiveKitView()))
        if self._parts.settings.namespaces:
            self._rules = replace(self._rules, namespaces=trigger.read_namespaces())
        if self._wanted.namespace:
            if not self._rules.serves(self._wanted.namespace):
                raise RoomkeeperError(f"the namespace {self._wanted.namespace} is none that this operator serves")
            self._rules = replace(self._rules, namespaces=(self._wanted.namespace,))

    async def notes(self) -> Notes:
        """What the sweeps of the operator have noted. Raises BackendError."""
        return await self._store.read()

    async def find(self, progress: Progress) -> Findings:
        """Find all that is wanted; what cannot be looked at costs nothing else. It changes nothing."""
        findings, wanted = Findings(), self._wanted
        finder = self._finder()
        if wanted.id and wanted.kind and wanted.namespace:
            namespaces: Collection[str] = (wanted.namespace,)
            with _told(findings, f"the pool of {wanted.namespace}"):
                findings.leftovers += await finder.named(wanted.namespace, wanted.kind, wanted.id)
        else:
            namespaces = await self._scan(finder, findings, progress)
        if wanted.kind in {None, SweepKind.ROOMS}:
            await self._find_rooms(namespaces, findings)
        findings.leftovers = [one for one in findings.leftovers if wanted.has(one)]
        return findings

    async def clean(self, leftovers: Iterable[Leftover], progress: Progress) -> list[Outcome]:
        """Clean them under the lock of the sweeps; one that cannot be cleaned costs no other.

        Raises SweepTaken if another sweep works, or takes the lock away; BackendError if Redis does not answer.
        """
        todo, results, tally = list(leftovers), list[Outcome](), SweepTally()
        notes = await self._take_lock()
        cleaner = self._cleaner()
        try:
            for leftover in todo:
                await self._lock.keep()
                progress(len(results), len(todo))
                results.append(await _cleaned(cleaner, leftover))
                if results[-1].problem or results[-1].cleaned is Cleaned.DONE:
                    tally.found(leftover.kind)
                if results[-1].problem:
                    tally.failed(leftover.kind)
                elif results[-1].cleaned is Cleaned.DONE:
                    tally.cleaned(leftover.kind)
        finally:
            with contextlib.suppress(SweepTaken, BackendError):
                now_ms = milliseconds(self._parts.clock.now())
                await self._lock.give_back({**tally.notes(notes), "ended:hand": now_ms})
        return results

    def _finder(self) -> Finder:
        parts = self._parts
        return Finder(parts.redis, parts.settings.cluster_id, self._rules, parts.caches[MATCH], parts.clock)

    def _cleaner(self) -> Cleaner:
        parts = self._parts
        cluster_id, matches = parts.settings.cluster_id, parts.caches[MATCH]
        restorer = Restorer(
            matches, parts.calls, parts.clock,
            restored=(), wake=lambda _match: None, uid_of=self._objects.match_uid, uids_in=self._objects.match_uids,
        )  # fmt: skip
        return Cleaner(
            cluster_id,
            self._rules,
            pools=BorrowedPools(parts.redis, cluster_id, parts.neighbors.trouble),
            matches=matches,
            rooms=parts.caches[ROOM],
            objects=self._objects,
            restorer=restorer,
            clock=parts.clock,
            servers=self._servers,
            may_close=lambda: None,
        )

    async def _find_rooms(self, namespaces: Iterable[str], findings: Findings) -> None:
        """LiveKit rooms without their Room, and those that a client made again; their tombstones are in the pools."""
        parts = self._parts
        finder = RoomFinder(parts.settings.cluster_id, self._rules.serves, parts.caches[ROOM])
        for server in self._servers:
            with _told(findings, f"LiveKit server {server.name}"):
                rooms = await server.client.list_rooms()
                findings.leftovers += finder.marked(server.name, rooms)
                unmarked = finder.unmarked(rooms)
                for namespace in namespaces if unmarked else ():
                    pool = Pool(parts.redis, Keys(parts.settings.cluster_id, namespace), 0, 0)
                    findings.leftovers += await finder.revived(server.name, unmarked, pool)

    async def _scan(self, finder: Finder, findings: Findings, progress: Progress) -> Collection[str]:
        """All keys of Redis, then the lists of the pools that they belong to. Returns the namespaces of those."""
        cursor, namespaces, total = "0", dict[str, None](), await self._key_count()
        while True:
            scanned = await finder.scan(cursor)
            for keys, names in scanned.pools.items():
                namespaces[keys.namespace] = None
                with _told(findings, f"the pool of {keys.namespace}"):
                    findings.leftovers += await finder.judged(keys, names)
            findings.keys += scanned.keys
            progress(findings.keys, total)
            cursor = scanned.cursor
            if cursor == "0":
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        for namespace in namespaces:
            with _told(findings, f"the pool of {namespace}"):
                findings.leftovers += await finder.listed(namespace)
        return namespaces

    async def _key_count(self) -> int:
        """How many keys Redis has; 0 if that is not known, as for the nodes of a cluster."""
        redis = self._parts.redis
        if (await redis.info("server")).get("redis_mode") == "cluster":
            return 0
        words = (await redis.info("keyspace")).values()
        counts = (part.removeprefix("keys=") for text in words for part in text.split(",") if part.startswith("keys="))
        return sum(int(count) for count in counts if count.isdigit())

    async def _take_lock(self) -> Notes:
        """Take the lock. The operator has it for a moment at a time; another sweep by hand for long."""
        until = asyncio.get_running_loop().time() + _WAIT_SECONDS
        while True:
            try:
                return await self._lock.take(force=self._wanted.force)
            except SweepTaken:
                if asyncio.get_running_loop().time() > until:
                    raise
            await asyncio.sleep(_AGAIN_SECONDS)


async def _cleaned(cleaner: Cleaner, leftover: Leftover) -> Outcome:
    try:
        done = await cleaner.clean(leftover)
    except BackendError as error:
        return Outcome(leftover, Cleaned.KEPT, error.sentence)
    return Outcome(leftover, Cleaned.DONE if done else Cleaned.KEPT)


@contextlib.contextmanager
def _told(findings: Findings, what: str) -> Iterator[None]:
    """What cannot be looked at is told at the end, and costs nothing else."""
    try:
        yield
    except BackendError as error:
        findings.problems.append(f"{what}: {error.sentence}")


@contextlib.asynccontextmanager
async def open_sweep(
    settings: Settings, wanted: Wanted, kubeconfig: Path | None, context: str
) -> AsyncIterator[HandSweep]:
    """A sweep with its sessions, which are closed at the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        connection = await stack.enter_async_context(connected(kubeconfig, context))
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        parts = wire(settings, connection, http, RECIPES)
        stack.push_async_callback(parts.redis.close)
        yield HandSweep(parts, wanted)
