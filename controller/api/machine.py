"""State machines as tables: what each stage means, and every exit from it.

Neighbors: `phases` and `states` hold the tables, `generate.lifecycle_page` draws them, and the tests walk through them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Exit(Generic[S]):
    """An exit from a stage to the stage `to`. For states in Redis, `by` names the script that makes the transition."""

    when: str
    to: S
    by: str = ""


@dataclass(frozen=True, slots=True)
class Stage(Generic[S]):
    """What a stage means, and every exit from it. `afterwards` says what happens after a terminal stage."""

    name: S
    meaning: str
    exits: tuple[Exit[S], ...] = ()
    afterwards: str = ""

    @property
    def terminal(self) -> bool:
        return not self.exits


Machine = Mapping[S, Stage[S]]


def machine(*stages: Stage[S]) -> Machine[S]:
    """The stages by name. The first one is the initial stage."""
    return MappingProxyType({stage.name: stage for stage in stages})
