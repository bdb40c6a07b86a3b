"""The header of a Lua script as a value: its keys, arguments, answers, and the Redis version it needs.

Every script of `contract` and of `controller/clients/redis/scripts` begins with such a comment:

    -- reserve: take users out of the queue.
    --
    -- KEYS
    --   1 queue
    --   2+ blocked:<id>
    -- ARGV
    --   1 name  the name of the Match
    --   2+ id   a user
    -- ANSWERS
    --   OK new|replay  all users are reserved
    -- REDIS 6.2

`n+` marks the parts that are repeated as a group, `n?` one that may be missing. Two blanks separate a part from its
meaning, and a line that is indented further continues the meaning. `generate.library` builds the function library from
these headers; the tests hold them to the code that calls the scripts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SECTIONS: Final = ("KEYS", "ARGV", "ANSWERS")
_ENTRY: Final = re.compile(r"   (?P<form>\S.*?)(?:  +(?P<meaning>\S.*))?")
_CONTINUED: Final = re.compile(r"    +\S.*")
_NUMBERED: Final = re.compile(r"(?P<number>\d+)(?P<mark>[+?]?) (?P<form>\S+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A key or an argument. `form` is a key's name without the pool's prefix (`user:<id>`), or an argument's name."""

    number: int
    form: str
    repeated: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Header:
    """What a script's header says. `answers` maps each form of answer (`BUSY <match UID>`) to its meaning.

    `redis` is empty for a file that is only the beginning of other scripts.
    """

    name: str
    keys: tuple[Part, ...]
    args: tuple[Part, ...]
    answers: dict[str, str]
    redis: str

    @property
    def codes(self) -> frozenset[str]:
        """The first words of the answers."""
        return frozenset(form.partition(" ")[0] for form in self.answers)

    def after(self, prelude: Header) -> Header:
        """The header of a script that begins with `prelude`, unless this header repeats the prelude's keys itself."""
        if self.keys and self.keys[0].number == 1:
            return self
        return Header(
            self.name,
            prelude.keys + self.keys,
            prelude.args + self.args,
            {**self.answers, **prelude.answers},
            self.redis,
        )


def parse(text: str) -> Header:
    """The header at the beginning of a script's own file. Raises ValueError where it breaks the rules above."""
    lines = [line.removeprefix("--") for line in text.lstrip("\n").partition("\n\n")[0].splitlines()]
    name = lines[0].partition(":")[0].strip()
    sections: dict[str, list[tuple[str, str]]] = {}
    redis, current = "", None
    for line in lines[1:]:
        word = line.strip()
        if word in _SECTIONS:
            current = sections.setdefault(word, [])
        elif line.startswith(" REDIS "):
            redis, current = word.removeprefix("REDIS "), None
        elif current is None:
            continue  # what the script does, in words
        elif entry := _ENTRY.fullmatch(line):
            current.append((entry["form"], entry["meaning"] or ""))
        elif current and _CONTINUED.fullmatch(line):
            form, meaning = current.pop()
            current.append((form, f"{meaning} {word}".strip()))
        else:
            raise ValueError(f"{name}: the header has the line {line!r}, which is no part of {', '.join(_SECTIONS)}")
    return Header(
        name,
        _parts(name, sections.get("KEYS", [])),
        _parts(name, sections.get("ARGV", [])),
        dict(sections.get("ANSWERS", [])),
        redis,
    )


def sizes(parts: tuple[Part, ...]) -> tuple[int, int | None, int]:
    """How many keys or arguments a call may have: at least, at most (None: any number), and in steps of how many."""
    fixed = sum(not part.repeated and not part.optional for part in parts)
    group = sum(part.repeated for part in parts)
    if group:
        return fixed, None, group
    return fixed, len(parts), 1


def fits(parts: tuple[Part, ...], count: int) -> bool:
    """Whether a call may have `count` keys or arguments."""
    fewest, most, step = sizes(parts)
    return count >= fewest and (most is None or count <= most) and (count - fewest) % step == 0


def _parts(name: str, rows: list[tuple[str, str]]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for form, _ in rows:
        numbered = _NUMBERED.fullmatch(form)
        if numbered is None:
            raise ValueError(f"{name}: the header has {form!r} where a number and a name are expected")
        mark, number = numbered["mark"], int(numbered["number"])
        if parts and number != parts[-1].number + 1:
            raise ValueError(f"{name}: number {number} follows number {parts[-1].number}")
        parts.append(Part(number, numbered["form"], repeated=mark == "+", optional=mark == "?"))
    return tuple(parts)
