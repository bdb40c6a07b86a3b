"""The one tree of errors; every client translates what its library raises into it, at its boundary.

    RoomkeeperError
    ├── SettingsError            a setting is wrong: the operator does not start
    ├── LeadershipLost           the lease went to somebody else: nothing more may be written
    └── BackendError             a call to Kubernetes, LiveKit or Redis did not work
        ├── BackendUnavailable   no answer, or "not now": the call may be repeated
        │   └── Overloaded       it answered "not now"
        ├── BackendRefused       the backend said no: repeating the same call changes nothing
        │   ├── NotFound         what the call names is not there
        │   ├── AlreadyExists    the name is taken
        │   ├── Conflict         a precondition (resourceVersion, uid) no longer holds
        │   ├── Forbidden        credentials or rights are missing
        │   └── Invalid          the object breaks a rule of its schema
        └── StateLost            the store lost its data (another Redis incarnation)

`loop.worker` is the one place that turns them into retries; `act` never catches them. Messages are written for people
and never hold a token, a secret or the body of an answer that may repeat one.
"""

from __future__ import annotations

import enum


class Backend(enum.StrEnum):
    """Who was called."""

    KUBERNETES = "Kubernetes"
    LIVEKIT = "LiveKit"
    REDIS = "Redis"


class RoomkeeperError(Exception):
    """The root: everything that Roomkeeper raises on purpose."""


class SettingsError(RoomkeeperError):
    """One or more settings are wrong; the message names each on a line of its own."""


class LeadershipLost(RoomkeeperError):
    """The lease is held by somebody else, or too little of it is left for the call."""


class BackendError(RoomkeeperError):
    """A call did not work.

    `may_have_run` is True where the effect is unknown (the reply was lost): the next reconcile observes before it
    decides again. `retryable` is False where the same call can only fail again. `code` is the backend's own name for
    the failure (an HTTP status, an error word of Redis) or one of `clients.request.Code`; it becomes a metric label.
    """

    retryable: bool = True

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
        super().__init__(f"{backend} {operation}: {message}")
        self.backend = str(backend)
        self.operation = operation
        self.message = message
        self.may_have_run = may_have_run
        self.code = str(code)
        if retryable is not None:
            self.retryable = retryable

    @property
    def sentence(self) -> str:
        """Who could not do it and why, for a condition or an Event."""
        return f"{self.backend}: {self.message}"


class BackendUnavailable(BackendError):
    """No answer in time, connection refused or reset, 429, 5xx."""


class Overloaded(BackendUnavailable):
    """The backend answered, and said that it cannot at present (429, 5xx)."""


class BackendRefused(BackendError):
    """The backend answered no."""

    retryable = False


class NotFound(BackendRefused):
    """What the call names is not there."""


class AlreadyExists(BackendRefused):
    """The name is taken."""


class Conflict(BackendRefused):
    """A precondition no longer holds: observe again, then decide again."""

    retryable = True


class Forbidden(BackendRefused):
    """Credentials or rights are missing."""


class Invalid(BackendRefused):
    """The object breaks a rule of its schema, or the request is malformed."""


class StateLost(BackendError):
    """The store lost its data: nothing was written, and nothing may be concluded from what is missing there."""
