"""Several operators in one cluster, from their first request on: at no time do two serve the same namespace.

The API server is in memory, and each request takes a time of its own, so that those of the operators interleave. Lease,
marks, looks and the order of a life are the real ones; what a term does is only whether it has begun.
"""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.announce.events import EventPoster
from controller.app import life
from controller.app.life import Operator
from controller.app.supervisor import Loop
from controller.app.wiring import Parts
from controller.backends.bundle import Backends
from controller.backends.identity import ReplicaIdentity
from controller.backends.lease import Leadership, LeaseTimes
from controller.backends.neighbors import Neighbors
from controller.clients.kubernetes import KubernetesClient
from controller.errors import AlreadyExists, Backend, BackendUnavailable, Conflict, Forbidden, NotFound
from controller.loop.work_queue import WorkQueue
from controller.telemetry.pulse import LoopName, Pulse, Pulses
from controller.triggers.neighbors import NeighborWatch
from tests.virtual_time import VirtualTime, run

NAMESPACE = "calls"
"""What all of them are set up for."""


class Cluster:
    """The Leases of a cluster, behind requests that take up to `slowest_seconds`."""

    def __init__(self, time: VirtualTime, chance: random.Random, slowest_seconds: float) -> None:
        self.time = time
        self.leases: dict[tuple[str, str], dict[str, Any]] = {}
        self._chance = chance
        self._slowest_seconds = slowest_seconds
        self._made = 0

    async def on_its_way(self) -> None:
        """Let half of a request's time pass."""
        await asyncio.sleep(self._chance.uniform(0, self._slowest_seconds / 2))

    def created(self) -> dict[str, str]:
        """What the API server adds to a new object. Its times have whole seconds."""
        self._made += 1
        uid = f"{self._chance.random():.6f}-{self._made}"
        return {"uid": uid, "creationTimestamp": f"{self.time.now():%Y-%m-%dT%H:%M:%SZ}", "resourceVersion": "1"}


