"""The per-user cache of real programs, and its lock.

    <XDG_CACHE_HOME or ~/.cache>/roomkeeper/parts/
        <pin>-<digest>/bin/<program>     built by `build`
        <distribution>-<version>-…/      installed by `wheels`
        <package>-<version>-…/bin/       unpacked by `debian`
        crds-<digest>/                   fetched by `foreign`
        lock                             held by the process that makes something

Every file appears there by a rename, so a file with its final name is complete.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.parts.programs import GoProgram, build_digest
from sandbox.source import user_cache

_POLL_SECONDS = 0.2


def cache_directory() -> Path:
    return user_cache() / "parts"


def built_path(program: GoProgram) -> Path:
    """The path of the built program, whether or not it is built already."""
    return cache_directory() / f"{program.pin}-{build_digest(program)}" / "bin" / program.name


@contextmanager
def making(while_waiting: Callable[[float], None]) -> Iterator[None]:
    """Hold the lock of the cache, so that two processes do not make the same program at the same time.

    While another process holds it, `while_waiting` is called with the seconds waited so far.
    """
    cache_directory().mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with (cache_directory() / "lock").open("a+b") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                while_waiting(time.monotonic() - began)
                time.sleep(_POLL_SECONDS)
            else:
                break
        yield
