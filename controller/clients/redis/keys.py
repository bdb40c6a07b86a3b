"""The names of all keys of one matchmaking pool (one namespace), and who may touch them.

A pool has two prefixes: `rk:{…}:` for the keys of the contract, which gateways and matchmakers touch too, and
`rk-operator:{…}:` for those that only the operator may touch. The braces make both a Redis Cluster hash tag with the
same text: a pool lives in one slot, so the scripts may touch its keys together. `KEY_RULES` says for each key to whom
it belongs; the rights in Redis (`acl`), docs/redis.md and the tests follow from it. docs/redis.md has the content.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """A user of Redis."""

    OPERATOR = "operator"
    GATEWAY = "gateway"
    MATCHMAKER = "matchmaker"
    MODERATOR = "moderator"


class Access(StrEnum):
    """What a role may do with a key, in the words of a key pattern of Redis."""

    NONE = ""
    READ = "R"
    WRITE = "W"
    BOTH = "RW"


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One key of a pool: its name without the prefix, its type, and who may do what with it.

    The operator may read and write every key: Redis cannot know what a script does with the keys that it is given.
    """

    form: str
    type: str
    gateway: Access = Access.NONE
    matchmaker: Access = Access.NONE
    moderator: Access = Access.NONE

    @property
    def is_private(self) -> bool:
        """Whether only the operator may touch it. Then the key has the operator's prefix."""
        return not (self.gateway or self.matchmaker or self.moderator)

    def access(self, role: Role) -> Access:
        """What `role` may do with the key."""
        others = {Role.GATEWAY: self.gateway, Role.MATCHMAKER: self.matchmaker, Role.MODERATOR: self.moderator}
        return others.get(role, Access.BOTH)


_R, _W, _RW, _NONE = Access.READ, Access.WRITE, Access.BOTH, Access.NONE

KEY_RULES: Final = (
    # The operator and others
    KeyRule("user:<id>", "hash", gateway=_RW),
    KeyRule("queue", "zset", gateway=_RW, matchmaker=_RW),
    KeyRule("reserved", "zset", gateway=_RW, matchmaker=_RW),
    KeyRule("reservations", "hash", gateway=_RW, matchmaker=_RW),
    KeyRule("heartbeats", "zset", gateway=_RW),
    KeyRule("blocked:<id>", "string", gateway=_R, matchmaker=_R, moderator=_RW),
    KeyRule("recent:<id>", "zset", matchmaker=_R),
    KeyRule("tokens:<uid>", "hash", gateway=_R),
    KeyRule("room:<LiveKit name>", "hash", gateway=_R),
    KeyRule("served", "hash", gateway=_R, matchmaker=_R),
    KeyRule("signals", "stream", gateway=_W),
    KeyRule("notify:<id>", "stream", gateway=_RW),
    KeyRule("disconnects", "stream", gateway=_R, matchmaker=_R),
    KeyRule("events", "stream", gateway=_RW, matchmaker=_R),
    KeyRule("force-disconnect:<id>", "string", gateway=_RW),
    KeyRule("skip-in-progress:<id>", "string", gateway=_RW),
    KeyRule("pre-skip:<id>", "string", gateway=_RW),
    # The operator alone
    KeyRule("match:<uid>", "hash"),
    KeyRule("session:<session id>", "string"),
    KeyRule("live", "zset"),
    KeyRule("room-deleted:<LiveKit name>", "string"),
    KeyRule("webhooks:<shard>", "stream"),
    KeyRule("signals-done", "string"),
    KeyRule("incarnation", "string"),
    KeyRule("fence:<shard>", "string"),
    KeyRule("errors", "hash"),
    KeyRule("errors-seen", "zset"),
    KeyRule("errors-hour:<hour>", "hash"),
)
"""Every key of a pool."""

_RULES: Final = {rule.form.partition("<")[0]: rule for rule in KEY_RULES}


