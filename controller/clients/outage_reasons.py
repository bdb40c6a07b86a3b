"""Why a backend cannot be used, in a word for people: from the exception of a library and what it was translated to.

Pure. Neighbors: `clients.availability` puts the word into the log; the sentences are those of the translated errors.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final

import aiohttp

from controller.clients.certificates import TlsCode
from controller.clients.redis.errors import WRONG_SERVER
from controller.errors import Backend, BackendError, BackendUnavailable, Code, Forbidden, Overloaded, Untrusted


class OutageReason(StrEnum):
    """The field `reason` of the log."""

    REFUSED_KEY = "refused key"
    """The backend answers, and does not accept our credentials."""
    CLOCK = "clock"
    """It does not accept them, because its clock and that of the API server differ."""
    CERTIFICATE = "certificate"
    TLS = "TLS"
    """One side speaks TLS and the other one does not."""
    DNS = "DNS"
    REFUSED_CONNECTION = "refused connection"
    TIMEOUT = "timeout"
    NOT_NOW = "not now"
    """It answers that it cannot do anything at the moment."""
    WRONG_ADDRESS = "wrong address"
    """Something else answers there."""
    CONNECTION = "connection"
    """No connection, or a lost one, for another reason."""


# A refusal with one of these codes is about one request: others may be accepted.
_OF_ONE_REQUEST: Final[Mapping[Backend, frozenset[str]]] = {
    Backend.KUBERNETES: frozenset({"403"}),
    Backend.LIVEKIT: frozenset(),
    Backend.REDIS: frozenset({"NOPERM"}),
}
_NO_TLS: Final = frozenset({TlsCode.NO_TLS, TlsCode.TLS_EXPECTED, TlsCode.HANDSHAKE})
_REFUSED: Final = f"[Errno {errno.ECONNREFUSED}]"


def refuses_all(backend: Backend, failure: BackendError) -> bool:
    """Whether a refusal means that the backend accepts no request of ours at all."""
    if isinstance(failure, Forbidden):
        return failure.code not in _OF_ONE_REQUEST[backend]
    return failure.code == WRONG_SERVER


def reason_of(error: BaseException, failure: BackendError) -> OutageReason:
    """The reason. `error` is what the library raised, `failure` what the client made of it."""
    if isinstance(failure, Forbidden):
        return OutageReason.REFUSED_KEY
    if isinstance(failure, Untrusted):
        return OutageReason.TLS if failure.code in _NO_TLS else OutageReason.CERTIFICATE
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError | aiohttp.ClientConnectorCertificateError):
            return OutageReason.CERTIFICATE
        if isinstance(cause, socket.gaierror | aiohttp.ClientConnectorDNSError):
            return OutageReason.DNS
        # A name with several addresses gives one error for all of them, which has no type of its own.
        if isinstance(cause, ConnectionRefusedError) or (isinstance(cause, OSError) and _REFUSED in str(cause)):
            return OutageReason.REFUSED_CONNECTION
    return _by_code(failure)


def _by_code(failure: BackendError) -> OutageReason:
    if failure.code == Code.TIMEOUT:
        return OutageReason.TIMEOUT
    if failure.code in {Code.MALFORMED, "404", WRONG_SERVER}:
        return OutageReason.WRONG_ADDRESS
    if isinstance(failure, Overloaded) or (isinstance(failure, BackendUnavailable) and failure.code not in set(Code)):
        return OutageReason.NOT_NOW
    return OutageReason.CONNECTION


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, and those that led to it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        cause = waiting.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [getattr(cause, "os_error", None), cause.__cause__, cause.__context__]
