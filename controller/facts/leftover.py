"""Leftovers as values: what a scan found in Redis, and what follows from it.

`clients.redis.leftovers` reads, `rules.leftovers` judges, `backends.cleaning` cleans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class SweepKind(StrEnum):
    """What a leftover is, as the settings, the metrics and the command line name it."""

    ROOMS = "rooms"
    USERS = "users"
    SESSIONS = "sessions"
    MATCHES = "matches"
    HEARTBEATS = "heartbeats"
    NOTICES = "notices"


class Remedy(StrEnum):
    """What is done about a leftover. Each is one request, which checks again before it writes."""

    CLOSE = "close"
    """The LiveKit room is deleted."""
    SETTLE = "settle"
    """The Match is settled as its ledger says, or the records of its users: they are free."""
    FREE = "free"
    """The user goes back into the queue, or is idle."""
    RELEASE = "release"
    """The user whose reservation is over goes back to their place."""
    RETIRE = "retire"
    """The user no longer beats, and leaves the queue if they wait."""
    EXPIRE = "expire"
    """The key gets a TTL."""
    DELETE = "delete"
    """The key is deleted."""


@dataclass(frozen=True, slots=True)
class SeenKey:
    """A key of a pool without a TTL that no list of the pool names, as a scan saw it.

    `form` is the key's name up to the id, as in `KEY_RULES` (`user:`). `idle_seconds` is None where Redis does not tell
    it. `value` is the text of a session, or the time of the newest entry of a stream (ms); empty if it was not read.
    `fields` has those of a hash that tell its age and its state.
    """

    key: str
    form: str
    id: str
    type: str
    idle_seconds: int | None
    value: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What is left of something that is over, in one pool.

    `why` is a sentence for people. `match` is the UID of the Match that it belongs to, and `name` is what Kubernetes
    calls the object, as far as they are known: it is left alone while that object lives. `unchanged` has what must
    still be so when it is cleaned: fields of the key, or a value under the empty name. `idle_seconds` is how long the
    key must have been idle. `ttl_seconds` is what the key gets with EXPIRE; 0 is the usual one.
    """

    kind: SweepKind
    remedy: Remedy
    namespace: str
    id: str
    why: str
    key: str = ""
    type: str = ""
    match: str = ""
    name: str = ""
    unchanged: Mapping[str, str] = field(default_factory=dict)
    idle_seconds: int = 0
    ttl_seconds: int = 0


class Cleaned(StrEnum):
    """What became of a leftover."""

    DONE = "done"
    KEPT = "kept"
    """It was no leftover any longer, or something that lives holds it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one leftover; `problem` is why it is still there."""

    leftover: Leftover
    cleaned: Cleaned
    problem: str = ""
