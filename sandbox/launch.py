"""Starts a program that goes when its parent goes, also when the parent is killed with SIGKILL.

`launched(command)` is the command to start: this file, run by a bare interpreter (about 15 ms), asks
the kernel for a SIGKILL at the parent's death and then *becomes* the program: same pid. A hook between
fork and exec would do the same, but is unsafe in a process with threads.

The kernel watches the parent *thread*: start programs from a thread that lives as long as they should.
Where there is no prctl (macOS) the program is started all the same, without that net.

It imports nothing of this package: it runs isolated from it.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


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
    try:
        os.execvp(program, [program, *arguments])
    except OSError as error:
        sys.exit(f"{program} could not be started: {error.strerror}")


if __name__ == "__main__":
    main()
