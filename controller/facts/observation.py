"""Present, Absent or Unknown, with the moment at which it was seen.

"Could not read" is Unknown, and nothing destructive follows from Unknown. A deadline fires only on an observation made
after it, so each observation carries its moment. `facts`, `rules`, `plan` and `status` are built on these three.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Present(Generic[T]):
    """It is there; `value` was read at `at`."""

    value: T
    at: datetime


@dataclass(frozen=True, slots=True)
class Absent:
    """It was looked for at `at`, and it is not there."""

    at: datetime


@dataclass(frozen=True, slots=True)
class Unknown:
    """It could not be read at `at`; `why` is a sentence for people."""

    at: datetime
    why: str


Observation: TypeAlias = Present[T] | Absent | Unknown


def value_of(observation: Observation[T]) -> T | None:
    """The value where it is Present, else None."""
    return observation.value if isinstance(observation, Present) else None
