"""Versions of releases and their tags: `1.2.3` or `1.2.3-rc.1`, the tag is the version after a `v`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import total_ordering
from typing import Final

_PATTERN: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-rc\.([1-9]\d*))?")


class NotAVersion(ValueError):
    """A text that is no version of a release."""


@total_ordering
@dataclass(frozen=True)
class Version:
    """A version of a release; a candidate (`1.2.3-rc.1`) comes before its release (`1.2.3`)."""

    numbers: tuple[int, int, int]
    candidate: int | None = None

    @classmethod
    def parse(cls, text: str) -> Version:
        """Read a version without the `v` of the tag. Raises NotAVersion."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise NotAVersion(f"{text!r} is not a version; expected one like 1.2.3 or 1.2.3-rc.1, without a v")
        major, minor, patch, candidate = match.groups()
        return cls((int(major), int(minor), int(patch)), int(candidate) if candidate else None)

    @property
    def tag(self) -> str:
        """The name of the tag."""
        return f"v{self}"

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers)) + (f"-rc.{self.candidate}" if self.candidate else "")

    def __lt__(self, other: Version) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[tuple[int, int, int], float]:
        return self.numbers, float("inf") if self.candidate is None else self.candidate


def tagged(tags: Iterable[str]) -> list[Version]:
    """The versions among the names of tags, oldest first; other tags are left out."""
    matches = (_PATTERN.fullmatch(tag.removeprefix("v")) for tag in tags if tag.startswith("v"))
    return sorted(Version.parse(match[0]) for match in matches if match)


def last_release(tags: Iterable[str], before: Version | None = None) -> Version | None:
    """The newest release among the tags, candidates left out; only those lower than `before` if that is given."""
    released = [version for version in tagged(tags) if version.candidate is None]
    return max((version for version in released if before is None or version < before), default=None)
