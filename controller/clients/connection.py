"""How to reach the Kubernetes API: credentials from a kubeconfig or the pod's ServiceAccount, and HTTP sessions.

`clients.kubeconfig` reads the one, kopf the other. kopf watches through a session of its own, which it may close at any
time; `clients.kubernetes` writes through ours. Both are built alike. Credentials are replaced while we run: a kubelet
rotates a token, a person renews a certificate, a plugin gives them for minutes. So they are read again at intervals,
before they expire, and whenever the API server refuses them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import kopf
import structlog

from controller.clients.kubeconfig import Login, files, login
from controller.clock import Clock
from controller.errors import SettingsError
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

_CONNECTIONS: Final = 100
_KEEPALIVE_SECONDS: Final = 60.0
# A watch begins again at once. An older connection may be dead without a word, which costs 25 s to find out.
_WATCH_KEEPALIVE_SECONDS: Final = 1.0
_READ_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 5.0
# After this part of the time until they expire, a plugin is asked again.
_RENEW_AFTER: Final = 0.8
# Between two readings, if the credentials are refused again and again: a file costs nothing, a plugin a process.
_PAUSE_SECONDS: Final = 1.0
_PLUGIN_PAUSE_SECONDS: Final = 10.0
# A session is closed once no request of its time can be under way.
_RETIRED_SECONDS: Final = 30.0
_REFUSED_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one reading found. `where` says in a sentence where it was read.

    `transport` tells certificates apart by their content: of two readings, a file may have the same path.
    """

    info: kopf.ConnectionInfo
    where: str
    transport: str = ""
    has_plugin: bool = False
    expires_at: datetime | None = None

    def same_as(self, other: Credentials) -> bool:
        """Whether both say the same to the API server."""
        return self.transport == other.transport and self.info.as_http_headers() == other.info.as_http_headers()


Read = Callable[[], Credentials]


def read_credentials(kubeconfig: Path | None = None, context: str = "") -> Credentials:
    """Credentials as kubectl finds them: `kubeconfig`, KUBECONFIG, the pod's ServiceAccount, else ~/.kube/config.

    A `context` is one of a kubeconfig, so it leaves the ServiceAccount out. Raises SettingsError if there are no
    credentials, or if a file cannot be used.
    """
    is_named = kubeconfig is not None or bool(context) or bool(os.environ.get("KUBECONFIG"))
    if not is_named and (info := _of_the_pod()) is not None:
        return Credentials(info, "the ServiceAccount of the pod", _transport(info))
    paths = files(kubeconfig, os.environ)
    if not paths:
        raise SettingsError(
            "no Kubernetes credentials: set KUBECONFIG to a kubeconfig file, or run in a pod with a ServiceAccount"
        )
    found = login(paths, context)
    info = _connection_info(found)
    where = f"the context {found.context} of {', '.join(str(path) for path in paths)}"
    return Credentials(info, where, _transport(info), found.has_plugin, found.expires_at)


def _of_the_pod() -> kopf.ConnectionInfo | None:
    try:
        return kopf.login_with_service_account(settings=kopf.OperatorSettings())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the token of the pod's ServiceAccount cannot be read: {error}") from error


