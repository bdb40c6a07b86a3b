"""State machines as tables: what each stage means, and every way out of it.

`api.phases` and `api.states` hold the tables; `generate.lifecycle_page` draws them, and tests walk them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Exit(Generic[S]):
    """A way out of a stage. `by` names the script in Redis that takes it, for states that Redis keeps."""

    when: str
    to: S
    by: str = ""


@dataclass(frozen=True, slots=True)
class Stage(Generic[S]):
    """What a stage means, and every way out of it. `afterwards` says what happens after a terminal one."""

    name: S
    meaning: str
    exits: tuple[Exit[S], ...] = ()
    afterwards: str = ""

    @property
    def terminal(self) -> bool:
        return not self.exits


Machine = Mapping[S, Stage[S]]


def machine(*stages: Stage[S]) -> Machine[S]:
    """The stages by name; a life begins with the first."""
    return MappingProxyType({stage.name: stage for stage in stages})
