"""All that is measured with so many live calls, on a stack of its own, in the order that needs one bring-up.

1. An operator without flags makes the calls. What a Match costs, and the memory.
2. It is quiet. CPU, and the longest turn of its event loop.
3. It is restarted, with flags. How long until all is decided, then CPU while it is quiet.
4. It is restarted again, and while all keys wait, some calls are skipped.
5. A second replica waits; the leader is killed. How long until the second one has decided all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import aiohttp

from benchmarks.access import Access, kubernetes_session
from benchmarks.cluster import Harness
from benchmarks.figures import percentile
from benchmarks.life.capacity import memory_mib
from benchmarks.live import bare, skips
from benchmarks.live.figures import LiveFigures
from benchmarks.live.fill import Calls, Filler, beating
from benchmarks.live.replica import FLAGS, LEASE, Replica
from benchmarks.live.starts import Start, first_decision, followed
from benchmarks.measure import During, nothing
from controller.clients.livekit import LiveKitClient
from controller.clock import ServerClock
from sandbox.ports import PortLocks
from sandbox.stack import Stack, StackOptions

_OFF, _ON = {FLAGS: "false"}, {FLAGS: "true"}
_PATIENCE_SECONDS = 600.0
# A tenth of a core: what is left to write of the rooms that LiveKit's polls find empty takes more.
_QUIET_MS_PER_S = 100.0
_CALLS_PER_NAMESPACE = 100
_MOST_SKIPS = 100


@dataclass(frozen=True)
class Sizes:
    """The sizes, each measured by itself, and for how long.

    An operator is quiet when it used little CPU for `quiet_seconds`.
    """

    live: tuple[int, ...]
    seconds: float
    turns_seconds: float
    quiet_seconds: float
    lease_seconds: int
    """How long the lease of a leader that was killed holds."""

    def changed(self, live: int | None, *, grows: bool) -> Sizes:
        """Return the sizes with `live` calls, and if it grows with a hundredth and a tenth of them before."""
        most = live or self.live[-1]
        return replace(self, live=tuple(max(1, most // part) for part in (100, 10, 1)) if grows else (most,))


FULL = Sizes((10_000,), 60.0, 20.0, 5.0, lease_seconds=15)
QUICK = Sizes((12,), 1.0, 1.0, 1.0, lease_seconds=10)


async def measure(live: int, sizes: Sizes, note: Callable[[str], None], during: During = nothing) -> LiveFigures:
    """Measure with so many live calls. `during` runs while nothing happens; `note` is told what was found so far."""
    async with Stack(StackOptions(operator=False)) as stack, AsyncExitStack() as exits:
        access = Access.of(stack.endpoints)
        admin = await exits.enter_async_context(kubernetes_session(access, access.admin_token))
        http = await exits.enter_async_context(aiohttp.ClientSession())
        livekit = LiveKitClient(
            http, access.livekit_http_url, access.livekit_api_key, access.livekit_api_secret, ServerClock()
        )
        # Right after its start the API server takes no Match: this waits until it does.
        await Harness(access, admin, http).create_namespace()
        calls = Calls(access, -(-live // _CALLS_PER_NAMESPACE))
        await exits.enter_async_context(beating(calls))
        scene = _Scene(stack, sizes, calls, admin, http, livekit, exits)
        return await _measured(live, scene, note, during)


@dataclass(frozen=True)
class _Scene:
    """What all steps need."""

    stack: Stack
    sizes: Sizes
    calls: Calls
    admin: aiohttp.ClientSession
    http: aiohttp.ClientSession
    livekit: LiveKitClient
    exits: AsyncExitStack

    def replica(self, settings: dict[str, str], name: str = "operator") -> Replica:
        """A replica that the run kills at its end."""
        made = Replica(self.stack, name, {LEASE: str(self.sizes.lease_seconds), **settings})
        self.exits.push_async_callback(made.kill)
        return made

    async def bare_list(self) -> float:
        """Seconds of a LIST of everything."""
        return await bare.list_seconds(self.calls.access, self.admin)


async def _measured(live: int, scene: _Scene, note: Callable[[str], None], during: During) -> LiveFigures:
    sizes, calls = scene.sizes, scene.calls
    maker = scene.replica(_OFF)
    await maker.start()
    await first_breath(maker, sizes)
    empty_mib, began, cpu_ms = memory_mib(maker.pid), time.monotonic(), maker.cpu_ms()
    await Filler(calls, scene.admin, scene.livekit, maker)(live, scene.http)
    bring_up_s, cpu_ms = time.monotonic() - began, maker.cpu_ms() - cpu_ms
    note(f"{live} calls made in {bring_up_s:.0f} s, {cpu_ms / live:.2f} ms of CPU each")

    await quiet(maker, sizes)
    async with during(maker.pid):
        idle = await cpu_ms_per_s(maker, sizes.seconds)
    made_mib = memory_mib(maker.pid)
    maker.ticks.wake()
    await asyncio.sleep(sizes.turns_seconds)
    idle_turn_ms = maker.ticks.sleep()
    poll_cpu_ms = await bare.poll_cpu_ms(scene.livekit, calls.access.cluster_id)
    note(f"quiet: {idle:.1f} m, {made_mib:.0f} MiB, longest turn {idle_turn_ms:.1f} ms, a poll {poll_cpu_ms:.1f} ms")
    await maker.stop()

    list_s = await scene.bare_list()
    second = scene.replica(_ON)
    restart = await started(second, live)
    note(f"bare LIST {list_s:.2f} s, first decision {restart.first_s:.2f} s, all {restart.all_s:.2f} s")
    await quiet(second, sizes)
    flags = await cpu_ms_per_s(second, sizes.seconds)
    restarted_mib = memory_mib(second.pid)
    note(f"with flags: {flags:.1f} m, {restarted_mib:.0f} MiB")
    await second.stop()

    skipped_ms, leader = await _skipped(live, scene)
    note(f"{len(skipped_ms)} skips: p99 {percentile(skipped_ms, 0.99):.0f} ms")
    takeover = await _taken_over(live - len(skipped_ms), leader, scene)
    note(f"takeover: first decision {takeover.first_s:.1f} s, all {takeover.all_s:.1f} s")
    return LiveFigures(
        live=live,
        namespaces=calls.namespaces,
        bring_up_s=bring_up_s,
        cpu_ms_per_match=cpu_ms / live,
        memory_empty_mib=empty_mib,
        memory_mib=made_mib,
        memory_restarted_mib=restarted_mib,
        idle_cpu_ms_per_s=idle,
        flags_cpu_ms_per_s=flags,
        idle_turn_ms=idle_turn_ms,
        start_turn_ms=restart.longest_turn_ms,
        poll_cpu_ms=poll_cpu_ms,
        list_s=list_s,
        first_decision_s=restart.first_s,
        all_decided_s=restart.all_s,
        skips=len(skipped_ms),
        skip_p50_ms=percentile(skipped_ms, 0.5),
        skip_p99_ms=percentile(skipped_ms, 0.99),
        takeover_first_s=takeover.first_s,
        takeover_all_s=takeover.all_s,
    )


async def first_breath(replica: Replica, sizes: Sizes) -> None:
    """Let a replica without Matches do what it does once after its start."""
    await asyncio.sleep(sizes.quiet_seconds)
    replica.ticks.sleep()


async def quiet(replica: Replica, sizes: Sizes) -> None:
    """Wait until it uses little CPU."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while await cpu_ms_per_s(replica, sizes.quiet_seconds) > _QUIET_MS_PER_S:
            replica.check()