def epoch_key(cluster_id: str) -> str:
    """Hash: the highest epoch of each Lease with this cluster id. It belongs to no pool."""
    return f"{_of_no_pool(cluster_id)}epoch"


def sweep_lock_key(cluster_id: str, lease: str) -> str:
    """String: the sweep that works, of the installation with this Lease. It belongs to no pool."""
    return f"{_of_no_pool(cluster_id)}sweep-lock:{lease}"


def sweeps_key(cluster_id: str, lease: str) -> str:
    """Hash: how far the sweeps of this installation are, and what they did. It belongs to no pool."""
    return f"{_of_no_pool(cluster_id)}sweeps:{lease}"


@dataclass(frozen=True, slots=True)
class ErrorKeys:
    """The keys of the records of errors below the prefix `private`: of one pool, or of no pool (no namespace)."""

    namespace: str
    private: str

    def errors(self) -> str:
        """Hash: the records."""
        return f"{self.private}errors"

    def errors_seen(self) -> str:
        """Sorted set: the records by the moment of the last error."""
        return f"{self.private}errors-seen"

    def errors_hour(self, hour: int | str) -> str:
        """Hash: the counts of one hour (since 1970)."""
        return f"{self.private}errors-hour:{hour}"


def error_keys_of_no_pool(cluster_id: str) -> ErrorKeys:
    """The keys for errors that concern no pool."""
    return ErrorKeys("", _of_no_pool(cluster_id))


def _of_no_pool(cluster_id: str) -> str:
    return f"rk-operator:{{{cluster_id}}}:"


def unserved_channel(cluster_id: str) -> str:
    """Channel: the namespaces of pools in which a user wanted to wait and that no operator served."""
    return f"rk:unserved:{cluster_id}"


def key_of_pool(cluster_id: str, key: str) -> tuple[Keys, str, str] | None:
    """The pool of a key, the form of its name up to the id (`user:`), and the id; None if it is no key of ours."""
    place, _, rest = key.partition(f":{{{cluster_id}:")
    namespace, _, name = rest.partition("}:")
    stem, colon, member = name.partition(":")
    rule = _RULES.get(stem + colon)
    if rule is None or place != ("rk-operator" if rule.is_private else "rk"):
        return None
    keys = _keys_of(cluster_id, namespace)
    return (keys, stem + colon, member) if keys is not None else None


