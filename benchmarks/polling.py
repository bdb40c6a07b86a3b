"""`python -m benchmarks.polling`: what it costs the operator to poll several LiveKit servers with many rooms each.

Real LiveKit servers, each with empty rooms that carry our mark, are polled by the operator's own pollers and clients,
as in a term in which nothing happens. What is measured is CPU time, of this process and of the servers, so a busy
machine changes little. Neighbors: `controller.triggers.poll` and `controller.clients.livekit` are measured;
`benchmarks.live` measures a whole operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, cast

import aiohttp
import typer
import uvloop
import yaml

from controller.announce.error_records import ErrorRecords
from controller.backends.servers import Server
from controller.clients.livekit import LiveKitClient
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.clock import ServerClock
from controller.errors import BackendError, BackendUnavailable
from controller.facts.livekit import Mark, RoomRequest
from controller.telemetry.pulse import LoopName, Pulses
from controller.triggers.poll import Poller
from controller.triggers.router import Router
from controller.views.livekit import LiveKitView
from sandbox.launch import launched
from sandbox.parts import locate
from sandbox.ports import PortLocks

_CLUSTER: Final = "bench"
_KEY: Final = ApiKey("bench", "a-secret-of-the-benchmark-0123456789")
_AT_ONCE: Final = 50
_TICKS_PER_SECOND: Final = 100


class NoRecords:
    """Where the pollers record errors: a request that fails ends the measurement."""

    def loop_failed(self, _loop: object, error: BackendError, _named: object) -> None:
        """A list of rooms has failed."""
        raise error


def a_poller(client: LiveKitClient, name: str, url: str, cluster_id: str) -> Poller:
    """The operator's poller of one server, whose news reach nobody."""
    server = Server(name, url, ApiKeys(_KEY), client, LiveKitView())
    router = Router(cluster_id, lambda _key, _wake: None)
    return Poller(server, router, ServerClock(), cluster_id, 2.0, cast("ErrorRecords", NoRecords()))


@contextlib.contextmanager
def running(ports: PortLocks, folder: Path, count: int) -> Iterator[list[tuple[subprocess.Popen[bytes], int]]]:
    """So many LiveKit servers, each with its port."""
    found: list[tuple[subprocess.Popen[bytes], int]] = []
    try:
        for number in range(count):
            port = ports.take()
            settings = {
                "port": port,
                "bind_addresses": ["127.0.0.1"],
                "rtc": {"tcp_port": ports.take(), "udp_port": ports.take(), "use_external_ip": False},
                "keys": {_KEY.name: _KEY.secret},
                "room": {"auto_create": False, "empty_timeout": 3600},
                "logging": {"level": "error"},
            }
            config = folder / f"{number}.yaml"
            config.write_text(yaml.safe_dump(settings))
            command = (str(locate("livekit-server").path), "--config", str(config))
            found.append((subprocess.Popen(launched(command)), port))
        yield found
    finally:
        for process, _ in found:
            process.kill()
            process.wait()


async def fill(client: LiveKitClient, rooms: int) -> None:
    """Wait until the server answers, and make so many rooms there."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(BackendUnavailable):
                await client.list_rooms(("any",))
                break
            await asyncio.sleep(0.1)
    limit = asyncio.Semaphore(_AT_ONCE)

    async def make(number: int) -> None:
        name = f"rk-bench-{number:06}"
        async with limit:
            await client.create_room(RoomRequest(name, 2, 3600, 3600, {}, Mark(_CLUSTER, "calls", name, name, name)))

    await asyncio.gather(*(make(number) for number in range(rooms)))


def used_seconds(process: subprocess.Popen[bytes]) -> float:
    """The CPU time of another process until now."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


async def measured(
    servers: list[tuple[subprocess.Popen[bytes], int]], rooms: int, warm_up_seconds: float, seconds: float
) -> tuple[float, float]:
    """CPU seconds per second of this process, and of one server on average."""
    pulses = Pulses()
    async with aiohttp.ClientSession() as session:
        pollers = []
        for number, (_, port) in enumerate(servers):
            url, name = f"http://127.0.0.1:{port}", f"server-{number}"
            client = LiveKitClient(session, url, _KEY.name, _KEY.secret, ServerClock(), server=name)
            await fill(client, rooms)
            pollers.append(a_poller(client, name, url, _CLUSTER))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(poller.run(pulses.start(LoopName.POLL, 60))) for poller in pollers]
            await asyncio.sleep(warm_up_seconds)
            began, own, others = time.monotonic(), time.process_time(), sum(used_seconds(one) for one, _ in servers)
            await asyncio.sleep(seconds)
            took = time.monotonic() - began
            own, others = time.process_time() - own, sum(used_seconds(one) for one, _ in servers) - others
            for task in tasks:
                task.cancel()
    return own / took, others / took / len(servers)


def main(
    servers: Annotated[int, typer.Option(help="LiveKit servers", min=1)] = 5,
    rooms: Annotated[int, typer.Option(help="rooms on each", min=0)] = 2000,
    warm_up_seconds: Annotated[float, typer.Option(help="before the measurement; the first lists cost more")] = 30.0,
    seconds: Annotated[float, typer.Option(help="length of the measurement", min=1)] = 60.0,
) -> None:
    """Print a table in Markdown."""
    ports = PortLocks()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="rk-") as folder,
            running(ports, Path(folder), servers) as processes,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            own, of_a_server = runner.run(measured(processes, rooms, warm_up_seconds, seconds))
    finally:
        ports.release()
    print("| servers | rooms on each | CPU of the operator | CPU of one LiveKit server |\n|---|---|---|---|")
    print(f"| {servers} | {rooms} | {100 * own:.1f} % of a core | {100 * of_a_server:.1f} % of a core |")


if __name__ == "__main__":
    typer.run(main)
