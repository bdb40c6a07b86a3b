"""Reads CHANGELOG.md in the form of https://keepachangelog.com: one section per release. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

UNRELEASED: Final = "Unreleased"
_HEADING: Final = re.compile(r"^## \[(?P<name>[^\]]+)\](?: - (?P<date>\S+))?\s*$", re.MULTILINE)
_LINK: Final = re.compile(r"^\[[^\]]+\]: \S+$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """What one `## [1.2.3] - 2026-01-31` says; `released` is the text after the dash, `body` what follows."""

    name: str
    released: str | None
    body: str

    @property
    def has_date(self) -> bool:
        """Whether the date is a day of the calendar."""
        try:
            return self.released is not None and date.fromisoformat(self.released).isoformat() == self.released
        except ValueError:
            return False


def sections(text: str) -> list[Section]:
    """The sections of a changelog, in its order: the newest first."""
    headings = list(_HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    return [
        Section(heading["name"], heading["date"], _LINK.sub("", text[heading.end() : end]).strip())
        for heading, end in zip(headings, ends, strict=True)
    ]


def section(text: str, name: str) -> Section | None:
    """The section of one release; None if there is none."""
    return next((found for found in sections(text) if found.name == name), None)
