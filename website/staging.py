"""Lays the pages out for Sphinx: each at its place on the website, with links that lead there.

A link to a page of the website leads to its new place. A link to any other file of the repository leads to that file on
GitHub. A link to a file that does not exist is an error; Sphinx finds headings that do not exist. Diagrams become
elements that `static/diagrams.js` draws. Nothing else of a page changes, and no line moves.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Final

from website.pages import HOME, Unfinished, above, pages, parts, place

_FENCE: Final = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN: Final = re.compile(r"(`+).+?(?<!`)\1(?!`)", re.DOTALL)
_LINK: Final = re.compile(r"(?P<before>\[?)(?P<words>[^\[\]]*)\]\((?P<target>[^()\s#]+)(?=[#)])")
_TITLE: Final = re.compile(r"^# (.+)$", re.MULTILINE)
_SCHEME: Final = re.compile(r"\w+:")
_TOCTREE: Final = "\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{entries}\n```\n"
_BELOW: Final = "\n```{{toctree}}\n:hidden:\n\n{entries}\n```\n"


class Stage:
    """The pages of one repository, laid out in a directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._texts = {path: (root / path).read_text(encoding="utf-8") for path in pages(root)}
        self._places = {path: place(path) for path in self._texts}
        self._titles = {path: title[1] for path, text in self._texts.items() if (title := _TITLE.search(text))}
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        self._source: str = project["urls"]["Source"]

    def write(self, directory: Path) -> None:
        """Write all pages and images into an empty directory.

        Raises `Unfinished` for links that lead to no file, and for pages that nothing leads to.
        """
        shutil.rmtree(directory, ignore_errors=True)
        wrong: list[str] = []
        for path, where in self._places.items():
            text = self.laid_out(path, self._texts[path], wrong)
            (directory / where).parent.mkdir(parents=True, exist_ok=True)
            (directory / where).write_text(text, encoding="utf-8")
        shutil.copytree(self._root / "docs/images", directory / "images")
        wrong.extend(self._append_trees(directory))
        if wrong:
            raise Unfinished("\n".join(wrong))

    def laid_out(self, path: str, text: str, wrong: list[str]) -> str:
        """The text of a page as Sphinx reads it. What is wrong with it is appended to `wrong`."""
        pieces: list[str] = []
        end = 0
        for block in _FENCE.finditer(text):
            pieces.append(self._prose(path, text, end, block.start(), wrong))
            is_diagram = block[2] == "mermaid"
            pieces.append(f'<pre class="mermaid">\n{escape(block[3])}</pre>' if is_diagram else block[0])
            end = block.end()
        pieces.append(self._prose(path, text, end, len(text), wrong))
        return "".join(pieces)

    def _prose(self, path: str, text: str, begin: int, end: int, wrong: list[str]) -> str:
        """Prose with its links turned. Spans of code stay as they are."""
        prose = text[begin:end]
        spans = [(span.start(), span.end()) for span in _SPAN.finditer(prose)]

        def turned(link: re.Match[str]) -> str:
            is_code = any(first <= link.start() < last for first, last in spans)
            if is_code or _SCHEME.match(link["target"]):
                return link[0]
            target = normpath(f"{dirname(path)}/{link['target']}".lstrip("/"))
            if not (self._root / target).exists():
                line = text.count("\n", 0, begin + link.start()) + 1
                wrong.append(f"{path}:{line}: the link leads to no file: {link['target']}")
            return f"{link['before']}{self._words(link['words'], target)}]({self._address(target, self._places[path])}"

        return _LINK.sub(turned, prose)

    def _words(self, words: str, target: str) -> str:
        """The words of a link. On GitHub a page is called by its file, on the website by its title."""
        return self._titles[target] if words.endswith(".md") and target in self._titles else words

    def _address(self, target: str, at: str) -> str:
        """The address of a file of the repository, for a page that is at a place of the website."""
        page = self._places.get(target) or self._places.get(f"{target}/README.md")
        if page is None and target.startswith("docs/images/"):
            page = target.removeprefix("docs/")
        if page is not None:
            return relpath(page, dirname(at) or ".")
        kind = "tree" if (self._root / target).is_dir() else "blob"
        return f"{self._source}/{kind}/main/{target}"

    def _append_trees(self, directory: Path) -> Iterator[str]:
        """Append the sidebar to the first page, and to a page the pages below it. What nothing leads to is wrong."""
        listed: set[str] = {HOME}
        with (directory / self._places[HOME]).open("a", encoding="utf-8") as home:
            for part in parts(self._texts[HOME]):
                listed.update(part.pages)
                named = "\n".join(self._places[page].removesuffix(".md") for page in part.pages)
                home.write(_TOCTREE.format(caption=part.title, entries=named))
        below: dict[str, list[str]] = {}
        for path in self._places:
            if path in listed:
                continue
            over = above(path, frozenset(listed))
            if over is None:
                yield f"{path}: no page leads to it; list it in {HOME}"
            else:
                below.setdefault(over, []).append("/" + self._places[path].removesuffix(".md"))
        for over, entries in below.items():
            with (directory / self._places[over]).open("a", encoding="utf-8") as file:
                file.write(_BELOW.format(entries="\n".join(entries)))
