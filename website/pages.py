"""Which pages the website has, in which order, and where each one is on it.

docs/README.md is the navigation: each heading is a part of the sidebar, and each list below it names pages. The
website has these pages, and no page of docs/ may be missing. Where a page is on the website follows from its path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
HOME: Final = "docs/README.md"
_PART: Final = re.compile(r"^## (.+)$")
_LINK: Final = re.compile(r"\]\(([^()\s#]+\.md)\)")


class Unfinished(Exception):
    """The pages do not fit together: what is wrong, and in which file."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the sidebar, with the paths of its pages below the root of the repository."""

    title: str
    pages: tuple[str, ...]


def parts(home: str) -> tuple[Part, ...]:
    """The parts of the sidebar, from the text of docs/README.md."""
    found: list[tuple[str, list[str]]] = []
    for line in home.splitlines():
        if heading := _PART.match(line):
            found.append((heading[1], []))
        elif found and line.startswith(("- ", "  ")):
            found[-1][1].extend(normpath(f"docs/{target}") for target in _LINK.findall(line))
    return tuple(Part(title, tuple(pages)) for title, pages in found)


def place(path: str) -> str:
    """Where a page is on the website.

    A page of docs/ is where it is below docs/, a README takes the name of its folder, and a page of the top, like
    `SECURITY.md`, is in the folder `project`.
    """
    if path == HOME:
        return "index.md"
    if "/" not in path:
        return f"project/{path.lower()}"
    inside = PurePosixPath(path.removeprefix("docs/"))
    named = inside.parent.with_suffix(".md") if inside.name == "README.md" else inside
    return named.as_posix()


def pages(root: Path = ROOT) -> tuple[str, ...]:
    """The paths of all pages: those of the navigation, and all others below docs/."""
    listed = [page for part in parts((root / HOME).read_text(encoding="utf-8")) for page in part.pages]
    twice = sorted({page for page in listed if listed.count(page) > 1})
    if twice:
        raise Unfinished(f"{HOME} lists {', '.join(twice)} more than once")
    others = (path.relative_to(root).as_posix() for path in sorted((root / "docs").rglob("*.md")))
    return tuple(dict.fromkeys((HOME, *listed, *others)))


def above(path: str, listed: frozenset[str]) -> str | None:
    """The page that leads to a page which the navigation does not list: for a page of a folder, the page that has the
    name of the folder."""
    folder = PurePosixPath(path).parent
    candidates = (f"{folder}.md", f"{folder}/README.md")
    return next((page for page in candidates if page in listed and page not in {path, HOME}), None)
