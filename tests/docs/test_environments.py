"""docs/environments.md promises nothing that no test has seen: each row of its tables names tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.source import ROOT

PAGE = ROOT / "docs" / "environments.md"
_NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def rows(text: str) -> Iterator[tuple[str, ...]]:
    """The cells of each row of each table."""
    for line in text.splitlines():
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        yield tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|")))


def names_in(path: Path) -> set[str]:
    """The names of the test functions in a module."""
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


ROWS = [row for row in rows(PAGE.read_text()) if row[-1] != "test"]


def test_every_table_ends_with_the_tests() -> None:
    heads = [line for line in PAGE.read_text().splitlines() if line.startswith("| what ")]
    rules = [line for line in PAGE.read_text().splitlines() if re.fullmatch(r"\|[-|]+", line)]
    assert heads
    assert len(heads) == len(rules), "a table has another head"
    assert all(head.endswith("| test |") for head in heads)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_each_row_names_tests_that_exist(row: tuple[str, ...]) -> None:
    named = _NAMED.findall(row[-1])
    assert named, "the row names no test, as `tests/…/test_x.py::test_y`"
    for file, name in named:
        assert (ROOT / file).exists(), f"{file} does not exist"
        assert name in names_in(ROOT / file), f"{file} has no test {name}"
