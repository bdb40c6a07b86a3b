"""The launcher: how a program starts must not depend on who starts it, and a program must not outlive its parent."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
import pytest

from sandbox.launch import launched
from sandbox.source import ROOT

LAUNCH: Final = ROOT / "sandbox" / "launch.py"

# A parent that nohup, a script or a careless library has set up; it launches the child and prints what that sees.
PARENT: Final = """
import os, signal, subprocess, sys
from sandbox.launch import launched
for number in {ignored}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, {blocked})
os.umask({umask})
# Without this Python restores the few signals that it ignores itself.
command = launched(["cat", "/proc/self/status"])
print(subprocess.run(command, capture_output=True, text=True, restore_signals=False).stdout)
"""
ALL: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD})
# The C library keeps two signals for itself: no program can set them, and programs that `make` starts ignore them.
SETTABLE: Final = sum(1 << (number - 1) for number in signal.valid_signals())


def status_of_child(
    *, ignored: list[int] | None = None, blocked: list[int] | None = None, umask: int = 0o022
) -> dict[str, str]:
    """What the kernel says of a program that such a parent launches."""
    script = PARENT.format(
        ignored=[int(n) for n in ignored or ()], blocked=[int(n) for n in blocked or ()], umask=umask
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {key: value.strip() for key, _, value in (line.partition(":") for line in shown.splitlines())}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("case", "ignored", "blocked"),
    [
        ("nothing is unusual", [], []),
        ("a background job of a script", [signal.SIGINT, signal.SIGQUIT], []),
        ("nohup", [signal.SIGHUP], []),
        ("blocked signals", [], [signal.SIGINT, signal.SIGTERM]),
        ("everything at once", ALL, ALL),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_program_starts_with_no_signal_ignored_or_blocked(case: str, ignored: list[int], blocked: list[int]) -> None:
    status = status_of_child(ignored=ignored, blocked=blocked)
    ignores, blocks = (int(status[name], 16) & SETTABLE for name in ("SigIgn", "SigBlk"))
    assert (ignores, blocks) == (0, 0), case


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_program_starts_with_the_usual_umask(umask: int) -> None:
    assert status_of_child(umask=umask)["Umask"] == "0022"


def test_a_program_ends_at_sigint_also_below_a_parent_that_ignores_it() -> None:
    script = (
        "import signal, subprocess\n"
        "from sandbox.launch import launched\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = subprocess.Popen(launched(['sh', '-c', 'echo up; exec sleep 60']), stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "child.send_signal(signal.SIGINT)\n"
        "print(child.wait(20))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(-signal.SIGINT)]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_a_program_does_not_outlive_a_parent_that_is_killed() -> None:
    script = (
        "import subprocess\n"
        "from sandbox.launch import launched\n"
        "child = subprocess.Popen(launched(['sh', '-c', 'echo up; exec sleep 60']), stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen(
        launched([sys.executable, "-c", script]), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    assert not psutil.wait_procs([child], timeout=20)[1]


def test_nothing_is_started_without_its_parent() -> None:
    command = [sys.executable, "-I", "-S", str(LAUNCH), "1", "echo", "started"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "its parent is gone" in answer.stderr
    assert not answer.stdout


def test_a_program_that_does_not_exist_is_named() -> None:
    command = [sys.executable, "-I", "-S", str(LAUNCH), str(os.getpid()), "/nowhere/program"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.stderr.strip() == "/nowhere/program could not be started: No such file or directory"


# ---- every start goes through the launcher

STARTS: Final = {
    "subprocess": {"Popen"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell"},
    "os": {"fork", "posix_spawn", "posix_spawnp", "system"},
}
"""Calls that start a program and let it run. `subprocess.run` is not among them: it asks and waits for the answer."""


WITHOUT_LAUNCHER = "controller/uninstall/own_operator.py"
"""Starts an operator where the sandbox with its launcher is not installed."""


def starts() -> Iterator[tuple[Path, ast.Call]]:
    """All such calls."""
    for folder in ("benchmarks", "controller", "examples", "sandbox", "tests"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                match node:
                    case ast.Call(func=ast.Attribute(value=ast.Name(module), attr=name)) if name in STARTS.get(
                        module, ()
                    ):
                        yield file.relative_to(ROOT), node


def is_launched(call: ast.Call) -> bool:
    """Whether its first argument is `launched(…)` or `*launched(…)`."""
    first = call.args[0].value if isinstance(call.args[0], ast.Starred) else call.args[0]
    return isinstance(first, ast.Call) and isinstance(first.func, ast.Name) and first.func.id == "launched"


def test_every_program_is_started_through_the_launcher() -> None:
    found = list(starts())
    assert len(found) > 10
    others = [
        f"{file}:{call.lineno}" for file, call in found if not is_launched(call) and str(file) != WITHOUT_LAUNCHER
    ]
    assert others == []
