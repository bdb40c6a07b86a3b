"""env files, the directory of a sandbox, and ports: several sandboxes at once, and what killed ones leave."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import envfile
from sandbox.directory import Directory, is_alive
from sandbox.endpoints import load_endpoints
from sandbox.errors import DirectoryInUseError, NotRunningError
from sandbox.launch import launched
from sandbox.ports import PortLocks

HARMLESS = st.text("abcXYZ0189_@%+=:,./-", max_size=40)
KEYS = st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,20}\Z")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    taken = Directory(tmp_path / "D")
    taken.take()
    yield taken
    taken.release()


@given(st.dictionaries(KEYS, HARMLESS))
def test_env_files_round_trip(values: dict[str, str]) -> None:
    assert envfile.parse(envfile.render(values)) == values


@pytest.mark.parametrize("value", ["a b", "$HOME", "`x`", "a;b", "a'b", 'a"b', "a\\b", "a#b", "~", "a\nb", "é", "*"])
def test_what_a_shell_would_change_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="a shell would change"):
        envfile.render({"KEY": value})


def test_a_shell_reads_the_same_as_a_plain_parser(tmp_path: Path) -> None:
    values = {"RK_A": "ws://127.0.0.1:7880", "RK_B": "a=b,c@d%20+-_:/.", "RK_EMPTY": ""}
    file = tmp_path / "env"
    file.write_text(envfile.render(values))
    seen = subprocess.run(
        ["sh", "-c", f"set -a; . {file}; env"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    ).stdout
    assert {key: envfile.parse(seen)[key] for key in values} == values


def test_a_path_with_a_space_gets_a_name_without(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "a b:c")
    directory.take()
    alias = directory.safe_path
    assert envfile.is_harmless(str(alias))
    assert ":" not in str(alias)
    assert alias.resolve() == directory.path.resolve()
    directory.release()
    assert not alias.is_symlink()


def test_the_alias_of_a_killed_sandbox_is_removed_by_the_next_one(tmp_path: Path) -> None:
    first = Directory(tmp_path / "a b")
    first.take()
    alias = first.safe_path
    first.write_secret("env", envfile.render({"KUBECONFIG": f"{alias}/kubeconfig"}))
    # As if it had been killed: the lock goes, the files stay.
    killed, first = first, Directory(tmp_path / "a b")
    assert killed._lock is not None
    killed._lock.close()
    first.take()
    assert not alias.is_symlink()
    first.release()


def test_a_directory_in_use_is_refused(directory: Directory) -> None:
    with pytest.raises(DirectoryInUseError, match=f"in use by the sandbox with pid {os.getpid()}; stop that one"):
        Directory(directory.path).take()
    assert is_alive(directory.path)


def test_a_directory_can_be_taken_again_and_is_emptied_of_old_files(directory: Directory) -> None:
    (directory.path / "logs" / "old.log").touch()
    (directory.path / "notes.txt").write_text("not ours")
    directory.release()
    assert not is_alive(directory.path)
    again = Directory(directory.path)
    again.take()
    assert not (directory.path / "logs" / "old.log").exists()
    assert (directory.path / "notes.txt").read_text() == "not ours"
    again.release()


def test_files_of_others_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").write_text("precious")
    with pytest.raises(DirectoryInUseError, match="has a kubeconfig that is not a sandbox's"):
        Directory(tmp_path).take()
    assert (tmp_path / "kubeconfig").read_text() == "precious"


def test_programs_of_a_killed_sandbox_are_ended(directory: Directory) -> None:
    orphan = subprocess.Popen(launched(["sh", "-c", "sleep 60; :", str(directory.path / "x")]), start_new_session=True)
    stranger = subprocess.Popen(launched(["sleep", "60"]))
    try:
        directory.note_pid("orphan", orphan.pid)
        directory.note_pid("stranger", stranger.pid)
        assert directory._lock is not None
        directory._lock.close()
        again = Directory(directory.path)
        again.take()
        again.release()
        assert orphan.wait(5) == -signal.SIGKILL
        assert stranger.poll() is None
    finally:
        if orphan.poll() is None:
            os.killpg(orphan.pid, signal.SIGKILL)
        stranger.kill()
        stranger.wait()


def test_a_file_is_refused_as_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryInUseError, match="cannot be a directory: File exists"):
        Directory(tmp_path / "file").take()


def test_secrets_are_readable_by_their_owner_only(directory: Directory) -> None:
    file = directory.write_secret("env", "KEY=value\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_attaching_without_a_running_sandbox_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="no sandbox is running"):
        load_endpoints(tmp_path)


def test_ports_are_free_and_held_against_other_sandboxes() -> None:
    ours, others = PortLocks(), PortLocks()
    mine = {ours.take() for _ in range(50)}
    theirs = {others.take() for _ in range(50)}
    assert len(mine) == len(theirs) == 50
    assert not mine & theirs
    ours.release()
    others.release()


def test_an_occupied_port_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    locks = PortLocks()
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        udp.bind(("127.0.0.1", 0))
        free = locks.take()
        locks.release()
        choices = iter([tcp.getsockname()[1], udp.getsockname()[1], free])
        monkeypatch.setattr("sandbox.ports.random.randint", lambda _first, _last: next(choices))
        assert locks.take() == free
    locks.release()
