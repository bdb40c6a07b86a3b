"""Reads the chart's values.yaml: every value with its default, and the comment above it that begins with `# --`.

A value is a leaf for users: a scalar, or a mapping or list that has a comment of its own. A mapping without a comment
only groups values. Neighbors: `schema` and `readme` make their files from this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

CHART: Final = Path("helm", "roomkeeper")
_MARK: Final = "# -- "


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the chart: where it is (`("image", "tag")`), what it is by default, and what it means."""

    path: tuple[str, ...]
    default: Any
    description: str

    @property
    def name(self) -> str:
        """The path as users write it: `image.tag`."""
        return ".".join(self.path)


def read_values(text: str) -> list[Value]:
    """All values in the order of the file. Raises ValueError for a value without a comment."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        assert isinstance(root, yaml.MappingNode)
        lines = text.splitlines()
        return list(_values(loader, root, (), lines))
    finally:
        loader.dispose()


def tree(values: list[Value]) -> dict[str, Any]:
    """The values as nested dictionaries with a Value at each leaf."""
    made: dict[str, Any] = {}
    for value in values:
        group = made
        for key in value.path[:-1]:
            group = group.setdefault(key, {})
        group[value.path[-1]] = value
    return made


def leaves(node: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all leaves of nested dictionaries."""
    for key, child in node.items():
        if isinstance(child, Mapping) and child:
            yield from leaves(child, (*path, key))
        else:
            yield (*path, key)


def _values(
    loader: yaml.SafeLoader, node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]
) -> Iterator[Value]:
    for key, child in node.value:
        here = (*path, str(key.value))
        description = _comment(lines, key.start_mark.line)
        if description:
            yield Value(here, loader.construct_object(child, deep=True), description)
        elif isinstance(child, yaml.MappingNode) and child.value:
            yield from _values(loader, child, here, lines)
        else:
            raise ValueError(f"values.yaml, line {key.start_mark.line + 1}: {'.'.join(here)} has no comment `{_MARK}…`")


def _comment(lines: list[str], line: int) -> str:
    """The comment that ends on the line above, joined; empty if there is none that begins with the mark."""
    words: list[str] = []
    for text in reversed(lines[:line]):
        stripped = text.strip()
        if stripped.startswith(_MARK):
            return " ".join((stripped.removeprefix(_MARK), *words))
        if not stripped.startswith("# "):
            return ""
        words.insert(0, stripped.removeprefix("# "))
    return ""