def _transport(info: kopf.ConnectionInfo) -> str:
    """A digest of everything that an SSL context is made of. Raises SettingsError for a file that cannot be read."""
    digest = hashlib.sha256()
    for value in (
        info.server,
        info.insecure,
        info.proxy_url,
        info.ca_data,
        info.certificate_data,
        info.private_key_data,
    ):
        digest.update(repr(value).encode())
    for path in (info.ca_path, info.certificate_path, info.private_key_path):
        try:
            digest.update(Path(os.fsdecode(path)).read_bytes() if path else b"")
        except OSError as error:
            raise SettingsError(f"{os.fsdecode(path or '')} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path | None = None, context: str = "") -> AsyncIterator[KubernetesConnection]:
    """A connection, closed at the end of the block. Raises SettingsError as `read_credentials` does."""

    def read() -> Credentials:
        return read_credentials(kubeconfig, context)

    connection = KubernetesConnection(await asyncio.to_thread(read), read)  # a plugin may take seconds
    try:
        yield connection
    finally:
        await connection.close()


def _connection_info(found: Login) -> kopf.ConnectionInfo:
    """An empty field of a kubeconfig is None for kopf."""
    return kopf.ConnectionInfo(
        server=found.server,
        ca_path=found.ca_path or None,
        ca_data=found.ca_data or None,
        insecure=found.insecure,
        username=found.username or None,
        password=found.password or None,
        token=found.token or None,
        certificate_path=found.certificate_path or None,
        certificate_data=found.certificate_data or None,
        private_key_path=found.key_path or None,
        private_key_data=found.key_data or None,
        proxy_url=found.proxy_url or None,
    )


class KubernetesConnection:
    """Our session, and the server's address. Build it inside a running loop; close it at the end.

    `read` reads the credentials again. Raises SettingsError if a certificate or key cannot be used.
    """

    def __init__(self, credentials: Credentials, read: Read) -> None:
        self.credentials = credentials
        self.server = credentials.info.server.rstrip("/")
        self._read = read
        self._ssl = _ssl_context(credentials)
        self.session = self._open(_KEEPALIVE_SECONDS)
        self._watching: list[aiohttp.ClientSession] = []
        self._retired: list[tuple[float, aiohttp.ClientSession]] = []
        self._renewal: asyncio.Task[bool] | None = None
        self._read_again_at = 0.0
        self._refused_since: float | None = None
        self._said = ""

    def for_kopf(
        self, answered: Callable[[], None], answers: type[aiohttp.ClientResponse] = aiohttp.ClientResponse
    ) -> kopf.AiohttpSession:
        """Return a session for kopf's login handler: one of its own, because kopf closes it at its end.

        `answered` is called whenever the API server begins to answer a request of this session. `answers` is the class
        of what it answers.
        """
        session = self._open(_WATCH_KEEPALIVE_SECONDS, _trace(answered), answers=answers)
        self._watching = [*(known for known in self._watching if not known.closed), session]
        return kopf.AiohttpSession(server=self.server, aiohttp_session=session)

    def _open(
        self,
        keepalive_seconds: float,
        *traces: aiohttp.TraceConfig,
        answers: type[aiohttp.ClientResponse] = aiohttp.ClientResponse,
    ) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=_CONNECTIONS, keepalive_timeout=keepalive_seconds)
        return aiohttp.ClientSession(
            connector=connector,
            headers={**self.credentials.info.as_http_headers(), "User-Agent": "roomkeeper"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=list(traces),
            response_class=answers,
            proxy=self.credentials.info.proxy_url,
        )

    # ---- credentials that are replaced

    def answered(self, *, is_refused: bool) -> None:
        """Note whether the API server accepted the credentials of a request."""
        if not is_refused:
            self._refused_since = None
        elif self._refused_since is None:
            self._refused_since = asyncio.get_running_loop().time()

    def problem(self) -> str:
        """What is wrong with the credentials for so long that no reading will put it right by itself; else empty."""
        if self._refused_since is None:
            return ""
        seconds = asyncio.get_running_loop().time() - self._refused_since
        if seconds < _REFUSED_SECONDS:
            return ""
        return f"the API server has refused the credentials of {self.credentials.where} for {seconds:.0f} s"

    async def renew(self, refused: Credentials) -> bool:
        """Read the credentials again, since the API server has refused `refused`. True if there are others now.

        All requests that are refused share one reading, and it goes on if the caller gives up.
        """
        if self.credentials is not refused:
            return True
        if self._renewal is None or self._renewal.done():
            if asyncio.get_running_loop().time() < self._read_again_at:
                return False
            self._renewal = asyncio.create_task(self._read_again(), name="credentials")
        return await asyncio.shield(self._renewal)

    async def keep_current(self, pulse: Pulse, clock: Clock) -> None:
        """Read the credentials again in time, until cancelled: files each minute, a plugin before they expire."""
        loop = asyncio.get_running_loop()
        read_at, due = loop.time(), self._due(clock.now())
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            pulse.beat()
            is_due = due is not None and clock.now() >= due
            if is_due or (not self.credentials.has_plugin and loop.time() - read_at >= _READ_SECONDS):
                await self.renew(self.credentials)
                read_at, due = loop.time(), self._due(clock.now())

    def _due(self, now: datetime) -> datetime | None:
        expires_at = self.credentials.expires_at
        if expires_at is None:
            return None
        return now + max(_RENEW_AFTER * (expires_at - now), timedelta(seconds=_PLUGIN_PAUSE_SECONDS))

    async def _read_again(self) -> bool:
        """Read the credentials, and take them over if they are others. A failure is logged once."""
        try:
            found = await asyncio.to_thread(self._read)
            is_new = not found.same_as(self.credentials)
            if is_new:
                await self._take_over(found)
        except SettingsError as error:
            if str(error) != self._said:
                self._said = str(error)
                log.warning("the credentials for Kubernetes cannot be read again; the old ones stay", why=str(error))
            return False
        finally:
            seconds = _PLUGIN_PAUSE_SECONDS if self.credentials.has_plugin else _PAUSE_SECONDS
            self._read_again_at = asyncio.get_running_loop().time() + seconds
        self._said = ""
        return is_new

    async def _take_over(self, found: Credentials) -> None:
        """Use other credentials from now on. Raises SettingsError if a certificate or key cannot be used.

        A token goes into the sessions that are open, so that a watch goes on. With other certificates, requests get a
        session of their own, and kopf gets one when its watch begins again.
        """
        others = found.transport != self.credentials.transport
        if others:
            self._ssl = _ssl_context(found)
        self.credentials = found
        self.server = found.info.server.rstrip("/")
        log.info("the credentials for Kubernetes were replaced", where=found.where)
        if others:
            await self.reconnect()
        headers = found.info.as_http_headers()
        for session in (self.session, *self._watching):
            session.headers.update(headers)

    async def reconnect(self) -> None:
        """Send all further requests over new connections; those under way end on the old ones.

        A line that is dead without a word takes all its connections with it. If each of the idle ones were tried in
        its turn, the requests that find it out would add up to more than the lease.
        """
        now = asyncio.get_running_loop().time()
        over = [session for since, session in self._retired if now - since > _RETIRED_SECONDS]
        self._retired = [*((since, one) for since, one in self._retired if one not in over), (now, self.session)]
        self.session = self._open(_KEEPALIVE_SECONDS)
        for session in over:
            await session.close()

    async def close(self) -> None:
        """Close the sessions and their connections."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        for session in (self.session, *self._watching, *(session for _, session in self._retired)):
            await session.close()


def _ssl_context(credentials: Credentials) -> ssl.SSLContext:
    try:
        return credentials.info.as_ssl_context()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(f"a certificate or key of {credentials.where} cannot be used: {error}") from error


def _trace(answered: Callable[[], None]) -> aiohttp.TraceConfig:
    """Calls `answered` at the first bytes of each answer."""
    trace = aiohttp.TraceConfig()

    async def told(*_: Any) -> None:
        answered()

    trace.on_request_end.append(told)
    return trace
