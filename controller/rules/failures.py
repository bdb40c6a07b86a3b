"""Finds the row of an error in the table `api.failures_table`. Pure.

It is total: an error without a row of its own is Unknown. What a client raises says which backend failed, how
(`errors`), and the backend's own code for it. A few errors mean something else in a certain step: a LiveKit that does
not answer while the room of a new call is made is a reason to look for another server. `loop.recovery` and
`status.errors` ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controller.api.endings import EndCode
from controller.api.failure_codes import Failure
from controller.api.failure_codes import FailureCode as F
from controller.api.failures import Recovery
from controller.api.failures_table import FAILURES
from controller.errors import (
    AlreadyExists,
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Code,
    Conflict,
    Forbidden,
    Invalid,
    LeadershipLost,
    NotFound,
    NotServed,
    PoolClosed,
    SettingsError,
    StateLost,
    Untrusted,
)

MAKES_ROOM: Final = "CreateLiveKitRoom"
"""The step in which a room of a new call is made on LiveKit."""

IN_THE_BACKGROUND: Final = frozenset(
    {
        *("DeleteRoom", "UpdateRoom", "RevokeTokens", "DeleteObject", "ReleaseFinalizer"),
        *("DeleteLiveKitRoom", "UpdateLiveKitMetadata", "OrphanLiveKitRoom", "RemoveStranger", "EndRoomRecord"),
    }
)
"""The steps that no user waits for."""

# The API server has no word for these two: it answers 403 and a sentence.
_QUOTA: Final = "exceeded quota"
_TERMINATING: Final = "because it is being terminated"

_OWN: Final[Mapping[str, F]] = {
    Code.OPENING: F.POOL_OPENING,
    Code.HOLDS_MORE: F.HOLDS_ANOTHER_USER,
    Code.NAME_TAKEN: F.ROOM_NAME_TAKEN,
    Code.IMMUTABLE: F.SECRET_IMMUTABLE,
    Code.IN_DOUBT: F.ROOM_IN_DOUBT,
    Code.NO_SERVER: F.SERVER_UNKNOWN,
    Code.NO_PLACE: F.NO_SERVER_FITS,
}
"""The codes that Roomkeeper itself gives."""

_CODES: Final[Mapping[str, Mapping[str, F]]] = {
    Backend.KUBERNETES: {
        Code.TIMEOUT: F.KUBERNETES_TIMEOUT,
        Code.UNREACHABLE: F.KUBERNETES_UNREACHABLE,
        Code.MALFORMED: F.KUBERNETES_UNREADABLE,
        "400": F.OBJECT_INVALID,
        "401": F.KUBERNETES_UNAUTHORIZED,
        "403": F.KUBERNETES_FORBIDDEN,
        "404": F.OBJECT_UNCLEAR,
        "409": F.OBJECT_CHANGED,
        "410": F.LIST_EXPIRED,
        "422": F.OBJECT_INVALID,
        "429": F.KUBERNETES_BUSY,
    },
    Backend.LIVEKIT: {
        Code.TIMEOUT: F.LIVEKIT_TIMEOUT,
        Code.UNREACHABLE: F.LIVEKIT_UNREACHABLE,
        Code.MALFORMED: F.LIVEKIT_UNREADABLE,
        "400": F.LIVEKIT_INVALID,
        "401": F.LIVEKIT_UNAUTHORIZED,
        "403": F.LIVEKIT_UNAUTHORIZED,
        "404": F.LIVEKIT_WRONG_URL,
        "429": F.LIVEKIT_BUSY,
    },
    Backend.REDIS: {
        Code.TIMEOUT: F.REDIS_TIMEOUT,
        Code.UNREACHABLE: F.REDIS_UNREACHABLE,
        Code.MALFORMED: F.REDIS_UNREADABLE,
        Code.DAMAGED: F.RECORD_DAMAGED,
        "NOAUTH": F.REDIS_UNAUTHORIZED,
        "NOPERM": F.REDIS_UNAUTHORIZED,
        "WRONGPASS": F.REDIS_UNAUTHORIZED,
        "LOADING": F.REDIS_STARTING,
        "BUSY": F.REDIS_BUSY,
        "TRYAGAIN": F.REDIS_BUSY,
        "READONLY": F.REDIS_READ_ONLY,
        "NOREPLICAS": F.REDIS_READ_ONLY,
        "CLUSTERDOWN": F.REDIS_DOWN,
        "MASTERDOWN": F.REDIS_DOWN,
        "OOM": F.REDIS_FULL,
        "MISCONF": F.REDIS_NOT_SAVING,
        "MOVED": F.REDIS_MISROUTED,
        "ASK": F.REDIS_MISROUTED,
        "CROSSSLOT": F.REDIS_MISROUTED,
        "wrong-server": F.REDIS_MISROUTED,
        "NOSCRIPT": F.REDIS_SCRIPT_MISSING,
        "EXECABORT": F.REDIS_SCRIPT_MISSING,
        "WRONGTYPE": F.RECORD_DAMAGED,
        "ERR": F.REDIS_REFUSED,
    },
}
"""The codes of each backend."""

_KINDS: Final[Mapping[str, tuple[tuple[type[BackendError], F], ...]]] = {
    Backend.KUBERNETES: (
        (NotFound, F.OBJECT_GONE),
        (NotServed, F.KIND_NOT_SERVED),
        (AlreadyExists, F.OBJECT_EXISTS),
        (Conflict, F.OBJECT_CHANGED),
        (Invalid, F.OBJECT_INVALID),
    ),
    Backend.LIVEKIT: (
        (NotFound, F.LIVEKIT_NOT_FOUND),
        (Invalid, F.LIVEKIT_INVALID),
        (Untrusted, F.LIVEKIT_UNTRUSTED),
    ),
    Backend.REDIS: (
        (StateLost, F.RECORDS_LOST),
        (PoolClosed, F.POOL_CLOSED),
        (Invalid, F.REQUEST_INVALID),
        (Untrusted, F.REDIS_UNTRUSTED),
    ),
}
"""What the type of an error says more exactly than its code."""

_OTHERS: Final[Mapping[str, tuple[tuple[type[BackendError], F], ...]]] = {
    Backend.KUBERNETES: (
        (Forbidden, F.KUBERNETES_FORBIDDEN),
        (BackendRefused, F.KUBERNETES_REFUSED),
        (BackendUnavailable, F.KUBERNETES_FAILED),
    ),
    Backend.LIVEKIT: (
        (Forbidden, F.LIVEKIT_UNAUTHORIZED),
        (BackendRefused, F.LIVEKIT_REFUSED),
        (BackendUnavailable, F.LIVEKIT_FAILED),
    ),
    Backend.REDIS: (
        (Forbidden, F.REDIS_UNAUTHORIZED),
        (BackendRefused, F.REDIS_REFUSED),
        (BackendUnavailable, F.REDIS_DOWN),
    ),
}
"""What remains: a refusal or a "not now" with a code that this version does not know."""

_NO_CODE: Final[Mapping[str, F]] = {
    Backend.KUBERNETES: F.KUBERNETES_UNREACHABLE,
    Backend.LIVEKIT: F.LIVEKIT_UNREACHABLE,
    Backend.REDIS: F.REDIS_UNREACHABLE,
}
"""What a backend that could not be read is, if nothing more is known."""

_ENDINGS: Final[Mapping[str, Failure]] = {
    code: FAILURES[F(code.value)] for code in EndCode if code.value in {failure.value for failure in F}
}

_ROOM_ELSEWHERE: Final = frozenset(
    {
        *(F.LIVEKIT_UNREACHABLE, F.LIVEKIT_TIMEOUT, F.LIVEKIT_UNREADABLE, F.LIVEKIT_BUSY, F.LIVEKIT_FAILED),
        F.LIVEKIT_UNTRUSTED,
    }
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """In which step an error happened (the name of an action, or empty), and whether a user waits for the step."""

    step: str = ""
    user_waits: bool = True

    @classmethod
    def of(cls, error: BaseException) -> Circumstances:
        """What the error itself says."""
        step = error.step if isinstance(error, BackendError) else ""
        return cls(step, user_waits=step not in IN_THE_BACKGROUND)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The row of an error, and how many quick attempts the step has."""

    failure: Failure
    quick_attempts: int = 0

    @property
    def is_news(self) -> bool:
        """Whether a status and an Event show it."""
        return self.failure.recovery is not Recovery.IGNORE


