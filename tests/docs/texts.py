"""Finds the words for people: the prose and commands of pages, docstrings, comments, and messages that quote a name.

`references` judges what they name, `known` says what exists.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FENCE: Final = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_DIRECTIVE: Final = re.compile(r"#\s*(noqa|type:|ruff:|mypy:|fmt:|pragma)")
_SHELL: Final = ("sh", "bash", "shell")
_QUOTES: Final = re.compile(r"`[^`]+`|\bdocs/")
_COMMENTS: Final = {".lua": "--", ".yaml": "#", ".toml": "#", ".importlinter": "#", "Makefile": "#"}


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text, with the file below the root and the line that it begins in.

    `is_shell` marks the lines of a block of commands. All else is prose.
    """

    path: str
    line: int
    text: str
    is_shell: bool = False


def of_markdown(path: str, source: str) -> Iterator[Text]:
    """The prose between fenced blocks, and the blocks that hold shell commands. Other blocks are examples of output."""
    end = 0
    for block in _FENCE.finditer(source):
        yield Text(path, _line(source, end), source[end : block.start()])
        if block[2] in _SHELL:
            yield Text(path, _line(source, block.start(3)), block[3].replace("\\\n", "  "), is_shell=True)
        end = block.end()
    yield Text(path, _line(source, end), source[end:])


def of_python(path: str, source: str) -> Iterator[Text]:
    """Every docstring, those of attributes included, every comment, and every message that quotes a name.

    The strings of tests are made up, so they count only as docstrings.
    """
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_message = not path.startswith("tests/") and _QUOTES.search(node.value)
            if id(node) in docstrings or is_message:
                yield Text(path, node.lineno, node.value)
    comments = (
        (token.start[0], token.string.lstrip("# "))
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not _DIRECTIVE.match(token.string)
    )
    yield from _paragraphs(path, comments)


def of_comments(path: str, source: str, mark: str) -> Iterator[Text]:
    """The comments of any other file; of a Makefile also the commands that run our modules."""
    lines = list(enumerate(source.splitlines(), start=1))
    comments = ((number, line.strip().lstrip(f"{mark} ")) for number, line in lines if line.strip().startswith(mark))
    yield from _paragraphs(path, comments)
    for number, line in lines:
        if path == "Makefile" and "$(PY) -m" in line:
            yield Text(path, number, line.strip().lstrip("@").replace("$(PY)", "python"), is_shell=True)


def of_file(root: Path, path: str) -> Iterator[Text]:
    """The texts of one file below `root`."""
    source = (root / path).read_text(encoding="utf-8")
    if path.endswith(".py"):
        return of_python(path, source)
    mark = next((mark for end, mark in _COMMENTS.items() if path.endswith(end)), "")
    return of_comments(path, source, mark) if mark else of_markdown(path, source)


def _paragraphs(path: str, comments: Iterable[tuple[int, str]]) -> Iterator[Text]:
    """Comments of adjoining lines as one text each, since a name may be broken across lines."""
    begin, lines = 0, list[str]()
    for line, text in comments:
        if lines and begin + len(lines) != line:
            yield Text(path, begin, "\n".join(lines))
            lines = []
        begin = begin if lines else line
        lines.append(text)
    if lines:
        yield Text(path, begin, "\n".join(lines))


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1
