"""The Lua scripts: their texts, put together from the files in `scripts/`, and their digests.

A script's text is its parts one after the other and nothing else, so `cat common.lua enqueue.lua` is what
EVALSHA knows by the same digest, in any language. Who may call which, and with what: docs/redis.md.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources


@dataclass(frozen=True, slots=True)
class Script:
    """A script by name: its text and the SHA-1 digest that EVALSHA wants."""

    name: str
    text: str = field(repr=False)
    sha: str


def _load(name: str, *preludes: str) -> Script:
    folder = resources.files(__package__) / "scripts"
    text = "".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*preludes, name))
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


# The operator's: fenced, bound to an incarnation.
CLAIM = _load("claim", "common", "operator")
ADVANCE = _load("advance", "common", "operator")
SETTLE = _load("settle", "common", "operator")
ROOM = _load("room", "common", "operator")
TOKENS = _load("tokens", "common", "operator")
SIGNAL = _load("signal", "common", "operator")
EXPIRE = _load("expire", "common", "operator")
NOTIFY = _load("notify", "common", "operator")
INCARNATION = _load("incarnation", "common", "operator")

# Of any replica: the one that received a webhook, the one that looks at heartbeats.
SILENT = _load("silent", "common")
WITNESS = _load("witness", "common")

# Published, for gateways and matchmakers.
ENQUEUE = _load("enqueue", "common")
LEAVE = _load("leave", "common")
BEAT = _load("beat", "common")
RESERVE = _load("reserve", "common")
RELEASE = _load("release", "common")

ALL = (
    *(CLAIM, ADVANCE, SETTLE, ROOM, TOKENS, SIGNAL, EXPIRE, NOTIFY, INCARNATION),
    *(SILENT, WITNESS),
    *(ENQUEUE, LEAVE, BEAT, RESERVE, RELEASE),
)