def classify(error: BaseException, circumstances: Circumstances | None = None) -> Verdict:
    """What an error is. One that this version does not know is `Unknown`."""
    told = circumstances or Circumstances.of(error)
    code = _code_of(error)
    if told.step == MAKES_ROOM and code in _ROOM_ELSEWHERE:
        code = F.ROOM_NOT_MADE
    failure = FAILURES[code]
    return Verdict(failure, failure.attempts if told.user_waits else 0)


def of_ending(word: str) -> Failure | None:
    """The row of an ending that is an error of its own; None for the others. `word` is its code or its reason."""
    return _ENDINGS.get(word)


def _code_of(error: BaseException) -> F:
    if isinstance(error, LeadershipLost):
        return F.LEADERSHIP_LOST
    if isinstance(error, SettingsError):
        return F.WRONG_SETTINGS
    if isinstance(error, TimeoutError):
        return F.STEP_TIMEOUT
    if not isinstance(error, BackendError) or error.backend not in _CODES:
        return F.UNKNOWN
    if error.code in _OWN:
        return _OWN[error.code]
    if error.backend == Backend.KUBERNETES and isinstance(error, Forbidden):
        if _QUOTA in error.message:
            return F.QUOTA_EXCEEDED
        if _TERMINATING in error.message:
            return F.NAMESPACE_TERMINATING
    if isinstance(error, BackendUnavailable) and not error.code:
        return _NO_CODE[error.backend]
    by_kind = _first(_KINDS[error.backend], error)
    return by_kind or _CODES[error.backend].get(error.code) or _first(_OTHERS[error.backend], error) or F.UNKNOWN


def _first(rows: tuple[tuple[type[BackendError], F], ...], error: BackendError) -> F | None:
    """The code of the first type that the error has."""
    return next((code for kind, code in rows if isinstance(error, kind)), None)
