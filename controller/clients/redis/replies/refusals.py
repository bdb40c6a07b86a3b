"""The refusals that several scripts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from controller.errors import Backend, Invalid


@dataclass(frozen=True, slots=True)
class Stale:
    """A replica with a higher epoch owns the shard: the receiver must stop writing."""

    current_epoch: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Redis is not the one we knew: it lost its data, or is being restored. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The Match is over: its ledger is closed."""


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """The Match has claimed no users: there is no ledger."""


def _stale(epoch: str) -> Stale:
    return Stale(int(epoch))


FENCED: Final[Mapping[str, Callable[..., Stale | Lost]]] = {"STALE": _stale, "LOST": Lost}
"""The codes that every fenced script can answer."""


def invalid(script: str) -> Callable[[str], NoReturn]:
    """Return the reader of `INVALID`, which a published script answers with a sentence. It raises Invalid."""

    def reader(sentence: str) -> NoReturn:
        raise Invalid(Backend.REDIS, script, sentence)

    return reader
