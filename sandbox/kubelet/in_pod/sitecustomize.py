"""The cluster network inside a Pod without a network namespace. Python runs this file before the program.

The file that SANDBOX_NETWORK names says which port of this machine is behind each port of the Pod (`listen`), behind
each address of a Service or Pod (`connect`), and which address a Service has (`names`). A program that listens on a
port of its Pod gets that port of loopback; one that connects to a Service reaches what is behind it. `network` writes
the file. Both variables are taken out of the environment, so that the program sees what the Pod says and no more.

This file imports nothing of its package: it runs inside the container.
"""

import json
import os
import socket
from typing import Any

_FILE = os.environ.pop("SANDBOX_NETWORK", "")
os.environ.pop("PYTHONPATH", None)
_LOOPBACK = "127.0.0.1"


def _network() -> Any:
    with open(_FILE, encoding="utf-8") as file:  # noqa: PTH123 (pathlib would delay the start of every program)
        return json.load(file)


def _listen(address: Any) -> Any:
    if not isinstance(address, tuple):
        return address
    port = _network()["listen"].get(str(address[1]))
    return address if port is None else (_LOOPBACK, port)


def _connect(address: Any) -> Any:
    if not isinstance(address, tuple):
        return address
    port = _network()["connect"].get(f"{address[0]}:{address[1]}")
    return address if port is None else (_LOOPBACK, port)


def _install() -> None:
    bind, connect, connect_ex = socket.socket.bind, socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **options: Any) -> Any:
        return look_up(_network()["names"].get(host, host), *more, **options)

    replaced: Any = socket
    replaced.socket.bind = lambda self, address: bind(self, _listen(address))
    replaced.socket.connect = lambda self, address: connect(self, _connect(address))
    replaced.socket.connect_ex = lambda self, address: connect_ex(self, _connect(address))
    replaced.getaddrinfo = getaddrinfo


if _FILE:
    _install()
