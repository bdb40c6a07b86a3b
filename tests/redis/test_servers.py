"""The servers that the tests start: none of them outlives the test run that started it."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from sandbox.launch import launched
from sandbox.source import ROOT
from tests.redis.servers import programs

# A test run in short: it starts a server, names its pid, and waits to be killed.
RUN = """
import signal, sys
from tests.redis.servers import programs, running
with running(programs()[sys.argv[1]]) as server:
    print(server.pid, flush=True)
    signal.pause()
"""
LONGEST_SECONDS = 60


@pytest.mark.parametrize("program", sorted(programs()))
def test_a_server_ends_with_a_test_run_that_is_killed(program: str) -> None:
    run = subprocess.Popen(launched((sys.executable, "-c", RUN, program)), stdout=subprocess.PIPE, cwd=ROOT, text=True)
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