@functools.lru_cache(maxsize=1024)
def _keys_of(cluster_id: str, namespace: str) -> Keys | None:
    """The keys of a pool; None for what cannot be the name of a namespace."""
    try:
        return Keys(cluster_id, namespace)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the pool `namespace` of the cluster `cluster_id`."""

    cluster_id: str
    namespace: str
    prefix: str = field(init=False, repr=False, compare=False)
    private: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("cluster id", self.cluster_id), ("namespace", self.namespace)):
            if not value or not value.isprintable() or set(value) & set("{}: "):
                raise ValueError(f"{name} {value!r} cannot be part of a Redis key: use letters, digits, '-' and '.'")
        object.__setattr__(self, "prefix", f"rk:{{{self.cluster_id}:{self.namespace}}}:")
        object.__setattr__(self, "private", f"rk-operator:{{{self.cluster_id}:{self.namespace}}}:")

    def name(self, key: str) -> str:
        """The name of a key of this pool without its prefix."""
        return key.removeprefix(self.prefix).removeprefix(self.private)

    # Users and the queue

    def user(self, user_id: str) -> str:
        """Hash: the user's state."""
        return f"{self.prefix}user:{user_id}"

    def queue(self) -> str:
        """Sorted set: waiting users by the moment they entered the queue."""
        return f"{self.prefix}queue"

    def reserved(self) -> str:
        """Sorted set: users who are reserved for a future Match, by the reservation's deadline."""
        return f"{self.prefix}reserved"

    def reservations(self) -> str:
        """Hash: the place in the queue and the name of the Match for each member of `reserved`."""
        return f"{self.prefix}reservations"

    def heartbeats(self) -> str:
        """Sorted set: users by their last beat."""
        return f"{self.prefix}heartbeats"

    def blocked(self, user_id: str) -> str:
        """String: the user may not enter the queue or a Match."""
        return f"{self.prefix}blocked:{user_id}"

    def recent(self, user_id: str) -> str:
        """Sorted set: the user's last partners."""
        return f"{self.prefix}recent:{user_id}"

    # Flags of older clients

    def force_disconnect(self, user_id: str) -> str:
        """String: the user's call must end, or has ended."""
        return self.flag("force-disconnect", user_id)

    def skip_in_progress(self, user_id: str) -> str:
        """String: the user skipped."""
        return self.flag("skip-in-progress", user_id)

    def pre_skip(self, user_id: str) -> str:
        """String: the user skipped before the call was up."""
        return self.flag("pre-skip", user_id)

    def flag(self, name: str, user_id: str) -> str:
        """The flag `name` (one of `inbox.KIND_OF_FLAG`)."""
        return f"{self.prefix}{name}:{user_id}"

    # Matches

    def match(self, uid: str) -> str:
        """Hash: the ledger of a Match."""
        return f"{self.private}match:{uid}"

    def session(self, session_id: str) -> str:
        """String: the UID of the Match that runs under this session id."""
        return f"{self.private}session:{session_id}"

    def live(self) -> str:
        """Sorted set: UIDs of Matches that hold users, by the moment of the claim."""
        return f"{self.private}live"

    def tokens(self, uid: str) -> str:
        """Hash: the LiveKit tokens of a Match's participants."""
        return f"{self.prefix}tokens:{uid}"

    # Rooms

    def room(self, livekit_name: str) -> str:
        """Hash: the record of a LiveKit room."""
        return f"{self.prefix}room:{livekit_name}"

    def room_deleted(self, livekit_name: str) -> str:
        """String: the tombstone of a LiveKit room."""
        return f"{self.private}room-deleted:{livekit_name}"

    # Streams

    def signals(self) -> str:
        """Stream, in: the signals of gateways."""
        return f"{self.prefix}signals"

    def signals_done(self) -> str:
        """String: the id of the last signal that the operator has handled."""
        return f"{self.private}signals-done"

    def disconnects(self) -> str:
        """Stream, out: who was disconnected, and why."""
        return f"{self.prefix}disconnects"

    def events(self) -> str:
        """Stream, out: every transition."""
        return f"{self.prefix}events"

    def notify(self, user_id: str) -> str:
        """Stream, out: the notices for one user's client."""
        return f"{self.prefix}notify:{user_id}"

    def webhooks(self, shard: int) -> str:
        """Stream: verified LiveKit events for the owner of a shard."""
        return f"{self.private}webhooks:{shard}"

    def served(self) -> str:
        """Hash: the operator that serves the pool. It is missing if no operator does."""
        return f"{self.prefix}served"

    @property
    def pattern(self) -> str:
        """The pattern of all keys of the pool, for SCAN."""
        return f"rk*:{{{self.cluster_id}:{self.namespace}}}:*"

    def errors(self) -> str:
        """Hash: records of errors."""
        return self.error_keys.errors()

    def errors_seen(self) -> str:
        """Sorted set: the records of errors by the moment of the last one."""
        return self.error_keys.errors_seen()

    def errors_hour(self, hour: int) -> str:
        """Hash: the counts of errors in one hour (since 1970)."""
        return self.error_keys.errors_hour(hour)

    @property
    def error_keys(self) -> ErrorKeys:
        """The keys of the records of errors."""
        return ErrorKeys(self.namespace, self.private)

    # The operator's own

    def incarnation(self) -> str:
        """String: changes when Redis lost its data."""
        return f"{self.private}incarnation"

    def fence(self, shard: int) -> str:
        """String: the highest epoch seen from the owners of a shard."""
        return f"{self.private}fence:{shard}"
