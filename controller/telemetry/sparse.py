"""Log lines that would repeat with every request, object or attempt: one a minute for each subject, with a count.

While a backend is away, everything that needs it fails, and each failure has a reason to be told. Together they would
bury the one line that matters. Neighbors: `clients.request` and `loop.worker` speak through this module.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_INTERVAL_SECONDS: Final = 60.0
_MOST_SUBJECTS: Final = 1000


class Sparse:
    """The lines of one part of the program. Its subjects are few: a backend, an operation, a code; never an object."""

    def __init__(self) -> None:
        self._quiet: dict[tuple[str, ...], _Quiet] = {}

    def say(self, log: Callable[..., object], event: str, subject: tuple[str, ...], **fields: object) -> bool:
        """Write one line about `subject`, if the last one is a minute old; it says how many were left out.

        Returns whether the line was written.
        """
        now = time.monotonic()
        if len(self._quiet) >= _MOST_SUBJECTS:
            self._quiet = {known: quiet for known, quiet in self._quiet.items() if quiet.until > now}
        quiet = self._quiet.setdefault(subject, _Quiet())
        if now < quiet.until:
            quiet.unlogged += 1
            return False
        log(event, **fields, unlogged=quiet.unlogged)
        quiet.until, quiet.unlogged = now + _INTERVAL_SECONDS, 0
        return True


@dataclass(slots=True)
class _Quiet:
    """Until when lines about a subject are left out, and how many there were since the last one."""

    until: float = 0.0
    unlogged: int = 0
