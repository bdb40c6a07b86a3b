"""Free loopback ports that stay ours between the choice and the moment a program listens.

Ports come from below the range the kernel hands to outgoing connections, are free for TCP and UDP when
chosen, and are held by a lock file per port against other sandboxes of this user, as long as the
sandbox lives: also those nobody listens on yet, such as an operator's that is started by hand. A
stranger can still be faster; then `stack` takes other ports and starts again.
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
    """The ports of one sandbox."""

    def __init__(self) -> None:
        self._held: list[BinaryIO] = []
        self._directory = user_cache() / "ports"

    def take(self) -> int:
        """A port that nobody uses and no other sandbox gets."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            port = random.randint(_FIRST, _LAST)
            if self._lock(port):
                if _is_free(port):
                    return port
                self._held.pop().close()
        raise SandboxError(f"no free port between {_FIRST} and {_LAST} after {_ATTEMPTS} attempts")

    def release(self) -> None:
        """Let others have them."""
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
    """Nobody has it, on any address (LiveKit's media ports listen on all of them)."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for host in ("0.0.0.0", "127.0.0.1"):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind is socket.SOCK_STREAM:
                    # As the programs do: a closed connection that lingers does not occupy the port.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True
