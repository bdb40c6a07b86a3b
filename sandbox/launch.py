"""Starts programs: every program gets the same start, no matter which process starts it.

`launched(command)` is the command to start: this file, run by a bare interpreter (about 15 ms), which then *becomes*
the program: the pid stays the same. Before that it

- asks the kernel to kill the program when its parent dies, also when the parent is killed with SIGKILL;
- restores what a process inherits from its parent and a program does not expect: ignored signals (`nohup`, a background
  job of a script), blocked signals, and the umask.

A hook between fork and exec would do the same, but is unsafe in a process with threads.

The kernel watches the parent *thread*: start programs from a thread that lives as long as they should. Where there is
no prctl (macOS) the program does not die with its parent.

This file imports nothing of its package: it runs isolated from it.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_UMASK = 0o022


def launched(command: Sequence[str]) -> list[str]:
    """The command that starts `command` under this launcher, from this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    parent, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the kernel was asked.
        if os.getppid() != int(parent):
            sys.exit(f"{program} was not started: its parent is gone")
    _restore_defaults()
    try:
        os.execvp(program, [program, *arguments])
    except OSError as error:
        sys.exit(f"{program} could not be started: {error.strerror}")


def _restore_defaults() -> None:
    """Let signals do what they do by default. Python itself ignores SIGPIPE, which the program would inherit."""
    for number in signal.valid_signals():
        with contextlib.suppress(OSError):  # SIGKILL and SIGSTOP cannot be set
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(_UMASK)


if __name__ == "__main__":
    main()
