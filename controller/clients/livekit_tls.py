"""TLS with a LiveKit server: the certificates of the settings, as they are on disk, and what a failed handshake means.

The SDK of LiveKit takes a session and no TLS context, so `WithCertificates` stands between. Neighbors:
`clients.livekit` sends through it, `clients.certificates` has the sentences, `settings.tls` makes the context.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import structlog

from controller.clients.certificates import TlsCode, TlsFault, tls_fault
from controller.settings.redis_address import AddressError, TlsOptions
from controller.settings.tls import tls_context

log = structlog.get_logger(__name__)

_LOOK_AGAIN_SECONDS = 5.0
_OUR_FILES = {
    TlsCode.NOT_TRUSTED: "ROOMKEEPER_LIVEKIT_CA_FILE",
    TlsCode.OURS_MISSING: "ROOMKEEPER_LIVEKIT_CERT_FILE and ROOMKEEPER_LIVEKIT_KEY_FILE",
    TlsCode.OURS_REFUSED: "ROOMKEEPER_LIVEKIT_CERT_FILE and ROOMKEEPER_LIVEKIT_KEY_FILE",
}


class Certificates:
    """The TLS context of one server. Files that change on disk count for connections that are opened later."""

    def __init__(self, options: TlsOptions | None = None) -> None:
        self._options = options or TlsOptions()
        self._paths = tuple(
            Path(path) for path in (self._options.ca_file, self._options.cert_file, self._options.key_file) if path
        )
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[object, ...] = ()
        self._look_at = 0.0

    def trust(self, ca: str) -> None:
        """Trust these CAs (PEM) too, from the next connection on; an empty text takes back what was given before."""
        if ca != self._options.ca_data:
            self._options, self._context = replace(self._options, ca_data=ca), None

    @property
    def has_own(self) -> bool:
        """Whether we have a client certificate."""
        return bool(self._options.cert_file)

    def context(self) -> ssl.SSLContext | bool:
        """The context for the next connection; True for the ordinary one. Raises AddressError if there never was one.

        While files are being replaced they may not fit each other: the context of before counts until they do.
        """
        if not self._paths and not self._options.ca_data:
            return True
        now = time.monotonic()
        if self._context is None or now >= self._look_at:
            self._look_at = now + _LOOK_AGAIN_SECONDS
            seen = tuple(_version(path) for path in self._paths)
            if self._context is None or seen != self._seen:
                self._renew(seen)
        assert self._context is not None, "it was made, or an error was raised"
        return self._context

    def _renew(self, seen: tuple[object, ...]) -> None:
        try:
            context = tls_context(self._options)
        except AddressError as error:
            if self._context is None:
                raise
            log.warning("new certificates for LiveKit cannot be used; the old ones stay", error=str(error))
            return
        self._context, self._seen = context, seen


def _version(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class WithCertificates:
    """A session that the SDK can use: each request is sent with the TLS context of the moment."""

    def __init__(self, session: aiohttp.ClientSession, certificates: Certificates) -> None:
        self._session = session
        self._certificates = certificates

    @property
    def timeout(self) -> aiohttp.ClientTimeout:
        """The session's own; every request has a deadline of ours besides."""
        return self._session.timeout

    def post(self, url: str, **options: Any) -> Any:
        """Send a POST."""
        return self._session.post(url, ssl=self._certificates.context(), **options)


def fault_of(error: BaseException, *, has_own: bool) -> TlsFault | None:
    """What is wrong with a certificate, if that is why the request failed, with the setting that would be right."""
    for one in _causes(error):
        # aiohttp's own errors are SSLErrors too, but without the details.
        if isinstance(one, ssl.SSLError) and not isinstance(one, aiohttp.ClientError):
            fault = tls_fault(one, has_certificate=has_own)
            setting = _OUR_FILES.get(fault.code)
            return TlsFault(fault.code, f"{fault.sentence}; see {setting}") if setting is not None else fault
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that aiohttp has wrapped in it."""
    known: BaseException | None = error
    while known is not None:
        yield known
        for name in ("certificate_error", "os_error"):
            inner = getattr(known, name, None)
            if isinstance(inner, BaseException):
                yield inner
        known = known.__cause__
