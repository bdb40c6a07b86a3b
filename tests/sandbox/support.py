"""Starts `sandbox up` as users do, and looks for what is left of it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from sandbox.launch import launched
from sandbox.source import ROOT

TINY_MANIFESTS = """
apiVersion: v1
kind: Namespace
metadata: {name: roomkeeper-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: roomkeeper, namespace: roomkeeper-system}
"""


class Up:
    """`sandbox up --no-operator --dir D`, and all processes that belong to it."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self._output = directory.parent / f"{directory.name}.out"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                launched((sys.executable, "-m", "sandbox", "up", "--no-operator", "--dir", str(directory), *options)),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for_line(self, start: str, timeout_seconds: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not any(line.strip().startswith(start) for line in self.output.splitlines()):
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    def programs(self) -> dict[str, psutil.Process]:
        pids = {file.name: int(file.read_text()) for file in (self.directory / "pids").iterdir()}
        return {name: psutil.Process(pid) for name, pid in pids.items()}

    def end(self, number: signal.Signals = signal.SIGTERM, timeout_seconds: float = 8.0) -> int:
        """Send a signal and wait for the end; returns the exit status. Its programs end in any case."""
        children = self.process_tree()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout_seconds)
        finally:
            for process in (child for child in children if self.process.poll() is None and child.is_running()):
                process.kill()
            self.process.kill()
            self.process.wait()

    def process_tree(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def listening_ports(processes: list[psutil.Process]) -> set[int]:
    """TCP ports on which these processes listen."""
    connections = [entry for process in processes for entry in process.net_connections("tcp")]
    return {entry.laddr.port for entry in connections if entry.status == psutil.CONN_LISTEN}


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def leftovers(directory: Path) -> list[str]:
    """The command lines of living processes that contain the path of a directory."""
    found = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if any(str(directory) in word for word in words):
            found.append(" ".join(words))
    return found


def gone(processes: list[psutil.Process], timeout_seconds: float = 3.0) -> bool:
    """Whether all processes end by themselves within the timeout."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_seconds)
    return all(process.status() == psutil.STATUS_ZOMBIE for process in alive)
