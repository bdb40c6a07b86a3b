"""`sandbox up` on the real programs: what it shows, and that nothing of it is left after any kind of end."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sandbox import envfile
from sandbox.endpoints import load_endpoints
from sandbox.parts import locate
from tests.sandbox.support import Up, gone, is_listening, leftovers, listening_ports

pytestmark = pytest.mark.usefixtures("real_programs")

PROGRAMS = {"etcd", "kube-apiserver", "kube-controller-manager", "redis-server", "livekit-server"}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `sandbox up`; at the end of the test all of them end."""
    started: list[Up] = []

    def start(name: str, *options: str) -> Up:
        started.append(Up(tmp_path / name, *options))
        return started[-1]

    yield start
    for sandbox in started:
        sandbox.end(signal.SIGKILL)


def test_it_shows_where_everything_is_and_stops_when_a_program_dies(up: Callable[..., Up]) -> None:
    began = time.monotonic()
    sandbox = up("with space")
    sandbox.wait_for_line("ready")
    assert time.monotonic() - began < 12 * (os.getloadavg()[0] + 1)
    assert sandbox.output.splitlines()[-1].startswith("ready")

    check_files(sandbox.directory)
    second = up("with space")
    assert second.process.wait(10) == 1
    assert "is in use by the sandbox with pid" in second.output

    programs = sandbox.programs()
    assert set(programs) == PROGRAMS
    ports = listening_ports(list(programs.values()))
    assert len(ports) >= 6
    programs["redis-server"].kill()
    assert sandbox.process.wait(10) == 1
    assert "redis-server ended by itself (killed by SIGKILL); its log ends with:" in sandbox.output
    assert "Ready to accept connections" in sandbox.output
    assert gone(list(programs.values()))
    assert not any(map(is_listening, ports))
    assert not leftovers(sandbox.directory)


def check_files(directory: Path) -> None:
    env = envfile.load(directory / "env")
    assert set(env) >= {
        "KUBECONFIG",
        "ROOMKEEPER_LIVEKIT_URL",
        "ROOMKEEPER_LIVEKIT_API_KEY",
        "ROOMKEEPER_LIVEKIT_API_SECRET",
        "ROOMKEEPER_REDIS_URL",
        "ROOMKEEPER_WEBHOOK_URL",
        "ROOMKEEPER_METRICS_URL",
    }
    for name in ("env", "operator.env", "kubeconfig", "operator.kubeconfig", "endpoints.json"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name
    endpoints = load_endpoints(directory)
    assert endpoints.env() == env
    assert endpoints.admin_token not in repr(endpoints)
    assert who_am_i(f". '{directory}/env'") == "admin"
    assert who_am_i(f". '{directory}/operator.env'") == "system:serviceaccount:roomkeeper-system:roomkeeper"
    shown = shell(f"set -a; . '{directory}/env'; kubectl version -o json")
    assert json.loads(shown)["serverVersion"]["gitVersion"].startswith("v1.")


def who_am_i(setup: str) -> str:
    shown = shell(f"set -a; {setup}; kubectl auth whoami -o json")
    return str(json.loads(shown)["status"]["userInfo"]["username"])


def shell(script: str) -> str:
    kubectl = locate("kubectl").path.parent
    return subprocess.run(
        ["sh", "-c", f"PATH='{kubectl}':$PATH; {script}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout


def test_two_side_by_side_a_killed_one_and_the_directory_of_a_killed_one(up: Callable[..., Up]) -> None:
    first, second = up("first"), up("second")
    first.wait_for_line("ready")
    second.wait_for_line("ready")
    firsts, seconds = first.programs(), second.programs()
    assert not listening_ports(list(firsts.values())) & listening_ports(list(seconds.values()))

    first.process.kill()
    assert gone(list(firsts.values()))
    assert all(process.is_running() for process in seconds.values())

    again = up("first")
    again.wait_for_line("✓ kube-apiserver")
    again_programs = again.process_tree()
    stop_quickly(again, signal.SIGINT)
    stop_quickly(second, signal.SIGTERM)
    assert gone([*seconds.values(), *again_programs])
    assert not leftovers(first.directory)


def stop_quickly(sandbox: Up, number: signal.Signals) -> None:
    began = time.monotonic()
    assert sandbox.end(number) == 0
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("delay_seconds", [0.3, 0.7, 1.2])
def test_a_signal_during_start_up_leaves_nothing(up: Callable[..., Up], delay_seconds: float) -> None:
    sandbox = up("D")
    time.sleep(delay_seconds)
    children = sandbox.process_tree()
    sandbox.end(signal.SIGTERM)
    assert "Traceback" not in sandbox.output
    assert gone(children)
    assert not leftovers(sandbox.directory)


def test_a_program_that_dies_during_start_up_is_named(up: Callable[..., Up]) -> None:
    sandbox = up("D")
    sandbox.wait_for_line("✓ etcd")
    children = sandbox.process_tree()
    sandbox.programs()["etcd"].kill()
    assert sandbox.process.wait(10) == 1
    assert "etcd ended by itself (killed by SIGKILL)" in sandbox.output
    assert "Traceback" not in sandbox.output
    assert gone([child for child in children if child.pid != psutil.Process().pid])
    assert not leftovers(sandbox.directory)
