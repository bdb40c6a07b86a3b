"""Which tests run real programs (etcd, kube-apiserver, LiveKit, Redis, kubectl …), and that no other test starts one.

A test is real if it uses the fixture `real_programs`, in most cases through a fixture that starts programs. Such tests
get the marker `real`: `make unit` runs all others, and needs no part that `make parts` builds. A parameter of a fixture
can carry the marker instead: the tests on Redis run real programs with some of its servers only.

A test that is not real fails as soon as it starts one of these programs. A fake that the test has written into its own
`tmp_path` does not count.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest

from sandbox.launch import __file__ as launcher
from sandbox.parts.programs import programs

MARKER: Final = "real"
_NAMES: Final = frozenset({*programs(), "valkey-server", "py-spy"})
# Modules that start such programs themselves, in a process where this guard cannot see it.
_MODULES: Final = frozenset({"sandbox", "sandbox.demo", "benchmarks"})
_WORD: Final = re.compile(r"[\w./-]+")


@pytest.fixture(scope="session")
def real_programs() -> None:
    """Marks every test that uses it, itself or through another fixture, as one that runs real programs."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests before `-m` selects among them."""
    for item in items:
        if _is_real(item):
            item.add_marker(MARKER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let only real tests start real programs; this includes the setup of their fixtures."""
    if _is_real(item):
        return (yield)
    start = subprocess.Popen.__init__

    def guarded(process: subprocess.Popen[Any], args: Any, *more: Any, **options: Any) -> None:
        name = real_program(args, getattr(item, "funcargs", {}).get("tmp_path"))
        if name is not None:
            # No `except Exception` of the code under test hides this.
            pytest.fail(f"this test starts the real program {name}: it must use the fixture real_programs")
        start(process, args, *more, **options)

    # Everything goes through this class: subprocess.run, asyncio's subprocesses, and the sandbox.
    with mock.patch.object(subprocess.Popen, "__init__", guarded):
        return (yield)


def real_program(args: Any, own_directory: Path | None = None) -> str | None:
    """The real program that this command starts; None if it starts none."""
    words = [os.fsdecode(word) for word in ([args] if isinstance(args, str | bytes | os.PathLike) else args)]
    if launcher in words:
        # The launcher, the pid of its parent, the command.
        words = words[words.index(launcher) + 2 :]
    candidates = [words[0], *_in_a_shell(words)]
    for word in candidates:
        is_own = own_directory is not None and Path(word).is_relative_to(own_directory)
        if Path(word).name in _NAMES and not is_own:
            return Path(word).name
    module = next((words[at + 1] for at, word in enumerate(words[:-1]) if word == "-m"), "")
    return f"python -m {module}" if module in _MODULES else None


def _in_a_shell(words: Sequence[str]) -> list[str]:
    """The words of a shell's script."""
    if Path(words[0]).name not in ("sh", "bash") or "-c" not in words:
        return []
    return _WORD.findall(words[words.index("-c") + 1])


def _is_real(item: pytest.Item) -> bool:
    is_used = real_programs.__name__ in getattr(item, "fixturenames", ())
    return is_used or item.get_closest_marker(MARKER) is not None
