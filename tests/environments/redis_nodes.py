"""Redis as larger installations run it: a master watched by three sentinels, and a cluster of three masters.

All nodes are real servers on loopback ports. Their times are short: a master that is gone counts as down after half a
second (Sentinel) or a second (Cluster). Each node is ended by its own process, and dies with the test run.
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
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import hiredis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from sandbox.launch import launched
from sandbox.ports import PortLocks
from sandbox.source import ROOT
from tests.redis.servers import programs
from tests.support.waiting import patience

T = TypeVar("T")

HOST = "127.0.0.1"
MASTER_NAME = "calls"
"""The name under which the sentinels know the master."""
_DOWN_MS = 500
_NODE_TIMEOUT_MS = 1000
# Nothing is kept over a restart, so a node that comes back is empty. Replicas need not wait for each other.
_BARE = ("--bind", HOST, "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")


def until(condition: Callable[[], T | None]) -> T:
    """Return what `condition` returns once it is true; an error of the connection counts as not yet."""
    deadline = time.monotonic() + patience()
    while True:
        try:
            found = condition()
        except (OSError, hiredis.ReplyError):
            pass
        else:
            if found:
                return found
        assert time.monotonic() < deadline, "the nodes do not get there"
        time.sleep(0.02)


class Node:
    """One server process. `stop` kills it, `start` starts it again, `freeze` and `thaw` stop and continue it."""

    def __init__(self, folder: Path, port: int, *options: str, configuration: str = "") -> None:
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
        self._command = (str(programs()["valkey"]), *files, *options, *logs)
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
        assert self._process is not None
        os.kill(self._process.pid, number)


class Sentinels:
    """A master, its replica, and three sentinels."""

    def __init__(self, folder: Path, ports: PortLocks) -> None:
        first, second = ports.take(), ports.take()
        options = (*_BARE, "--repl-ping-replica-period", "1")
        self.data = (
            Node(folder / "data-0", first, *options),
            Node(folder / "data-1", second, *options, "--replicaof", HOST, str(first)),
        )
        watchers = [ports.take() for _ in range(3)]
        self.sentinels = tuple(
            Node(folder / f"sentinel-{n}", port, "--sentinel", configuration=_sentinel(port, watchers, first, second))
            for n, port in enumerate(watchers)
        )

    @property
    def url(self) -> str:
        """The URL for the operator."""
        return f"redis+sentinel://{','.join(one.address for one in self.sentinels)}/{MASTER_NAME}/0"

    def start(self) -> None:
        """Start all; return when the replica follows and a failover is possible."""
        for node in (*self.data, *self.sentinels):
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


def _sentinel(port: int, all_ports: Sequence[int], master: int, replica: int) -> str:
    """The configuration of a sentinel that knows the others from the start; they would find each other in seconds."""

    def identity(of: int) -> str:
        return hashlib.sha1(str(of).encode(), usedforsecurity=False).hexdigest()

    lines = [
        f"bind {HOST}",
        f"sentinel myid {identity(port)}",
        f"sentinel monitor {MASTER_NAME} {HOST} {master} 2",
        f"sentinel down-after-milliseconds {MASTER_NAME} {_DOWN_MS}",
        f"sentinel failover-timeout {MASTER_NAME} 2000",
        f"sentinel known-replica {MASTER_NAME} {HOST} {replica}",
        *(f"sentinel known-sentinel {MASTER_NAME} {HOST} {other} {identity(other)}" for other in all_ports),
    ]
    return "\n".join(line for line in lines if f" {port} {identity(port)}" not in line) + "\n"


class Cluster:
    """Three masters, each with one replica. Each master has a third of the slots."""

    def __init__(self, folder: Path, ports: PortLocks, *, masters: int = 3, replicas: int = 1) -> None:
        self._masters = masters
        self.nodes = tuple(
            Node(folder / f"node-{n}", ports.take(), *_BARE, *_cluster(ports.take()))
            for n in range(masters * (1 + replicas))
        )

    @property
    def url(self) -> str:
        """The URL for the operator."""
        return f"redis+cluster://{','.join(node.address for node in self.nodes[: self._masters])}/0"

    def start(self) -> None:
        """Start all nodes and make a cluster of them."""
        for node in self.nodes:
            node.start()
        share = REDIS_CLUSTER_HASH_SLOTS / self._masters
        for n, node in enumerate(self.nodes):
            node("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
            if n < self._masters:
                node("CLUSTER", "ADDSLOTSRANGE", round(n * share), round((n + 1) * share) - 1)
            first = self.nodes[0]
            if node is not first:
                node("CLUSTER", "MEET", HOST, first.port, int(first("CONFIG", "GET", "cluster-port")[1]))
        for node in self.nodes:
            until(partial(self._knows_all, node))
        for n, node in enumerate(self.nodes[self._masters :]):
            master = self.nodes[n % self._masters]
            until(partial(node, "CLUSTER", "REPLICATE", self.id_of(master)))
        self.await_health()

    def stop(self) -> None:
        """Kill all."""
        for node in self.nodes:
            node.stop()

    def id_of(self, node: Node) -> str:
        """The id of a node in the cluster."""
        return str(node("CLUSTER", "MYID"))

    def await_health(self, *but: Node) -> None:
        """Wait until all nodes, but those that are stopped, agree that every slot is served and replicas follow."""
        for node in self.nodes:
            if node not in but:
                until(partial(self._is_well, node))

    def _knows_all(self, node: Node) -> bool:
        text = str(node("CLUSTER", "NODES"))
        return len(text.splitlines()) == len(self.nodes) and "handshake" not in text

    @staticmethod
    def _is_well(node: Node) -> bool:
        return "cluster_state:ok" in node("CLUSTER", "INFO") and (node.is_master or node.follows)

    def owner(self, key: str) -> Node:
        """The master that has the slot of this key, by the word of the first node that answers."""
        slot = key_slot(key.encode())
        return until(lambda: self._owner(slot))

    def replica_of(self, master: Node) -> Node:
        """A replica of this master."""
        return next(node for node in self.nodes if node is not master and self._follows(node, master))

    @staticmethod
    def _follows(node: Node, master: Node) -> bool:
        role = node("ROLE")
        return bool(role[0] == "slave" and int(role[2]) == master.port)

    def _owner(self, slot: int) -> Node | None:
        for node in self.nodes:
            try:
                rows = _rows(node)
            except OSError:
                continue
            for row in rows:
                if "master" in row[2] and any(_holds(part, slot) for part in row[8:]):
                    port = int(row[1].partition("@")[0].rpartition(":")[2])
                    return next(one for one in self.nodes if one.port == port)
        return None

    # Slots that move

    def begin_move(self, key: str, target: Node) -> None:
        """Open the slot of a key for a move to another master: the old one answers ASK for keys that it has not."""
        slot, source = key_slot(key.encode()), self.owner(key)
        target("CLUSTER", "SETSLOT", slot, "IMPORTING", self.id_of(source))
        source("CLUSTER", "SETSLOT", slot, "MIGRATING", self.id_of(target))

    def move_keys(self, key: str, target: Node, at_most: int = 1_000_000) -> int:
        """Move keys of the slot that `begin_move` has opened, one after another. Returns how many were moved."""
        slot, source, moved = key_slot(key.encode()), self.owner(key), 0
        while moved < at_most:
            found = source("CLUSTER", "GETKEYSINSLOT", slot, 1)
            if not found:
                break
            source("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *found)
            moved += 1
        return moved

    def end_move(self, key: str, target: Node) -> None:
        """Give the slot to the new master for good."""
        slot, source = key_slot(key.encode()), self.owner(key)
        for node in (target, source, *(one for one in self.nodes if one not in {source, target} and one.is_master)):
            node("CLUSTER", "SETSLOT", slot, "NODE", self.id_of(target))


def _cluster(bus: int) -> tuple[str, ...]:
    return (
        *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", str(bus)),
        *("--cluster-node-timeout", str(_NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0"),
        *("--cluster-allow-replica-migration", "no", "--repl-ping-replica-period", "1"),
    )


def _rows(node: Node) -> list[list[str]]:
    return [line.split() for line in node("CLUSTER", "NODES").splitlines()]


def _holds(part: str, slot: int) -> bool:
    first, _, last = part.partition("-")
    return first.isdigit() and int(first) <= slot <= int(last or first)


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
