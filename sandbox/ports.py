"""Free loopback ports, reserved from the choice until the sandbox ends.

A port is free for TCP and UDP when it is chosen, and lies below the range from which the kernel takes ports for
outgoing connections. A lock file per port keeps other sandboxes of this user away, also while no program listens there
yet, for instance an operator that is started by hand. Another process can still take the port; then `stack` chooses
other ports and starts again.
"""

from __future__ import annotations

import fcntl
import random
import socket
from typing import BinaryIO

from sandbox.errors import SandboxError
from sandbox.source import user_cache

# Linux hands out 32768 and up, macOS 49152 and up.
_FIRST, _LAST = 15_000, 32_000
_ATTEMPTS = 2_000


class PortLocks:
    """The ports that one sandbox has reserved."""

    def __init__(self) -> None:
        self._held: list[BinaryIO] = []
        self._directory = user_cache() / "ports"

    def take(self) -> int:
        """A port that is free, and that no other sandbox gets. Raises SandboxError if there is none."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            port = random.randint(_FIRST, _LAST)
            if self._lock(port):
                if _is_free(port):
                    return port
                self._held.pop().close()
        raise SandboxError(f"no free port between {_FIRST} and {_LAST} after {_ATTEMPTS} attempts")

    def release(self) -> None:
        """Give up all ports."""
        for lock in self._held:
            lock.close()
        self._held.clear()

    def _lock(self, port: int) -> bool:
        lock = (self._directory / str(port)).open("a+b")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._held.append(lock)
        return True


def _is_free(port: int) -> bool:
    """Whether the port is free on all addresses (LiveKit's media ports listen on all of them)."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for host in ("0.0.0.0", "127.0.0.1"):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind is socket.SOCK_STREAM:
                    # As the programs do: a closed connection in TIME_WAIT does not occupy the port.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True
