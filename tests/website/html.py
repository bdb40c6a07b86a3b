"""Reads the pages of the website as a browser does: what a page loads, what it links to, and what can be linked to."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Final

_LOADING: Final = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
_LOADED_RELS: Final = ("stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest", "preconnect")
_OF_CSS: Final = re.compile(r"""url\(\s*["']?(?!data:)([^"')]+)|@import\s+["']([^"']+)""")


class Page(HTMLParser):
    """One page: its first `heading`, what it `loads`, its `links`, and the `ids` that a link can name."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.path = path
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.heading = ""
        self._in_style = self._in_heading = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if (name := _LOADING.get(tag)) and values.get(name):
            self.loads.append(values[name])
        if tag == "link" and any(rel in _LOADED_RELS for rel in values.get("rel", "").split()):
            self.loads.append(values["href"])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        self.loads.extend(of_css(values.get("style", "")))
        self._in_style = tag == "style"
        # The mark that links to a heading is no part of it.
        self._in_heading = (self._in_heading and tag != "a") or (tag == "h1" and not self.heading)

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.loads.extend(of_css(data))
        if self._in_heading:
            self.heading += data

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False
        if tag == "h1":
            self._in_heading = False


def of_css(text: str) -> list[str]:
    """What a stylesheet loads."""
    return [found[1] or found[2] for found in _OF_CSS.finditer(text)]
