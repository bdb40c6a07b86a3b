"""`make unit` and `make e2e`: a test that runs real programs is marked, and no other test can start one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox.launch import launched
from tests.support.real_programs import MARKER, real_program

REAL = [
    ["etcd", "--version"],
    ["/somewhere/valkey-server", "--port", "0"],
    ["sh", "-c", "PATH=/x:$PATH; kubectl version -o json"],
    [sys.executable, "-m", "sandbox", "up"],
    [sys.executable, "-m", "benchmarks", "--quick"],
]

REFUSED = "it must use the fixture real_programs"


def markers(request: pytest.FixtureRequest) -> set[str]:
    return {marker.name for marker in request.node.iter_markers()}


def test_a_test_without_real_programs_is_not_marked(request: pytest.FixtureRequest) -> None:
    assert MARKER not in markers(request)


@pytest.mark.usefixtures("real_programs")
def test_a_test_with_real_programs_is_marked_and_may_start_them(request: pytest.FixtureRequest) -> None:
    assert MARKER in markers(request)
    with pytest.raises(FileNotFoundError):
        subprocess.run(["/nowhere/etcd"], check=False)


@pytest.fixture
def starts_programs(real_programs: None) -> None:
    """As a fixture would that starts a server."""


@pytest.mark.usefixtures("starts_programs")
def test_a_test_whose_fixture_runs_real_programs_is_marked(request: pytest.FixtureRequest) -> None:
    assert MARKER in markers(request)


@pytest.mark.parametrize("command", REAL, ids=lambda command: " ".join(command[-3:]))
@pytest.mark.parametrize("wrap", [list, launched], ids=["plain", "launched"])
def test_a_unit_test_that_starts_a_real_program_fails(
    command: list[str], wrap: Callable[[list[str]], list[str]]
) -> None:
    with pytest.raises(pytest.fail.Exception, match=REFUSED):
        subprocess.run(wrap(command), check=False)


@pytest.mark.parametrize("command", REAL, ids=lambda command: " ".join(command[-3:]))
async def test_it_fails_also_when_asyncio_or_a_thread_starts_the_program(command: list[str]) -> None:
    with pytest.raises(pytest.fail.Exception, match=REFUSED):
        await asyncio.create_subprocess_exec(*launched(command))
    with pytest.raises(pytest.fail.Exception, match=REFUSED):
        await asyncio.to_thread(subprocess.check_output, command)


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-c", "pass"],
        [sys.executable, "-m", "benchmarks.document"],
        ["sh", "-c", "sleep 1; echo etcdctl"],
        ["sleep", "60"],
        "true",
    ],
)
def test_programs_that_every_machine_has_are_no_concern(command: str | list[str]) -> None:
    assert real_program(command) is None


def test_a_fake_in_the_directory_of_the_test_is_allowed(tmp_path: Path) -> None:
    fake = tmp_path / "etcd"
    fake.write_text("#!/bin/sh\necho fake\n")
    fake.chmod(0o755)
    assert subprocess.run([fake], capture_output=True, text=True, check=True).stdout == "fake\n"