class Client:
    """What the operator in `home` may ask the API server. `failures` is the share of its lists without an answer."""

    def __init__(self, cluster: Cluster, home: str, *, sees_all: bool, failures: float, chance: random.Random) -> None:
        self._cluster = cluster
        self._home = home
        self._sees_all = sees_all
        self._failures = failures
        self._chance = chance

    async def get(self, _resource: Any, namespace: str, name: str) -> dict[str, Any]:
        return await self._do(lambda: copy.deepcopy(self._found(namespace, name)))

    async def create(self, _resource: Any, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._do(lambda: self._create(namespace, body))

    async def replace(self, _resource: Any, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._do(lambda: self._replace(namespace, name, body))

    async def reconnect(self) -> None:
        """Connections are all new here."""

    async def pages(self, _resource: Any, namespace: str, *, labels: str) -> AsyncIterator[dict[str, Any]]:
        key, _, value = labels.partition("=")
        if self._chance.random() < self._failures:
            raise BackendUnavailable(Backend.KUBERNETES, "list", "no answer")
        if not namespace and not self._sees_all:
            raise Forbidden(Backend.KUBERNETES, "list", "no such right", code="403")
        yield await self._do(
            lambda: {
                "items": [
                    copy.deepcopy(lease)
                    for (of, _), lease in self._cluster.leases.items()
                    if namespace in {"", of} and lease["metadata"].get("labels", {}).get(key) == value
                ]
            }
        )

    async def _do(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        await self._cluster.on_its_way()
        done = work()
        await self._cluster.on_its_way()
        return done

    def _found(self, namespace: str, name: str) -> dict[str, Any]:
        if (namespace, name) not in self._cluster.leases:
            raise NotFound(Backend.KUBERNETES, "get", name)
        return self._cluster.leases[namespace, name]

    def _create(self, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        name = body["metadata"]["name"]
        if (namespace, name) in self._cluster.leases:
            raise AlreadyExists(Backend.KUBERNETES, "create", name)
        made = copy.deepcopy(body)
        made["metadata"] |= {"namespace": namespace, **self._cluster.created()}
        self._cluster.leases[namespace, name] = made
        return copy.deepcopy(made)

    def _replace(self, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        metadata = self._found(namespace, name)["metadata"]
        if body["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict(Backend.KUBERNETES, "replace", "it moved on")
        kept = {key: metadata[key] for key in ("uid", "creationTimestamp")}
        made = copy.deepcopy(body)
        made["metadata"] |= {**kept, "resourceVersion": str(int(metadata["resourceVersion"]) + 1)}
        self._cluster.leases[namespace, name] = made
        return copy.deepcopy(made)


class Process:
    """One process of an operator whose Lease is `home`/shard-0."""

    def __init__(self, cluster: Cluster, home: str, watched: tuple[str, ...], client: Client, number: int) -> None:
        self.home = home
        self._is_set_up = not watched or NAMESPACE in watched
        self._works = False
        self.neighbors = Neighbors(
            cast("KubernetesClient", client),
            cluster.time,
            namespace=home,
            name="shard-0",
            namespaces=watched,
            cluster_id=home,
        )
        identity = ReplicaIdentity(f"{home}-{number}", "b00t", "1", number, "5", pod_uid=f"{home}-{number}")
        self._leadership = Leadership(
            cast("KubernetesClient", client),
            cluster.time,
            identity,
            namespace=home,
            name="shard-0",
            times=LeaseTimes(),
            mark=self.neighbors.mark,
        )
        backends = SimpleNamespace(
            servers=(),
            caches={},
            # A call that runs: another operator may be at work on it.
            calls=SimpleNamespace(namespaces=lambda: (NAMESPACE,), each=lambda _: (), unserved=tuple, asked_for=tuple),
            pools=SimpleNamespace(namespaces=tuple, closed=tuple),
        )
        self._queue = WorkQueue()
        watch = NeighborWatch(self.neighbors, cast("Backends", backends), self._queue, cast("EventPoster", None))
        self._term = SimpleNamespace(
            backends=backends,
            neighbors=watch,
            pollers=SimpleNamespace(
                first_lists=self._first_lists, tell_of_lost=lambda: None, to_be_counted=lambda: iter(())
            ),
            loops=lambda: (Loop(LoopName.NEIGHBORS, watch.run),),
            worker=SimpleNamespace(start=self._start),
            end=self._end,
        )
        parts = SimpleNamespace(
            settings=None,
            clock=SimpleNamespace(follow=lambda _: None),
            health=SimpleNamespace(is_stopping=False),
            leadership=self._leadership,
            neighbors=self.neighbors,
            handover=SimpleNamespace(begin=lambda *_: None, end=lambda: None),
            pulses=Pulses((BackendUnavailable, NotFound, Forbidden)),
            caches={},
            calls=backends.calls,
            queue=self._queue,
            make_term=lambda: self._term,
        )
        self._operator = Operator(cast("Parts", parts))
        self._leading: asyncio.Task[None] | None = None

    def serves(self) -> bool:
        """Whether it would decide about a call in the namespace now."""
        return self._is_set_up and self._works and self._leadership.is_held and self.neighbors.serves(NAMESPACE)

    def start(self) -> None:
        """Start the process."""
        self._leading = asyncio.create_task(self._operator._lead(Pulse(LoopName.LEAD, 60.0)))

    async def stop(self) -> None:
        """Stop it in order."""
        await self.kill()
        await self._leadership.release()

    async def kill(self) -> None:
        """End it at once. Its Lease says that it holds it."""
        if self._leading is not None:
            self._leading.cancel()
            await asyncio.gather(self._leading, return_exceptions=True)

    async def _first_lists(self, _patience_seconds: float = 0.0) -> None:
        """There is no LiveKit."""

    def _start(self) -> None:
        self._works = True

    async def _end(self) -> None:
        self._works = False


class World:
    """Operators that are set up for one namespace, and a watch over who serves it."""

    def __init__(self, time: VirtualTime, seed: int, *, failures: float = 0.0) -> None:
        self.chance = random.Random(seed)
        self.time = time
        self.cluster = Cluster(time, self.chance, slowest_seconds=self.chance.choice((0.001, 0.3, 1.5)))
        self.processes: list[Process] = []
        self._failures = failures

    def operator(self, home: str, *watched: str, sees_all: bool = True) -> Process:
        """One more process, which is not started."""
        client = Client(self.cluster, home, sees_all=sees_all, failures=self._failures, chance=self.chance)
        process = Process(self.cluster, home, watched, client, len(self.processes))
        self.processes.append(process)
        return process

    def serving(self) -> list[str]:
        """The homes of those that serve the namespace now: never more than one."""
        homes = [process.home for process in self.processes if process.serves()]
        assert len(homes) <= 1, f"{homes} serve at {self.time.seconds:.2f} s"
        return homes

    async def passes(self, seconds: float) -> None:
        """Let time pass, and look all the time who serves."""
        until = self.time.seconds + seconds
        while self.time.seconds < until:
            self.serving()
            await asyncio.sleep(0.05)

    @property
    def eldest(self) -> str:
        """The home of the Lease that was created first."""
        made = [lease["metadata"] for lease in self.cluster.leases.values()]
        return str(min((one["creationTimestamp"], one["uid"], one["namespace"]) for one in made)[2])


def in_virtual_time(
    monkeypatch: pytest.MonkeyPatch, seed: int, scenario: Callable[[World], Coroutine[Any, Any, None]], **options: float
) -> None:
    """Run a scenario; a process makes its one term itself."""
    monkeypatch.setattr(life, "begin_term", lambda parts, _epoch: parts.make_term())

    async def main(time: VirtualTime) -> None:
        world = World(time, seed, **options)
        try:
            await scenario(world)
        finally:
            for process in world.processes:
                await process.kill()

    run(main)


SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_of_fresh_installations_that_begin_together_one_serves(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    async def scenario(world: World) -> None:
        processes = [world.operator("a"), world.operator("b", NAMESPACE), world.operator("c", NAMESPACE, "games")]
        world.chance.shuffle(processes)
        for process in processes:
            await world.passes(world.chance.choice((0.0, 0.1, 0.9)))
            process.start()
        await world.passes(40)
        assert world.serving() == [world.eldest]

    in_virtual_time(monkeypatch, seed, scenario, failures=0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_cannot_see_the_others_takes_over_from_one_that_works(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async def scenario(world: World) -> None:
        first, blind = world.operator("a"), world.operator("b", NAMESPACE, sees_all=False)
        first.start()
        await world.passes(20 + world.chance.uniform(0, 5))
        assert world.serving() == ["a"]
        blind.start()
        await world.passes(25)
        assert world.serving() == ["b"]

    in_virtual_time(monkeypatch, seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_restart_moves_nothing_and_an_operator_that_is_away_for_long_is_succeeded_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async def scenario(world: World) -> None:
        first, second = world.operator("a"), world.operator("b", NAMESPACE)
        first.start()
        await world.passes(3)
        second.start()
        await world.passes(10 + world.chance.uniform(0, 5))
        end = world.chance.choice((first.stop, first.kill))
        await end()
        await world.passes(300)
        assert world.serving() == [], "its calls wait for it"
        again = world.operator("a")
        again.start()
        await world.passes(30)
        assert world.serving() == ["a"]
        await again.stop()
        await world.passes(640)
        assert world.serving() == ["b"]
        world.operator("a").start()
        await world.passes(45)
        assert world.serving() == ["a"]

    in_virtual_time(monkeypatch, seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lease_that_is_deleted_while_its_operator_works_leaves_one_that_serves(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async def scenario(world: World) -> None:
        world.operator("a").start()
        await world.passes(3)
        world.operator("b", NAMESPACE).start()
        await world.passes(10 + world.chance.uniform(0, 5))
        assert world.serving() == ["a"]
        del world.cluster.leases["a", "shard-0"]
        await world.passes(40)
        assert world.serving() == [world.eldest] == ["b"]

    in_virtual_time(monkeypatch, seed, scenario)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_gets_more_namespaces_takes_them_after_the_other_has_noticed(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    async def scenario(world: World) -> None:
        first = world.operator("a", "games")
        first.start()
        await world.passes(3)
        world.operator("b").start()
        await world.passes(10 + world.chance.uniform(0, 5))
        assert world.serving() == ["b"]
        await first.stop()
        world.operator("a", "games", NAMESPACE).start()
        await world.passes(30)
        assert world.serving() == ["a"]

    in_virtual_time(monkeypatch, seed, scenario)
