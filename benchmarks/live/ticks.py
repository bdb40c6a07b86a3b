"""Numbers that an operator and the benchmark share through a small file: nobody has to ask, and nothing is parsed."""

from __future__ import annotations

import mmap
from enum import IntEnum
from pathlib import Path

_BYTES_EACH = 8


class Field(IntEnum):
    """The place of each number. The benchmark sets AWAKE, and LONGEST_TURN_NS back to 0; `ticking` sets the others."""

    AWAKE = 0
    LONGEST_TURN_NS = 1
    DECISIONS = 2
    """Reconciles of this process so far."""
    WAITING = 3
    """Keys in the queue and in hand."""


class Ticks:
    """One side's view of the file, which is made by the first one."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(_BYTES_EACH * len(Field)))
        with file.open("r+b") as opened:
            self._numbers = memoryview(mmap.mmap(opened.fileno(), 0)).cast("q")

    def __getitem__(self, field: Field) -> int:
        return self._numbers[field]

    def __setitem__(self, field: Field, number: int) -> None:
        self._numbers[field] = number

    def reset(self) -> None:
        """Begin with a new process, whose clock runs."""
        for field in Field:
            self[field] = 0
        self.wake()

    def wake(self) -> None:
        """Let the clock run, and forget the turns until now."""
        self[Field.AWAKE], self[Field.LONGEST_TURN_NS] = 1, 0

    def sleep(self) -> float:
        """Stop the clock; return the longest turn since `wake`, in milliseconds."""
        self[Field.AWAKE] = 0
        return self[Field.LONGEST_TURN_NS] / 1e6
