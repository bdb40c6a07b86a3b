"""What the tests of the matchmaker share: users in a queue, a cluster in memory, and the matchmaker as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import redis as redis_py
from kubernetes.client import ApiException

from examples.matchmaker.pairing import Pair
from examples.matchmaker.pool import Pool
from sandbox.launch import launched
from sandbox.recipes import bare_environment
from sandbox.source import ROOT

Body = dict[str, Any]


def serve(pool: Pool) -> None:
    """Say that an operator serves the pool."""
    pool._redis.hset(f"{pool.prefix}served", "version", "1.0.0")


def enqueue(pool: Pool, *ids: str) -> None:
    """Put users into the queue of a pool that is served."""
    serve(pool)
    for user_id in ids:
        answer = pool.enqueue(user_id)
        assert answer[0] == "OK", answer


def goes_round(pool: Pool) -> None:
    """Users enter, the front is read, a pair is reserved, found again, and put back in its places."""
    enqueue(pool, "alice", "bob", "carol")
    front = pool.front(2)
    assert ([person.id for person in front.waiting], front.is_whole_queue) == (["alice", "bob"], False)
    pair = Pair(*front.waiting)
    for answer in ("new", "replay"):
        assert pool.reserve([(pair, "match-1")], ttl_ms=60_000) == [answer]
    (found,) = pool.reservations(ttl_ms=60_000, older_than_ms=0, at_most=10)
    assert (found.name, sorted(user_id for user_id, _ in found.users)) == ("match-1", ["alice", "bob"])
    assert pool.release(10) == []
    assert pool.token("nobody", "carol") is None
    for user_id in ("alice", "bob", "carol"):
        assert pool.leave(user_id)[0] == "OK"


def crowd(raw: redis_py.Redis, pool: Pool, ids: Iterable[str], *, since_ms: int = 1000) -> None:
    """Put many users into the queue at once, each a millisecond after the other."""
    places = {user_id: since_ms + number for number, user_id in enumerate(ids)}
    raw.zadd(f"{pool.prefix}queue", places)


def meet(raw: redis_py.Redis, pool: Pool, one: str, other: str, *, seconds_ago: float = 1) -> None:
    """Record that two users had a call a short while ago."""
    at_ms = round((time.time() - seconds_ago) * 1000)
    raw.zadd(f"{pool.prefix}recent:{one}", {other: at_ms})
    raw.zadd(f"{pool.prefix}recent:{other}", {one: at_ms})


class Cluster:
    """An API server in memory that knows the names of Matches. If `trouble` is set, it raises that."""

    def __init__(self) -> None:
        self.matches: dict[str, Body] = {}
        self.trouble: Exception | None = None
        self.calls = 0

    def pairs(self) -> set[frozenset[str]]:
        """The pairs of identities of all Matches."""
        return {
            frozenset(person["identity"] for person in match["spec"]["participants"]) for match in self.matches.values()
        }

    def end(self, name: str, reason: str = "Failed") -> None:
        """Set the end of a Match."""
        self.matches[name]["status"] = {"end": {"reason": reason}}

    # The methods of CustomObjectsApi that the example calls

    def create_namespaced_custom_object(self, *, body: Body, **_: Any) -> Body:
        self.calls += 1
        if self.trouble is not None:
            raise self.trouble
        name = body["metadata"]["name"]
        if name in self.matches:
            raise ApiException(status=409, reason="AlreadyExists")
        metadata = body["metadata"] | {"uid": f"uid-{self.calls}"}
        self.matches[name] = body | {"metadata": metadata}
        return self.matches[name]

    def get_namespaced_custom_object(self, *, name: str, **_: Any) -> Body:
        if name not in self.matches:
            raise ApiException(status=404, reason="NotFound")
        return self.matches[name]

    def list_namespaced_custom_object(self, **_: Any) -> Body:
        return {"metadata": {"resourceVersion": "1"}, "items": list(self.matches.values())}


class Process:
    """A module of the example, started as its readers would start it."""

    def __init__(self, module: str, arguments: Iterable[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                launched((sys.executable, "-m", module, *arguments)),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**bare_environment(), **environment},
                cwd=ROOT,
            )

    @property
    def log(self) -> str:
        """All of its output."""
        return self._log.read_text()

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_seconds: float = 20.0) -> int:
        """Wait until it ends by itself; return the exit status."""
        return self._process.wait(timeout_seconds)

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_seconds: float = 20.0) -> int:
        """Send a signal and wait for the end; return the exit status."""
        if self.running:
            os.kill(self._process.pid, number)
        try:
            return self._process.wait(timeout_seconds)
        finally:
            self._process.kill()
            self._process.wait()
