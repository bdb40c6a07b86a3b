"""Reads the Dockerfile and .dockerignore, so that other code need not repeat what they say.

It knows as much of both formats as ours use: continued lines, comments, `ARG` defaults, and an ignore file that
excludes everything and names what is let in. Anything else is an error, never a guess.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.errors import BuildError
from sandbox.source import ROOT

DOCKERFILE: Final = ROOT / "Dockerfile"
DOCKERIGNORE: Final = ROOT / ".dockerignore"


@dataclass(frozen=True)
class Instruction:
    """One instruction, its continued lines joined: `keyword` in capitals, `text` without it."""

    keyword: str
    text: str

    @property
    def words(self) -> list[str]:
        """The words of the text, as a shell splits them."""
        return shlex.split(self.text)


@dataclass(frozen=True)
class Stage:
    """One `FROM` and what follows it; `name` is empty for the last stage."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[Instruction]:
        """The instructions of one kind, in order."""
        return [instruction for instruction in self.instructions if instruction.keyword == keyword]

    def environment(self) -> dict[str, str]:
        """What `ENV` sets, with this stage's `ARG` defaults filled in."""
        defaults = dict(pair for instruction in self.all("ARG") for pair in _pairs(instruction))
        found = dict(pair for instruction in self.all("ENV") for pair in _pairs(instruction))
        return {name: _filled_in(value, defaults) for name, value in found.items()}


@dataclass(frozen=True)
class Dockerfile:
    """The global arguments with their defaults, and the stages."""

    arguments: dict[str, str]
    stages: tuple[Stage, ...]

    def stage(self, name: str) -> Stage:
        """The stage of this name; "" is the last one, which becomes the image."""
        return next(stage for stage in self.stages if stage.name == name)


def read(file: Path = DOCKERFILE) -> Dockerfile:
    """Read a Dockerfile."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(file.read_text(encoding="utf-8")):
        if instruction.keyword == "FROM":
            base, *rest = instruction.words
            stages.append(Stage(base, rest[1] if rest else "", ()))
        elif stages:
            last = stages[-1]
            stages[-1] = Stage(last.base, last.name, (*last.instructions, instruction))
        elif instruction.keyword == "ARG":
            arguments.update(_pairs(instruction))
        else:
            raise BuildError(f"{file.name}: {instruction.keyword} stands before the first FROM")
    return Dockerfile(arguments, tuple(stages))


def exec_form(instruction: Instruction) -> list[str]:
    """The words of `ENTRYPOINT ["…", "…"]` or `CMD`."""
    found: list[str] = json.loads(instruction.text)
    return found


def copy_set(root: Path = ROOT) -> list[Path]:
    """The files that `COPY . .` copies, relative to the root, sorted: what .dockerignore lets in and exists."""
    admitted, refused = _ignore_rules((root / ".dockerignore").read_text(encoding="utf-8"))
    files: list[Path] = []
    for name in admitted:
        entry = root / name
        below = entry.rglob("*") if entry.is_dir() else [entry]
        files += [path.relative_to(root) for path in below if path.is_file()]
    return sorted(path for path in files if refused.isdisjoint(path.parts))


def _ignore_rules(text: str) -> tuple[list[str], set[str]]:
    """The names that are let in at the top level, and the names that are refused at any depth."""
    rules = [line for line in text.splitlines() if line and not line.startswith("#")]
    admitted = [rule.removeprefix("!") for rule in rules if re.fullmatch(r"![\w.-]+", rule)]
    refused = {rule.removeprefix("**/") for rule in rules if re.fullmatch(r"\*\*/[\w.-]+", rule)}
    if rules[:1] != ["*"] or len(rules) != 1 + len(admitted) + len(refused):
        raise BuildError(".dockerignore must begin with `*`; after it, only `!NAME` and `**/NAME` are understood")
    return admitted, refused


def _instructions(text: str) -> Iterator[Instruction]:
    # Docker drops comment lines even between continued lines.
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", kept).splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield Instruction(keyword.upper(), re.sub(r"\s+", " ", rest).strip())


def _pairs(instruction: Instruction) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (word.partition("=") for word in instruction.words)]


def _filled_in(value: str, arguments: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: arguments.get(found[1], ""), value)