async def cpu_ms_per_s(replica: Replica, seconds: float) -> float:
    """CPU milliseconds per second, over that time."""
    began, cpu_ms = time.monotonic(), replica.cpu_ms()
    await asyncio.sleep(seconds)
    return (replica.cpu_ms() - cpu_ms) / (time.monotonic() - began)


async def started(replica: Replica, live: int) -> Start:
    """Start it; return how long it took to decide each Match and its Room."""
    await replica.start()
    return await followed(replica, replica.started_at, 2 * live)


async def _skipped(live: int, scene: _Scene) -> tuple[list[float], Replica]:
    """Skip calls right after a restart; return their milliseconds, and the replica once it has decided the others."""
    replica, calls = scene.replica(_OFF), scene.calls
    chosen = calls.in_turn()[: max(1, min(_MOST_SKIPS, live // 10))]
    await replica.start()
    await first_decision(replica)
    found = await skips.measure(calls, chosen, scene.admin)
    await quiet(replica, scene.sizes)
    return found, replica


async def _taken_over(live: int, leader: Replica, scene: _Scene) -> Start:
    """Kill the leader while another replica waits; return how long that one took to decide the `live` calls left."""
    ports = PortLocks()
    scene.exits.callback(ports.release)
    own = {"ROOMKEEPER_WEBHOOK_PORT": str(ports.take()), "ROOMKEEPER_METRICS_PORT": str(ports.take())}
    waiting = scene.replica(_OFF | own, "operator-2")
    await waiting.start()
    await leader.kill()
    return await followed(waiting, time.monotonic(), 2 * live)
