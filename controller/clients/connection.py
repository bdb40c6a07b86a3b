"""How to reach the Kubernetes API: credentials from a kubeconfig or the pod's ServiceAccount, and HTTP sessions.

`clients.kubeconfig` reads the one, kopf the other. kopf watches through a session of its own, which it may close at any
time; `clients.kubernetes` writes through ours. Both are built alike, and a rotated token is reloaded into both.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import structlog

from controller.clients.kubeconfig import Login, files, login
from controller.errors import SettingsError
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

_ROTATED_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_CONNECTIONS = 100


def read_credentials(kubeconfig: Path | None = None, context: str = "") -> kopf.ConnectionInfo:
    """Credentials as kubectl finds them: `kubeconfig`, KUBECONFIG, the pod's ServiceAccount, else ~/.kube/config.

    A `context` is one of a kubeconfig, so it leaves the ServiceAccount out. Raises SettingsError if there are no
    credentials, or if a file cannot be used.
    """
    is_named = kubeconfig is not None or bool(context) or bool(os.environ.get("KUBECONFIG"))
    if not is_named and (info := kopf.login_with_service_account(settings=kopf.OperatorSettings())) is not None:
        return info
    paths = files(kubeconfig, os.environ)
    if not paths:
        raise SettingsError(
            "no Kubernetes credentials: set KUBECONFIG to a kubeconfig file, or run in a pod with a ServiceAccount"
        )
    return _connection_info(login(paths, context))


@contextlib.asynccontextmanager
async def connected(kubeconfig: Path | None = None, context: str = "") -> AsyncIterator[KubernetesConnection]:
    """A connection for one command, closed at the end of the block. Raises SettingsError as `read_credentials` does."""
    info = await asyncio.to_thread(read_credentials, kubeconfig, context)  # a plugin may take seconds
    try:
        connection = KubernetesConnection(info)
    except (OSError, ValueError) as error:
        raise SettingsError(f"a certificate or key for {info.server} cannot be used: {error}") from error
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
    """Our session, and the server's address. Build it inside a running loop; close it at the end."""

    def __init__(self, info: kopf.ConnectionInfo) -> None:
        self.info = info
        self._in_pod = _ROTATED_TOKEN.exists() and not os.environ.get("KUBECONFIG")
        self.server = info.server.rstrip("/")
        self._ssl = info.as_ssl_context()
        self._headers = {**info.as_http_headers(), "User-Agent": "roomkeeper"}
        self.session = self._open()
        self._watching: list[aiohttp.ClientSession] = []

    def for_kopf(self, answered: Callable[[], None]) -> kopf.AiohttpSession:
        """Return a session for kopf's login handler: one of its own, because kopf closes it at its end.

        `answered` is called whenever the API server begins to answer a request of this session.
        """
        session = self._open(_trace(answered))
        self._watching = [*(known for known in self._watching if not known.closed), session]
        return kopf.AiohttpSession(server=self.server, aiohttp_session=session)

    def _open(self, *traces: aiohttp.TraceConfig) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=_CONNECTIONS, keepalive_timeout=60.0)
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=list(traces),
            proxy=self.info.proxy_url,
        )

    @property
    def has_rotating_token(self) -> bool:
        """Whether the credentials are a ServiceAccount's token that the kubelet rotates."""
        return self.info.token is not None and self._in_pod

    async def reload_token(self, pulse: Pulse, interval_seconds: float = 60.0) -> None:
        """Take over the ServiceAccount's token when the kubelet has rotated it (they live for about an hour)."""
        while True:
            await asyncio.sleep(interval_seconds)
            pulse.beat()
            try:
                token = await asyncio.to_thread(_ROTATED_TOKEN.read_text, encoding="utf-8")
            except OSError as error:
                log.warning("the ServiceAccount's token cannot be read; the old one stays", why=error.strerror)
                continue
            self._headers["Authorization"] = f"Bearer {token.strip()}"
            for session in (self.session, *self._watching):
                session.headers["Authorization"] = self._headers["Authorization"]

    async def close(self) -> None:
        """Close the sessions and their connections."""
        for session in (self.session, *self._watching):
            await session.close()


def _trace(answered: Callable[[], None]) -> aiohttp.TraceConfig:
    """Calls `answered` at the first bytes of each answer."""
    trace = aiohttp.TraceConfig()

    async def told(*_: Any) -> None:
        answered()

    trace.on_request_end.append(told)
    return trace
