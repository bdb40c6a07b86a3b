"""Redis behind sentinels, as larger installations run it: a master, its replica, and three sentinels.

All nodes are real servers on loopback ports. A master that is gone counts as down after half a second. Each node is
ended by its own process, and dies with the program that started it. Neighbor: `redis_cluster` has a cluster of nodes.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import hiredis

from sandbox.launch import launched
from sandbox.parts import locate
from sandbox.ports import PortLocks
from sandbox.source import ROOT

T = TypeVar("T")

HOST = "127.0.0.1"
MASTER_NAME = "calls"
"""The name under which the sentinels know the master."""
_PATIENCE_SECONDS = 120.0
_DOWN_MS = 500
# Nothing is kept over a restart, so a node that comes back is empty. Replicas need not wait for each other.
BARE = ("--bind", HOST, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")


def until(condition: Callable[[], T | None], *, every_seconds: float = 0.02) -> T:
    """Return what `condition` returns once it is true; an error of the connection counts as not yet."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            found = condition()
        except (OSError, hiredis.ReplyError):
            pass
        else:
            if found:
                return found
        if time.monotonic() > deadline:
            raise TimeoutError("the nodes of Redis do not get there")
        time.sleep(every_seconds)


class Node:
    """One server process. `stop` kills it, `start` starts it again, `freeze` and `thaw` stop and continue it.

    It is the redis-server of the stack, or `program`.
    """

    def __init__(
        self, folder: Path, port: int, *options: str, configuration: str = "", program: Path | None = None
    ) -> None:
        self.port = port
        self.address = f"{HOST}:{port}"
        self._folder = folder
        folder.mkdir(exist_ok=True)
        files: tuple[str, ...] = ()
        if configuration:
            file = folder / "node.conf"
            file.write_text(configuration)
            files = (str(file),)
        logs = ("--port", str(port), "--dir", str(folder), "--logfile", str(folder / "log"))
        self._command = (str(program or locate("redis-server").path), *files, *options, *logs)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it, with these options for this time, and wait until it answers."""
        self._process = subprocess.Popen(
            launched((*self._command, *options)), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: self("PING"))

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process: its connections stay, and it answers nothing."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue the process."""
        self._send(signal.SIGCONT)

    def __call__(self, *words: str | int) -> Any:
        """Send a command as the administrator; return its reply. Raises OSError or hiredis.ReplyError."""
        reader = hiredis.Reader(encoding="utf-8", errors="replace")
        with socket.create_connection((HOST, self.port), timeout=5.0) as connection:
            connection.sendall(hiredis.pack_command(cast("Any", words)))
            while (reply := reader.gets()) is False:
                data = connection.recv(65536)
                if not data:
                    raise ConnectionResetError("the node closed the connection")
                reader.feed(data)
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    @property
    def is_master(self) -> bool:
        """Whether it says that it is a master."""
        return bool(self("ROLE")[0] == "master")

    @property
    def follows(self) -> bool:
        """Whether it is a replica that has all of its master's data."""
        role = self("ROLE")
        return bool(role[0] == "slave" and role[3] == "connected")

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)


class Sentinels:
    """A master, its replica, and three sentinels. `announced` is the host by which all reach the data nodes."""

    def __init__(self, folder: Path, ports: PortLocks, *, announced: str = HOST) -> None:
        first, second = ports.take(), ports.take()
        options = (*BARE, "--repl-ping-replica-period", "1", "--replica-announce-ip", announced)
        self.data = (
            Node(folder / "data-0", first, *options),
            Node(folder / "data-1", second, *options, "--replicaof", announced, str(first)),
        )
        watchers = [ports.take() for _ in range(3)]
        self.sentinels = tuple(
            Node(folder / f"sentinel-{n}", port, "--sentinel", configuration=text)
            for n, port in enumerate(watchers)
            if (text := _sentinel(port, watchers, f"{announced} {first}", f"{announced} {second}"))
        )

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes."""
        return (*self.data, *self.sentinels)

    @property
    def url(self) -> str:
        """The URL for the operator."""
        return f"redis+sentinel://{','.join(one.address for one in self.sentinels)}/{MASTER_NAME}/0"

    def start(self) -> None:
        """Start all; return when the replica follows and a failover is possible."""
        for node in self.nodes:
            node.start()
        self.await_replication()

    def stop(self) -> None:
        """Kill all."""
        for node in (*self.sentinels, *self.data):
            node.stop()

    @property
    def master(self) -> Node:
        """The master by the word of the sentinels."""
        return next(node for node in self.data if node.port == self._named(self.sentinels[0]))

    @property
    def replica(self) -> Node:
        """The other node."""
        master = self.master
        return next(node for node in self.data if node is not master)

    def await_promotion(self, of: Node) -> None:
        """Wait until every sentinel names this node, and it is a master."""
        until(lambda: all(self._named(one) == of.port for one in self.sentinels) and of.is_master)

    def rejoin(self, node: Node) -> None:
        """Start a node that was killed, or stop and start it, as a replica; return when it follows the master."""
        node.stop()
        node.start("--replicaof", HOST, str(self._named(self.sentinels[0])))
        self.await_replication()

    def await_replication(self) -> None:
        """Wait until the replica follows the master, and the sentinels know both."""
        until(lambda: self.replica.follows)
        until(lambda: all(self._can_fail_over(one) for one in self.sentinels))

    def _can_fail_over(self, sentinel: Node) -> bool:
        quorum = str(sentinel("SENTINEL", "CKQUORUM", MASTER_NAME))
        (replica,) = sentinel("SENTINEL", "REPLICAS", MASTER_NAME)
        known = dict(zip(replica[::2], replica[1::2], strict=True))
        return quorum.startswith("OK") and str(known["flags"]) == "slave" and known["master-link-status"] == "ok"

    @staticmethod
    def _named(sentinel: Node) -> int:
        return int(sentinel("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1])


def _sentinel(port: int, all_ports: Sequence[int], master: str, replica: str) -> str:
    """The configuration of a sentinel that knows the others from the start; they would find each other in seconds."""

    def identity(of: int) -> str:
        return hashlib.sha1(str(of).encode(), usedforsecurity=False).hexdigest()

    lines = [
        f"bind {HOST}",
        f"sentinel myid {identity(port)}",
        f"sentinel monitor {MASTER_NAME} {master} 2",
        f"sentinel down-after-milliseconds {MASTER_NAME} {_DOWN_MS}",
        f"sentinel failover-timeout {MASTER_NAME} 2000",
        f"sentinel known-replica {MASTER_NAME} {replica}",
        *(f"sentinel known-sentinel {MASTER_NAME} {HOST} {other} {identity(other)}" for other in all_ports),
    ]
    return "\n".join(line for line in lines if f" {port} {identity(port)}" not in line) + "\n"


@contextmanager
def running(made: Callable[[Path, PortLocks], T]) -> Iterator[T]:
    """Start a `Sentinels` or a `Cluster`, and stop it at the end."""
    ports = PortLocks()
    with TemporaryDirectory(prefix="rk-") as folder:
        nodes: Any = made(Path(folder), ports)
        try:
            nodes.start()
            yield nodes
        finally:
            nodes.stop()
            ports.release()
