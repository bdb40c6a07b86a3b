"""A server without a program: fakeredis behind a Unix socket, started as `python -m tests.redis.fake SOCKET`.

`servers` starts it beside the real ones; `differences` lists what it does differently. It is a process of its own, so
that tests can stop, continue and kill it like the others. The server that fakeredis itself brings is not used: it loses
a connection whose client is slow to take a long reply.
"""

from __future__ import annotations

import contextlib
import socketserver
import sys

from fakeredis import FakeRedisConnection, FakeServer
from fakeredis._clients._tcp_server import encode_reply
from fakeredis._helpers import SimpleError
from redis.exceptions import RedisError

from controller.clients.redis.errors import WRONG_TYPE

_CHUNK_BYTES = 65536


class _Client(socketserver.BaseRequestHandler):
    """One connection. A command that blocks holds up those behind it, as in a real server."""

    server: _Server

    def handle(self) -> None:
        connection = FakeRedisConnection(server=self.server.data, protocol=2)  # until the client says HELLO
        fake = connection.get_socket()
        with contextlib.suppress(ConnectionError):  # the client is gone
            while chunk := self.request.recv(_CHUNK_BYTES):
                fake.sendall(chunk)
                while connection.can_read():
                    try:
                        reply = connection.read_response()
                    except RedisError as error:
                        # fakeredis writes "ERR" before this word, which Redis does not.
                        reply = SimpleError(str(error)) if str(error).startswith(WRONG_TYPE) else error
                    self.request.sendall(encode_reply(reply, fake._client_info.protocol_version))


class _Server(socketserver.ThreadingUnixStreamServer):
    """All connections see the same data."""

    def __init__(self, path: str) -> None:
        self.data = FakeServer()
        super().__init__(path, _Client)


if __name__ == "__main__":
    _Server(sys.argv[1]).serve_forever()
