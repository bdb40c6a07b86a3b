"""How to reach the Kubernetes API: credentials from a kubeconfig or the pod's ServiceAccount, and HTTP sessions.

kopf's own functions read both sources. kopf watches through a session of its own, which it may close at any time;
`clients.kubernetes` writes through ours. Both are built alike, and a rotated token is reloaded into both.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import kopf
import structlog

from controller.errors import SettingsError

log = structlog.get_logger(__name__)

_ROTATED_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_CONNECTIONS = 100


def read_credentials() -> kopf.ConnectionInfo:
    """Credentials from KUBECONFIG (or ~/.kube/config), else from the pod's ServiceAccount.

    Raises SettingsError if neither is there or the file cannot be used.
    """
    settings = kopf.OperatorSettings()
    try:
        if os.environ.get("KUBECONFIG"):
            info = kopf.login_with_kubeconfig(settings=settings)
        else:
            info = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    except (OSError, KeyError, ValueError, kopf.LoginError) as error:
        raise SettingsError(f"KUBECONFIG={os.environ.get('KUBECONFIG', '')!r} cannot be used: {error}") from error
    if info is None:
        raise SettingsError(
            "no Kubernetes credentials: set KUBECONFIG to a kubeconfig file, or run in a pod with a ServiceAccount"
        )
    return info


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

    def for_kopf(self) -> kopf.AiohttpSession:
        """Return a session for kopf's login handler: one of its own, because kopf closes it at its end."""
        session = self._open()
        self._watching = [*(known for known in self._watching if not known.closed), session]
        return kopf.AiohttpSession(server=self.server, aiohttp_session=session)

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=_CONNECTIONS, keepalive_timeout=60.0)
        return aiohttp.ClientSession(connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())

    async def reload_token_forever(self, interval_seconds: float = 60.0) -> None:
        """Take over the ServiceAccount's token when the kubelet has rotated it (they live for about an hour)."""
        if self.info.token is None or not self._in_pod:
            return
        while True:
            await asyncio.sleep(interval_seconds)
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
