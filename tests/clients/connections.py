"""Connections to servers that a test runs itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import kopf

from controller.clients.connection import Credentials, KubernetesConnection


@asynccontextmanager
async def connection_to(server: str) -> AsyncIterator[KubernetesConnection]:
    """A connection with credentials that stay the same; closed at the end of the block."""
    credentials = Credentials(kopf.ConnectionInfo(server=server, token="t"), "this test")
    connection = KubernetesConnection(credentials, lambda: credentials)
    try:
        yield connection
    finally:
        await connection.close()
