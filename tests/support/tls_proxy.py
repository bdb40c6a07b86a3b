"""TLS in front of a server that has none: a proxy that ends TLS and passes the bytes on, like stunnel.

It uses blocking sockets in threads, because asyncio's TLS server leaves out the alerts by which clients learn what is
wrong with their certificate.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.certificates import Signed


class TlsProxy:
    """`with TlsProxy(to, own) as proxy`. Clients reach the server at this Unix socket or port by `proxy.port`.

    With `clients`, the certificate of a CA, every client needs a certificate of that CA. `at` is where it listens. One
    that `takes_plain` passes connections without TLS on as they are: nodes without TLS reach each other by it, too.
    """

    def __init__(
        self,
        to: Path | int,
        own: Signed,
        *,
        clients: Path | None = None,
        newest: bool = True,
        at: tuple[str, int] = ("127.0.0.1", 0),
        takes_plain: bool = False,
    ) -> None:
        self._to = to
        self._takes_plain = takes_plain
        self.shaken = 0
        """How many connections had TLS."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if not newest:
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.use(own)
        if clients is not None:
            self._context.load_verify_locations(clients)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listening = socket.create_server(at)
        self.port = int(self._listening.getsockname()[1])
        self._connections: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept_all)]

    def use(self, own: Signed) -> None:
        """Show this certificate from the next connection on."""
        self._context.load_cert_chain(own.certificate, own.key)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing alone does not wake a thread that waits in accept.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def cut(self) -> None:
        """End all connections."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept_all(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._connections.add(client)
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError), self._near(client) as near:
                self._connections.add(near)
                try:
                    with self._connected() as far:
                        _pump(near, far)
                finally:
                    self._connections.discard(near)
        finally:
            self._connections.discard(client)
            client.close()

    def _near(self, client: socket.socket) -> socket.socket:
        if self._takes_plain and client.recv(1, socket.MSG_PEEK) != _HANDSHAKE:
            return client
        near = self._context.wrap_socket(client, server_side=True)
        self.shaken += 1
        return near

    def _connected(self) -> socket.socket:
        if isinstance(self._to, int):
            return socket.create_connection(("127.0.0.1", self._to))
        there = socket.socket(socket.AF_UNIX)
        there.connect(str(self._to))
        return there


# The first byte of TLS.
_HANDSHAKE = b"\x16"


def _pump(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes on until one end is gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in selector.select():
                source = near if key.fileobj is near else far
                data = source.recv(65536)
                while source is near and isinstance(near, ssl.SSLSocket) and near.pending():
                    data += near.recv(65536)
                if not data:
                    return
                key.data.sendall(data)
