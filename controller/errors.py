"""The tree of errors. At its boundary, every client translates the exceptions of its library into these errors.

    RoomkeeperError
    ├── SettingsError            a setting is wrong, and the operator does not start
    ├── LeadershipLost           another replica holds the lease: this one must not write
    └── BackendError             a request to Kubernetes, LiveKit or Redis failed
        ├── BackendUnavailable   no answer, or "not now": the request may be repeated
        │   ├── Overloaded       the backend answered "not now"
        │   ├── Untrusted        no TLS connection: a certificate or the protocol is wrong
        │   └── NotServed        the API server knows no such path, kind or version (yet)
        ├── BackendRefused       the backend refused: repeating the request changes nothing
        │   ├── NotFound         the backend says that this very object does not exist
        │   ├── AlreadyExists    the name is taken
        │   ├── Conflict         a precondition (resourceVersion, uid) no longer holds
        │   ├── Forbidden        credentials or rights are missing
        │   └── Invalid          the object breaks a rule of its schema
        ├── StateLost            the store lost its data (another Redis incarnation)
        └── PoolClosed           the fence of a pool in Redis is wrong: it is above our epoch, and the lease is ours

Only `loop.worker` turns these errors into retries. `act.execute` hands them on as the results of actions, and
`act.livekit` catches those that say how a request ended. The messages are written for users. They never contain a
token, a secret, or the body of an answer that may repeat one: `redact` blanks what looks like one.
"""

from __future__ import annotations

import enum
from typing import Final, Self

from controller.redaction import redact

MAX_SENTENCE: Final = 1024
"""The most characters of a sentence that another program wrote. A condition may have 32 768, an Event 1024."""


def clip(text: str, most: int = MAX_SENTENCE) -> str:
    """The text, cut at `most` characters: what others wrote must not make a status unwritable."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


class Code(enum.StrEnum):
    """The codes of failures that have no answer with a code of its own (an HTTP status, an error word of Redis)."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"
    """The answer is not of the backend's protocol."""
    DAMAGED = "damaged"
    """A record is there and makes no sense: another client wrote to it."""
    OTHER = "other"
    """The answer has a code that the client does not know."""
    OPENING = "opening"
    """The pool is being opened."""
    HOLDS_MORE = "holds-more"
    """The ledger names a user who is not in the Match's spec."""
    NAME_TAKEN = "name-taken"
    """The Room that the Match needs belongs to another client."""
    IMMUTABLE = "immutable"
    """The Secret of the tokens cannot be changed."""
    IN_DOUBT = "in-doubt"
    """LiveKit contradicts itself about a room."""
    NO_SERVER = "no-server"
    """The room is on a LiveKit server that is not configured."""
    NO_NODE = "no-node"
    """LiveKit answers, and its node that has the room or the participant does not."""
    NO_PLACE = "no-place"
    """No LiveKit server can take a new room."""


class Backend(enum.StrEnum):
    """The backend that received the request."""

    KUBERNETES = "Kubernetes"
    LIVEKIT = "LiveKit"
    REDIS = "Redis"


class RoomkeeperError(Exception):
    """The root of all errors that Roomkeeper raises on purpose."""


class SettingsError(RoomkeeperError):
    """One or more settings are wrong. The message names each of them on its own line."""


class LeadershipLost(RoomkeeperError):
    """Another replica holds the lease, or too little time of our lease is left for the request."""


class LibraryError(Exception):
    """What a library raised, as text without secrets: the cause of a BackendError.

    The exception itself is not kept: its text and its attributes can repeat arguments, and arguments can be tokens.
    """

    @classmethod
    def of(cls, error: BaseException) -> LibraryError:
        """The text of `error`, with the name of its type."""
        return cls(clip(redact(f"{type(error).__name__}: {error}")))


class BackendError(RoomkeeperError):
    """A request to a backend failed.

    `may_have_run` is True if the effect is unknown because the reply was lost; the next reconcile observes before it
    decides again. `retryable` is False if the same request would fail again. `code` is the backend's own name for the
    failure (an HTTP status, an error word of Redis) or a `Code`; it becomes a metric label. `step` is the name of the
    action that failed, if an action did. `was_sent` is False for a request that was not sent, since the backend had not
    answered others (`clients.breaker`). `retry_after_seconds` is how long the backend asks to wait; 0 if it does not.
    `is_told`: the client writes to the log what is wrong with the backend, once for all requests that fail for it, so
    what follows from this error needs no line of its own.
    """

    retryable: bool = True
    was_sent: bool = True
    is_told: bool = False

    def __init__(
        self,
        backend: str,
        operation: str,
        message: str,
        *,
        may_have_run: bool = False,
        retryable: bool | None = None,
        code: str = "",
    ) -> None:
        self.backend = str(backend)
        self.operation = operation
        self.message = clip(redact(message))
        super().__init__(f"{backend} {operation}: {self.message}")
        self.may_have_run = may_have_run
        self.code = str(code)
        self.step = ""
        self.retry_after_seconds = 0.0
        if retryable is not None:
            self.retryable = retryable

    def not_sent(self, operation: str) -> Self:
        """The same failure, for an operation that was not tried because of it."""
        same = type(self)(self.backend, operation, self.message, retryable=self.retryable, code=self.code)
        same.was_sent, same.is_told = False, True
        return same

    @property
    def sentence(self) -> str:
        """Which backend failed and why, as a sentence for a condition or an Event."""
        return f"{self.backend}: {self.message}"


class BackendUnavailable(BackendError):
    """The backend did not answer in time, refused or reset the connection, or answered 429 or 5xx."""


class Overloaded(BackendUnavailable):
    """The backend answered that it cannot handle the request now (429, 5xx)."""


class Untrusted(BackendUnavailable):
    """TLS did not begin: a certificate, of the backend or of ours, or the protocol of the port is wrong."""


class NotServed(BackendUnavailable):
    """The API server knows no such group, version or kind (yet). That says nothing about an object."""


class BackendRefused(BackendError):
    """The backend refused the request."""

    retryable = False


class NotFound(BackendRefused):
    """The object that the request names does not exist."""


class AlreadyExists(BackendRefused):
    """An object of this name already exists."""


class Conflict(BackendRefused):
    """A precondition (resourceVersion, uid) no longer holds. The next reconcile observes and decides again."""

    retryable = True


class Forbidden(BackendRefused):
    """The credentials or the permissions for the request are missing."""


class Invalid(BackendRefused):
    """The object violates a rule of its schema, or the request is malformed."""


class PoolClosed(BackendError):
    """The fence of one pool is above our epoch, though the lease is ours. Nothing of that pool is written until the
    fence is put right; other pools go on."""


class StateLost(BackendError):
    """The store lost its data. The request wrote nothing, and data missing in the store proves nothing."""
