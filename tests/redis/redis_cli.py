"""Stands for redis-cli in the examples of the docs: `python redis_cli.py WHERE [--raw | -x] WORD…` prints as it does.

`WHERE` is a Unix socket, or `-u URL`, which may name a Unix socket too (`unix://PATH`).

There is no redis-cli in the wheel that brings Valkey. This is a program of its own and imports nothing of the tests.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import hiredis


def ask(path: str, words: tuple[str, ...]) -> Any:
    """Send one command; its reply."""
    reader = hiredis.Reader(encoding="utf-8")
    with _connected(path) as connection:
        connection.sendall(hiredis.pack_command(cast("Any", words)))
        while (reply := reader.gets()) is False:
            reader.feed(connection.recv(65536))
    return reply


def _connected(where: str) -> socket.socket:
    url = urlsplit(where)
    if url.scheme and url.scheme != "unix":
        return socket.create_connection((url.hostname, url.port))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(url.path)
    return connection


def lines(reply: Any) -> Iterator[str]:
    """The reply as redis-cli prints it to a terminal."""
    match reply:
        case hiredis.ReplyError():
            yield f"(error) {reply}"
        case None:
            yield "(nil)"
        case int():
            yield f"(integer) {reply}"
        case []:
            yield "(empty array)"
        case list():
            for number, item in enumerate(reply, 1):
                mark = f"{number}) "
                for line in lines(item):
                    yield mark + line
                    mark = " " * len(mark)
        case _:
            escaped = str(reply).replace("\\", "\\\\").replace('"', '\\"')
            yield f'"{escaped}"'


def main() -> None:
    path, *words = sys.argv[2:] if sys.argv[1] == "-u" else sys.argv[1:]
    if words[:1] == ["--raw"]:
        sys.stdout.writelines(f"{item}\n" for item in ask(path, tuple(words[1:])))
        return
    if words[:1] == ["-x"]:
        words = [*words[1:], sys.stdin.read()]
    for line in lines(ask(path, tuple(words))):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
