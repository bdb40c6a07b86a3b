"""Who a replica is, and which predecessor is certainly dead."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from controller.backends.identity import ReplicaIdentity
from sandbox.launch import launched

ME = ReplicaIdentity.of_this_process()
POD_UID = "0f5a7c1e-6f3b-4a52-9d0a-5d7b6a1c2e3f"


def test_an_identity_is_stable_within_a_process_and_tells_its_pid() -> None:
    assert ReplicaIdentity.of_this_process() == ME
    assert f".{os.getpid()}." in str(ME)


def test_in_a_pod_the_identity_names_the_pod_and_its_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "roomkeeper-0")
    monkeypatch.setenv("POD_UID", POD_UID)
    identity = str(ReplicaIdentity.of_this_process())
    assert identity.startswith("roomkeeper-0_")
    assert identity.endswith(f".{POD_UID}")


def dead_child() -> int:
    """The pid of a process that has ended."""
    with subprocess.Popen(launched([sys.executable, "-c", ""])) as child:
        child.wait()
        return child.pid


@pytest.mark.parametrize(
    ("case", "holder", "is_dead"),
    [
        ("ourselves", str(ME), False),
        ("a process of ours that has ended", str(replace(ME, pid=dead_child())), True),
        ("our pid, used again by us", str(replace(ME, started_ticks="1")), True),
        ("the same on another host", str(replace(ME, host="elsewhere", pid=1)), False),
        ("before a reboot: pids say nothing", str(replace(ME, boot="0ther", pid=1)), False),
        ("in another container", str(replace(ME, pid_namespace="7", pid=1)), False),
        ("not an identity of ours", "some-other-program", False),
        ("half an identity", f"{ME.host}_a.b.c", False),
        ("a pid that is none", f"{ME.host}_{ME.boot}.{ME.pid_namespace}.x.5", False),
        ("nobody", "", False),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",  # a holder's pid differs per worker
)
def test_a_predecessor_counts_as_dead_only_where_that_is_certain(case: str, holder: str, is_dead: bool) -> None:
    assert ME.is_dead_predecessor(holder) is is_dead, case


def test_a_process_that_runs_is_not_dead() -> None:
    with subprocess.Popen(launched([sys.executable, "-c", "input()"]), stdin=subprocess.PIPE) as child:
        stat = Path(f"/proc/{child.pid}/stat").read_text(encoding="utf-8")
        ticks = stat.rpartition(")")[2].split()[19]
        running = str(replace(ME, pid=child.pid, started_ticks=ticks))
        assert not ME.is_dead_predecessor(running)
        child.communicate(b"\n")
    assert ME.is_dead_predecessor(running)


IN_POD = ReplicaIdentity("roomkeeper-0", "b2", "1", 1, "9", POD_UID)


@pytest.mark.parametrize(
    ("case", "holder", "is_dead"),
    [
        ("the container before ours in the same pod", replace(IN_POD, pid_namespace="2", started_ticks="3"), True),
        ("a pod of the same name on another node", replace(IN_POD, boot="b1", pod_uid="another"), False),
        ("a pod of the same name on the same node", replace(IN_POD, pid_namespace="2", pod_uid="another"), False),
        ("a replica of a version that did not know its pod", replace(IN_POD, pid_namespace="2", pod_uid=""), False),
        ("another pod", replace(IN_POD, host="roomkeeper-1", pod_uid="another"), False),
        ("ourselves", IN_POD, False),
    ],
)
def test_only_an_earlier_container_of_the_same_pod_is_certainly_dead_in_a_pod(
    case: str, holder: ReplicaIdentity, is_dead: bool
) -> None:
    assert IN_POD.is_dead_predecessor(str(holder)) is is_dead, case


def test_without_proc_no_replica_is_called_dead() -> None:
    assert not replace(ME, started_ticks="0").is_dead_predecessor(str(replace(ME, pid=dead_child())))


def test_a_host_with_underscores_is_read_whole() -> None:
    me = replace(ME, host="my_host")
    assert me.is_dead_predecessor(str(replace(me, pid=dead_child())))
