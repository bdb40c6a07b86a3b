"""The directory of one sandbox: who owns it, what it contains, and what stays after a stop.

    D/kubeconfig, D/operator.kubeconfig       administrator; the operator's ServiceAccount
    D/env, D/operator.env, D/endpoints.json   see `endpoints`
    D/pids/<program>, D/logs/<program>.log
    D/config/, D/data/                        what the programs read and store
    D/lock                                    locked while the sandbox runs; contains its pid

Files with secrets are readable by their owner only. After a stop, the logs and the files of the first two lines stay
for reading; the next start removes them. Other files in D are not touched.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, Final

from sandbox.envfile import is_harmless, load
from sandbox.errors import DirectoryInUseError

_LOCK: Final = "lock"
_FOLDERS: Final = ("pids", "logs", "config", "data")
_FILES: Final = ("kubeconfig", "operator.kubeconfig", "env", "operator.env", "endpoints.json")
# `is_alive` in another process holds the lock for a moment.
_LOCK_PATIENCE_SECONDS = 0.3


class Directory:
    """`take` takes it, `release` gives it back."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.safe_path = self.path
        self._lock: BinaryIO | None = None

    def take(self) -> None:
        """Become the owner and remove the files of an earlier sandbox.

        Raises DirectoryInUseError if a living sandbox owns the directory, or if it holds files of the same names that
        no sandbox has written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise DirectoryInUseError(f"{self.path} cannot be a directory: {error.strerror}") from error
        if not (self.path / _LOCK).exists() and (foreign := self._foreign_name()):
            raise DirectoryInUseError(
                f"{self.path} has a {foreign} that is not a sandbox's; give --dir a new or an empty directory"
            )
        self._lock = _try_lock(self.path)
        if self._lock is None:
            raise DirectoryInUseError(
                f"{self.path} is in use by the sandbox with pid {owner(self.path)}; "
                "stop that one, or give --dir another directory"
            )
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n".encode())
        self._lock.flush()
        self._end_orphans()
        self.clear()

    def clear(self) -> None:
        """Remove all files of an earlier stack."""
        self._remove_alias()
        for name in _FILES:
            (self.path / name).unlink(missing_ok=True)
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
            (self.path / name).mkdir(mode=0o700)
        self.safe_path = self._path_without_quotes()

    def release(self) -> None:
        """Remove all but the files for reading, and give up the ownership."""
        if self._lock is None:
            return
        shutil.rmtree(self.path / "data", ignore_errors=True)
        shutil.rmtree(self.path / "config", ignore_errors=True)
        shutil.rmtree(self.path / "pids", ignore_errors=True)
        self._remove_alias()
        self._lock.close()
        self._lock = None

    def write_secret(self, name: str, text: str) -> Path:
        """Write a file that only its owner can read. It appears by a rename, so it is always complete."""
        target = self.path / name
        scratch = target.with_name(f".{target.name}.new")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        scratch.replace(target)
        return target

    def log(self, program: str) -> Path:
        return self.path / "logs" / f"{program}.log"

    def note_pid(self, program: str, pid: int) -> None:
        (self.path / "pids" / program).write_text(f"{pid}\n")

    def forget_pid(self, program: str) -> None:
        (self.path / "pids" / program).unlink(missing_ok=True)

    def _foreign_name(self) -> str | None:
        """The first of our names under which there is already a file; None if there is none."""
        names = (*_FILES, *_FOLDERS)
        return next((name for name in names if (self.path / name).exists()), None)

    def _path_without_quotes(self) -> Path:
        """A path of the directory that needs no quotes in `env` and is one entry of KUBECONFIG; if need be, a link."""
        if is_harmless(str(self.path)) and ":" not in str(self.path):
            return self.path
        shelf = next(path for path in (tempfile.gettempdir(), "/tmp") if is_harmless(path))
        alias = Path(shelf) / f"roomkeeper-{secrets.token_hex(6)}"
        alias.symlink_to(self.path, target_is_directory=True)
        return alias

    def _remove_alias(self) -> None:
        """Remove our link, and the one that a killed sandbox has left: its `env` contains the path."""
        aliases = {self.safe_path}
        if (self.path / "env").exists():
            aliases.add(Path(load(self.path / "env").get("KUBECONFIG", "")).parent)
        for alias in aliases:
            if alias.is_symlink() and alias != self.path and alias.readlink() == self.path:
                alias.unlink()

    def _end_orphans(self) -> None:
        """Kill the programs of a killed sandbox, where the kernel has not ended them with it."""
        for file in (self.path / "pids").glob("*"):
            text = file.read_text().strip()
            if text.isdigit() and str(self.path) in _command_line(int(text)):
                os.kill(int(text), signal.SIGKILL)


def is_alive(path: Path) -> bool:
    """Whether a living sandbox owns the directory."""
    if not (path / _LOCK).exists():
        return False
    lock = _try_lock(path, patience_seconds=0.0)
    if lock is None:
        return True
    lock.close()
    return False


def _try_lock(path: Path, patience_seconds: float = _LOCK_PATIENCE_SECONDS) -> BinaryIO | None:
    lock = (path / _LOCK).open("a+b")
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                lock.close()
                return None
            time.sleep(0.02)
        else:
            return lock


def owner(path: Path) -> str:
    """The pid of the sandbox that owns the directory, or was the last to own it."""
    return (path / _LOCK).read_text(errors="replace").strip() or "unknown"


def _command_line(pid: int) -> str:
    """The command line of a process, empty if there is none: pids are reused, so only this shows that it is ours."""
    if Path("/proc/self/cmdline").exists():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return words.replace(b"\0", b" ").decode(errors="replace")
    asked = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return asked.stdout
