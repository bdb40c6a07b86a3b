"""The servers that the tests start: none outlives the run that started it; tests are marked as their servers."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from sandbox.launch import launched
from sandbox.source import ROOT
from tests.redis.differences import DIFFERENCES
from tests.redis.servers import Server, kinds_for
from tests.support.real_programs import MARKER

# A test run in short: it starts a server, names its pid, and waits to be killed.
RUN = """
import signal, sys
from tests.redis.servers import running
with running(sys.argv[1]) as server:
    print(server.pid, flush=True)
    signal.pause()
"""
LONGEST_SECONDS = 60


@pytest.mark.parametrize("kind", kinds_for("test_a_server_ends_with_a_test_run_that_is_killed"))
def test_a_server_ends_with_a_test_run_that_is_killed(kind: str) -> None:
    run = subprocess.Popen(launched((sys.executable, "-c", RUN, kind)), stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert run.stdout is not None
    with run, run.stdout:
        server = psutil.Process(int(run.stdout.readline()))
        run.send_signal(signal.SIGKILL)
        run.wait()
    try:
        # A zombie counts as ended: its new parent may not collect it.
        _, alive = psutil.wait_procs([server], timeout=LONGEST_SECONDS)
        assert not alive or server.status() == psutil.STATUS_ZOMBIE
    finally:
        if server.is_running():
            server.kill()


def test_a_test_is_real_exactly_if_its_server_is(server: Server, request: pytest.FixtureRequest) -> None:
    is_marked = request.node.get_closest_marker(MARKER) is not None
    assert is_marked == server.is_real


def test_the_table_of_differences_names_tests_that_exist() -> None:
    modules = Path(__file__).parent.glob("test_*.py")
    names = re.findall(r"^(?:async )?def (test_\w+)\(", "\n".join(m.read_text() for m in modules), re.MULTILINE)
    assert sorted(name for name in names if name in DIFFERENCES) == sorted(DIFFERENCES)
