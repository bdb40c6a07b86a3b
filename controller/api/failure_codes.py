"""The code of each error, and what a row of the table of errors has. `api.failures_table` is the table itself.

The codes are words for people and programs, and never change their meaning.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.api.alert_names import AlertName
from controller.api.failures import ErrorType, Recovery, Severity


class FailureCode(StrEnum):
    """The one word for an error."""

    UNKNOWN = "Unknown"
    LEADERSHIP_LOST = "LeadershipLost"
    WRONG_SETTINGS = "WrongSettings"
    STEP_TIMEOUT = "StepTimeout"

    KUBERNETES_UNREACHABLE = "KubernetesUnreachable"
    KUBERNETES_TIMEOUT = "KubernetesTimeout"
    KUBERNETES_UNREADABLE = "KubernetesUnreadable"
    KUBERNETES_BUSY = "KubernetesBusy"
    KUBERNETES_FAILED = "KubernetesFailed"
    KUBERNETES_UNAUTHORIZED = "KubernetesUnauthorized"
    KUBERNETES_FORBIDDEN = "KubernetesForbidden"
    KUBERNETES_REFUSED = "KubernetesRefused"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    QUOTA_EXCEEDED = "QuotaExceeded"
    OBJECT_CHANGED = "ObjectChanged"
    OBJECT_EXISTS = "ObjectExists"
    OBJECT_GONE = "ObjectGone"
    OBJECT_UNCLEAR = "ObjectUnclear"
    OBJECT_INVALID = "ObjectInvalid"
    KIND_NOT_SERVED = "KindNotServed"
    LIST_EXPIRED = "ListExpired"
    SECRET_IMMUTABLE = "SecretImmutable"  # noqa: S105 (a code)

    LIVEKIT_UNREACHABLE = "LiveKitUnreachable"
    LIVEKIT_TIMEOUT = "LiveKitTimeout"
    LIVEKIT_UNREADABLE = "LiveKitUnreadable"
    LIVEKIT_BUSY = "LiveKitBusy"
    LIVEKIT_FAILED = "LiveKitFailed"
    LIVEKIT_UNAUTHORIZED = "LiveKitUnauthorized"
    LIVEKIT_UNTRUSTED = "LiveKitUntrusted"
    LIVEKIT_WRONG_URL = "LiveKitWrongURL"
    LIVEKIT_INVALID = "LiveKitInvalid"
    LIVEKIT_REFUSED = "LiveKitRefused"
    LIVEKIT_NOT_FOUND = "LiveKitNotFound"
    ROOM_NOT_MADE = "RoomNotMade"
    ROOM_IN_DOUBT = "RoomInDoubt"
    ROOM_NAME_TAKEN = "RoomNameTaken"
    SERVER_UNKNOWN = "ServerUnknown"
    NO_SERVER_FITS = "NoServerFits"

    REDIS_UNREACHABLE = "RedisUnreachable"
    REDIS_TIMEOUT = "RedisTimeout"
    REDIS_UNREADABLE = "RedisUnreadable"
    REDIS_UNAUTHORIZED = "RedisUnauthorized"
    REDIS_STARTING = "RedisStarting"
    REDIS_BUSY = "RedisBusy"
    REDIS_READ_ONLY = "RedisReadOnly"
    REDIS_UNTRUSTED = "RedisUntrusted"
    REDIS_DOWN = "RedisDown"
    REDIS_FULL = "RedisFull"
    REDIS_NOT_SAVING = "RedisNotSaving"
    REDIS_MISROUTED = "RedisMisrouted"
    REDIS_SCRIPT_MISSING = "RedisScriptMissing"
    REDIS_REFUSED = "RedisRefused"
    RECORD_DAMAGED = "RecordDamaged"
    RECORDS_LOST = "RecordsLost"
    POOL_OPENING = "PoolOpening"
    POOL_CLOSED = "PoolClosed"
    REQUEST_INVALID = "RequestInvalid"

    USER_BUSY = "UserBusy"
    USER_RESERVED = "UserReserved"
    USER_NOT_QUEUED = "UserNotQueued"
    USER_BLOCKED = "UserBlocked"
    ATTRIBUTES_TOO_LARGE = "AttributesTooLarge"
    TOO_LATE = "TooLate"
    HOLDS_ANOTHER_USER = "HoldsAnotherUser"
    SIGNAL_REFUSED = "SignalRefused"


QUICK_ATTEMPTS: Final = 3
"""The quick attempts of a step that a user waits for."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One row: an error, and what follows from it.

    `meaning` says what happened, `user` what a user can read about it (empty: users do not notice), `operator` what an
    administrator should do (empty: nothing). If a user waits for the step, it is tried `attempts` times quickly, and
    then after growing pauses; `afterwards` is what happens when the time for it is over. `alert` is the one that
    tells an administrator about such errors.
    """

    code: FailureCode
    type: ErrorType
    severity: Severity
    recovery: Recovery
    meaning: str
    user: str = ""
    operator: str = ""
    attempts: int = 0
    afterwards: Recovery | None = None
    alert: AlertName | None = None
