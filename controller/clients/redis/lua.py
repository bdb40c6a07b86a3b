"""The Lua scripts that the operator's client sends: their texts and digests.

The operator's own scripts are in `scripts/`. The published ones, and the `common.lua` that all of them begin with, come
from the package `contract`. The text of a script is its files one after the other and nothing else, so a gateway in any
language gets the same digest for EVALSHA from `cat common.lua enqueue.lua`. The header of each file names its keys,
arguments and answers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib import resources

import contract


@dataclass(frozen=True, slots=True)
class Script:
    """A script by name: its text and the SHA-1 digest that EVALSHA takes."""

    name: str
    text: str = field(repr=False)
    sha: str


def _script(name: str, text: str) -> Script:
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def _operators(name: str, *preludes: str) -> Script:
    folder = resources.files(__package__) / "scripts"
    own = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*preludes, name)]
    return _script(name, "".join((contract.read("common.lua"), *own)))


def _published(name: str) -> Script:
    return _script(name, contract.script(name))


# Only the owner of a shard may run these: they are fenced and bound to an incarnation.
CLAIM = _operators("claim", "operator")
ADVANCE = _operators("advance", "operator")
SETTLE = _operators("settle", "operator")
ROOM = _operators("room", "operator")
TOKENS = _operators("tokens", "operator")
SIGNAL = _operators("signal", "operator")
SIGNALS = _operators("signals", "operator")
EXPIRE = _operators("expire", "operator")
NOTIFY = _operators("notify", "operator")
DRAIN = _operators("drain", "operator")
SERVE = _operators("serve", "operator")
DROP = _operators("drop", "operator")
FREE = _operators("free", "operator")
UNRESERVE = _operators("unreserve", "operator")
INCARNATION = _operators("incarnation", "operator")

# The owner runs it once for all pools, before it binds the first one.
EPOCH = _operators("epoch")

# Any replica may run these: the one that received a webhook, the one that reads heartbeats and flags, the one that met
# an error or a damaged key. So may `roomkeeper sweep`, which has no lease: the lock of the sweeps is not fenced.
SILENT = _operators("silent")
FLAGS = _operators("flags")
WITNESS = _operators("witness")
ERRORS = _operators("errors")
MEND = _operators("mend")
REPAIR = _operators("repair")
LASTING = _operators("lasting")
HELD = _operators("held")
SWEEPS = _operators("sweeps")

# Published, for gateways and matchmakers.
ENQUEUE = _published("enqueue")
LEAVE = _published("leave")
BEAT = _published("beat")
RESERVE = _published("reserve")
RELEASE = _published("release")

PUBLISHED = (ENQUEUE, BEAT, LEAVE, RESERVE, RELEASE)
ALL = (
    *(CLAIM, ADVANCE, SETTLE, ROOM, TOKENS, SIGNAL, SIGNALS, EXPIRE, NOTIFY, DRAIN, SERVE, INCARNATION),
    *(DROP, FREE, UNRESERVE),
    *(EPOCH, SILENT, FLAGS, WITNESS, ERRORS, MEND, REPAIR, LASTING, HELD, SWEEPS),
    *PUBLISHED,
)
