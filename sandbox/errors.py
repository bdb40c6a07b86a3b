"""What can go wrong in the sandbox. The texts are sentences for users.

SandboxError
├── PartMissingError       a real program is missing; says how to get it
├── BuildError             a program could not be built or installed; has the last lines of the tool
├── DirectoryInUseError    the directory belongs to a living sandbox, or to something else
├── NotRunningError        there is no living sandbox in that directory
├── ProgramError           a program died, or did not become ready; has the last lines of its log
├── ClusterError           the API server refused something that the sandbox needs
└── JoinError              a simulated person could not join a room
"""

from __future__ import annotations


class SandboxError(Exception):
    """The base of all; users see its text as it is."""


class PartMissingError(SandboxError):
    """A real program is neither on the machine nor in the cache."""


class BuildError(SandboxError):
    """A program could not be built or installed."""


class DirectoryInUseError(SandboxError):
    """The directory cannot be taken."""


class NotRunningError(SandboxError):
    """There is no living sandbox to attach to."""


class ProgramError(SandboxError):
    """A program died or never became ready."""

    def __init__(self, program: str, what: str, log_tail: str) -> None:
        super().__init__(f"{program} {what}" + (f"; its log ends with:\n{log_tail}" if log_tail else ""))
        self.program = program
        self.log_tail = log_tail

    @property
    def address_in_use(self) -> bool:
        """Whether another process took one of the program's ports after we had chosen it."""
        return "address already in use" in self.log_tail.lower()


class ClusterError(SandboxError):
    """The API server refused an object, or did not establish a CRD."""


class JoinError(SandboxError):
    """LiveKit did not let a person in; `status` is the HTTP status, if the client library reported one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
