"""What can go wrong in the sandbox, as sentences for people.

SandboxError
├── PartMissingError       a real program is not there, and what would bring it
├── BuildError             a program could not be built or installed; carries the tool's last lines
├── DirectoryInUseError    the directory belongs to a living sandbox, or is not a sandbox's at all
├── NotRunningError        there is no living sandbox in that directory
├── ProgramError           a program died, or did not become ready; carries its log's last lines
├── ClusterError           the API server refused something that the sandbox needs
└── JoinError              a simulated person could not join a room
"""

from __future__ import annotations


class SandboxError(Exception):
    """Base of all; its text is shown to people as it is."""


class PartMissingError(SandboxError):
    """A real program is neither on the machine nor in the cache."""


class BuildError(SandboxError):
    """Building or installing a program did not work."""


class DirectoryInUseError(SandboxError):
    """The directory cannot be taken."""


class NotRunningError(SandboxError):
    """No living sandbox is there to attach to."""


class ProgramError(SandboxError):
    """A program died or never became ready."""

    def __init__(self, program: str, what: str, log_tail: str) -> None:
        super().__init__(f"{program} {what}" + (f"; its log ends with:\n{log_tail}" if log_tail else ""))
        self.program = program
        self.log_tail = log_tail

    @property
    def address_in_use(self) -> bool:
        """Somebody else took one of the program's ports between our choice and its start."""
        return "address already in use" in self.log_tail.lower()


class ClusterError(SandboxError):
    """The API server refused an object, or did not establish a CRD."""


class JoinError(SandboxError):
    """LiveKit did not let a person in; `status` is its HTTP status, where the wheel told it."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
