"""The names of all keys of one matchmaking pool (one namespace).

The braces make the prefix a Redis Cluster hash tag: a pool lives in one slot, so the scripts may touch its
keys together. What each key holds, for how long, and who writes it: docs/redis.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of the pool `namespace` of the cluster `cluster_id`."""

    cluster_id: str
    namespace: str
    prefix: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("cluster id", self.cluster_id), ("namespace", self.namespace)):
            if not value or not value.isprintable() or set(value) & set("{}: "):
                raise ValueError(f"{name} {value!r} cannot be part of a Redis key: use letters, digits, '-' and '.'")
        object.__setattr__(self, "prefix", f"rk:{{{self.cluster_id}:{self.namespace}}}:")

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
        """The flag `name` (one of `FLAGS`)."""
        return f"{self.prefix}{name}:{user_id}"

    # Matches

    def match(self, uid: str) -> str:
        """Hash: the ledger of a Match."""
        return f"{self.prefix}match:{uid}"

    def session(self, session_id: str) -> str:
        """String: the UID of the Match that runs under this session id."""
        return f"{self.prefix}session:{session_id}"

    def live(self) -> str:
        """Sorted set: UIDs of Matches that hold users, by the moment of the claim."""
        return f"{self.prefix}live"

    def tokens(self, uid: str) -> str:
        """Hash: the LiveKit tokens of a Match's participants."""
        return f"{self.prefix}tokens:{uid}"

    # Rooms

    def room(self, livekit_name: str) -> str:
        """Hash: the record of a LiveKit room."""
        return f"{self.prefix}room:{livekit_name}"

    def room_deleted(self, livekit_name: str) -> str:
        """String: the tombstone of a LiveKit room."""
        return f"{self.prefix}room-deleted:{livekit_name}"

    # Streams

    def signals(self) -> str:
        """Stream, in: the signals of gateways."""
        return f"{self.prefix}signals"

    def signals_done(self) -> str:
        """String: the id of the last signal that the operator has handled."""
        return f"{self.prefix}signals-done"

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
        return f"{self.prefix}webhooks:{shard}"

    def errors(self) -> str:
        """Stream: records of errors."""
        return f"{self.prefix}errors"

    # The operator's own

    def incarnation(self) -> str:
        """String: changes when Redis lost its data."""
        return f"{self.prefix}incarnation"

    def fence(self, shard: int) -> str:
        """String: the highest epoch seen from the owners of a shard."""
        return f"{self.prefix}fence:{shard}"
