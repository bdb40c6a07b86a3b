"""What can go wrong, how often, and for how long: the table from which a plan is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Lane(StrEnum):
    """What a fault occupies. Two faults of one lane never overlap; faults of different lanes may."""

    OPERATOR = "operator"
    LIVEKIT = "livekit"
    LIVEKIT_ANSWERS = "answers of livekit"
    REDIS = "redis"
    API = "api server"
    API_ANSWERS = "answers of the api server"
    WEBHOOKS = "webhooks"
    OBJECTS = "objects"


class Fault(StrEnum):
    """One kind of fault."""

    OPERATOR_KILLED = "operator killed"
    OPERATOR_TERMINATED = "operator terminated"
    OPERATOR_FROZEN = "operator frozen"
    OPERATOR_CLOCK = "operator with a wrong clock"
    LIVEKIT_FROZEN = "LiveKit frozen"
    LIVEKIT_KILLED = "LiveKit killed and started"
    LIVEKIT_REFUSES = "LiveKit refuses a share"
    LIVEKIT_SLOW = "LiveKit is slow"
    LIVEKIT_ROOM_DELETED = "room deleted on LiveKit"
    REDIS_FROZEN = "Redis frozen"
    REDIS_KILLED = "Redis killed and started"
    REDIS_EMPTY = "Redis killed and started empty"
    REDIS_READONLY = "Redis READONLY"
    REDIS_FULL = "Redis OOM"
    REDIS_CLIENTS = "Redis CLIENT KILL"
    REDIS_SCRIPTS = "Redis SCRIPT FLUSH"
    REDIS_FUNCTIONS = "Redis FUNCTION FLUSH"
    KEY_DELETED = "key deleted"
    KEY_DAMAGED = "field of a key damaged"
    API_FROZEN = "API server frozen"
    API_KILLED = "API server killed and started"
    API_ANSWERS = "API server answers 429 or 500"
    FINALIZERS = "finalizers stripped"
    DELETED = "object deleted"
    FORCED = "object deleted with its finalizers"
    STATUS_EDITED = "status edited by hand"
    SECRET_DELETED = "Secret deleted"
    NAMESPACE_DELETED = "namespace deleted"
    WEBHOOKS_DROPPED = "webhooks dropped"
    WEBHOOKS_DELAYED = "webhooks delayed"
    WEBHOOKS_DUPLICATED = "webhooks duplicated"


@dataclass(frozen=True)
class Row:
    """How often a fault is drawn, how long it lasts, and what it does to the stack."""

    weight: int
    lane: Lane
    seconds: tuple[float, float] = (0.0, 0.0)
    """The shortest and the longest time."""
    restarts: bool = False
    """Whether a program of the stack ends, so that the stack must be the run's own."""


FAULTS: Final = {
    Fault.OPERATOR_KILLED: Row(30, Lane.OPERATOR),
    Fault.OPERATOR_TERMINATED: Row(20, Lane.OPERATOR),
    Fault.OPERATOR_FROZEN: Row(30, Lane.OPERATOR, (0.5, 20.0)),
    Fault.OPERATOR_CLOCK: Row(5, Lane.OPERATOR),
    Fault.LIVEKIT_FROZEN: Row(40, Lane.LIVEKIT, (0.2, 4.0)),
    Fault.LIVEKIT_KILLED: Row(15, Lane.LIVEKIT, (0.0, 3.0), restarts=True),
    Fault.LIVEKIT_REFUSES: Row(40, Lane.LIVEKIT_ANSWERS, (0.5, 8.0)),
    Fault.LIVEKIT_SLOW: Row(30, Lane.LIVEKIT_ANSWERS, (0.5, 4.0)),
    Fault.LIVEKIT_ROOM_DELETED: Row(90, Lane.OBJECTS),
    Fault.REDIS_FROZEN: Row(40, Lane.REDIS, (0.2, 4.0)),
    Fault.REDIS_KILLED: Row(12, Lane.REDIS, (0.0, 3.0), restarts=True),
    Fault.REDIS_EMPTY: Row(8, Lane.REDIS, (0.0, 3.0), restarts=True),
    Fault.REDIS_READONLY: Row(30, Lane.REDIS, (0.2, 4.0)),
    Fault.REDIS_FULL: Row(30, Lane.REDIS, (0.2, 4.0)),
    Fault.REDIS_CLIENTS: Row(60, Lane.REDIS),
    Fault.REDIS_SCRIPTS: Row(40, Lane.REDIS),
    Fault.REDIS_FUNCTIONS: Row(40, Lane.REDIS),
    Fault.KEY_DELETED: Row(50, Lane.REDIS),
    Fault.KEY_DAMAGED: Row(30, Lane.REDIS),
    Fault.API_FROZEN: Row(25, Lane.API, (0.2, 4.0)),
    Fault.API_KILLED: Row(4, Lane.API, (0.0, 3.0), restarts=True),
    Fault.API_ANSWERS: Row(40, Lane.API_ANSWERS, (0.5, 5.0)),
    Fault.FINALIZERS: Row(60, Lane.OBJECTS),
    Fault.DELETED: Row(60, Lane.OBJECTS),
    Fault.FORCED: Row(40, Lane.OBJECTS),
    Fault.STATUS_EDITED: Row(60, Lane.OBJECTS),
    Fault.SECRET_DELETED: Row(30, Lane.OBJECTS),
    Fault.NAMESPACE_DELETED: Row(1, Lane.OBJECTS, restarts=True),
    Fault.WEBHOOKS_DROPPED: Row(20, Lane.WEBHOOKS, (0.5, 8.0)),
    Fault.WEBHOOKS_DELAYED: Row(20, Lane.WEBHOOKS, (0.5, 8.0)),
    Fault.WEBHOOKS_DUPLICATED: Row(20, Lane.WEBHOOKS, (0.5, 8.0)),
}
"""All faults. The weights add up to about a thousand."""

OPERATORS: Final = 2
