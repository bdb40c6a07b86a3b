"""One shared connection to Redis: commands go out together, replies come back in order.

A command costs a tenth of what it costs through redis-py's asyncio client, which takes a connection from a pool, makes
a task for the write, and sends each command by itself. Here all commands of one turn of the event loop leave with one
write, and hiredis packs and parses. A connection on which the oldest reply is overdue is dropped, with everything that
waits on it; the next command opens a new one. Nothing is repeated here: that is `client`'s decision.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

import hiredis
from redis import exceptions
from redis.asyncio.connection import parse_url


class Wire:
    """A lazily opened connection behind a URL (`redis://`, `rediss://`, `unix://`).

    After a SUBSCRIBE, `heard` gets each message of a channel.
    """

    def __init__(self, url: str, *, timeout_seconds: float, heard: Callable[[str], None] | None = None) -> None:
        self._heard = heard
        self._options: Mapping[str, Any] = dict(parse_url(url))
        self._secure = url.startswith("rediss:")
        self._timeout_seconds = timeout_seconds
        self._stream: _Stream | None = None
        self._opening: asyncio.Task[_Stream] | None = None

    async def execute(self, *words: str | int, block_seconds: float = 0.0) -> Any:
        """Send a command; return its reply, which may take `block_seconds` more. Raises redis-py's errors."""
        stream = self._stream
        if stream is None or stream.is_lost:
            stream = await self._open()
        reply = await stream.send(words, block_seconds)
        if isinstance(reply, hiredis.ReplyError):
            raise _error(str(reply))
        return reply

    async def close(self) -> None:
        """Close the connection; all requests that wait on it fail."""
        if self._opening is not None:
            self._opening.cancel()
        if self._stream is not None:
            self._stream.drop(exceptions.ConnectionError("closed"))

    async def _open(self) -> _Stream:
        """Open a connection, or wait for the attempt that is under way; if it fails, it fails for all who wait.

        If each of them tried in its turn, the last one would wait for the timeouts of all others.
        """
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.get_running_loop().create_task(self._connect_and_greet())
            opening.add_done_callback(self._opened)
        await asyncio.wait((opening,))
        if opening.cancelled():
            raise exceptions.ConnectionError("closed")
        return opening.result()

    def _opened(self, opening: asyncio.Task[_Stream]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._stream = opening.result()

    async def _connect_and_greet(self) -> _Stream:
        stream = await self._connect()
        for words in self._greeting():
            reply = await stream.send(words)
            if isinstance(reply, hiredis.ReplyError):
                stream.drop(exceptions.ConnectionError("refused"))
                raise _error(str(reply))
        return stream

    async def _connect(self) -> _Stream:
        loop, options = asyncio.get_running_loop(), self._options

        def make() -> _Stream:
            return _Stream(loop, self._timeout_seconds, self._heard)

        try:
            async with asyncio.timeout(self._timeout_seconds):
                if "path" in options:
                    _, stream = await loop.create_unix_connection(make, options["path"])
                else:
                    host, port = options.get("host", "localhost"), options.get("port", 6379)
                    context = ssl.create_default_context() if self._secure else None
                    _, stream = await loop.create_connection(make, host, port, ssl=context)
        except TimeoutError as error:
            raise exceptions.TimeoutError("no connection in time") from error
        except OSError as error:
            raise exceptions.ConnectionError(type(error).__name__) from error
        return stream

    def _greeting(self) -> list[tuple[str | int, ...]]:
        options = self._options
        words: list[tuple[str | int, ...]] = []
        if options.get("password"):
            words.append(("AUTH", *([options["username"]] if options.get("username") else []), options["password"]))
        if options.get("db"):
            words.append(("SELECT", int(options["db"])))
        return words


class _Stream(asyncio.Protocol):
    """The protocol of one connection. Replies have no names: they come in the order of the commands."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, timeout_seconds: float, heard: Callable[[str], None] | None
    ) -> None:
        self._loop = loop
        self._heard = heard
        self._timeout_seconds = timeout_seconds
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.is_lost = False

    def send(self, words: tuple[str | int, ...], block_seconds: float = 0.0) -> asyncio.Future[Any]:
        """Queue a command; return a future of its reply. An error reply is its value, not its exception."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.is_lost:
            future.set_exception(exceptions.ConnectionError("lost"))
            return future
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(hiredis.pack_command(cast("Any", words)))
        due = self._loop.time() + self._timeout_seconds + block_seconds
        self._waiting.append((due, future))
        if self._watch is None:
            self._watch = self._loop.call_at(due, self._look)
        return future

    def drop(self, error: Exception) -> None:
        """Give the connection up; all requests that wait on it fail with `error`."""
        if self.is_lost:
            return
        self.is_lost = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(error)
        self._waiting.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(exceptions.ConnectionError("lost"))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if self._heard is not None and isinstance(reply, list) and reply[0] == "message":
                    self._heard(str(reply[2]))
                    continue
                _, future = self._waiting.popleft()
                # A cancelled request no longer wants its reply, but it keeps its place in the order.
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.drop(exceptions.ConnectionError("the server does not speak the protocol"))

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and not self.is_lost:
            self._transport.write(b"".join(outgoing))

    def _look(self) -> None:
        """Check the oldest command. One timer is enough, because no other command can be overdue before it."""
        self._watch = None
        if not self._waiting:
            return
        due = self._waiting[0][0]
        if due <= self._loop.time():
            self.drop(exceptions.TimeoutError("no answer in time"))
        else:
            self._watch = self._loop.call_at(due, self._look)


def _error(text: str) -> exceptions.RedisError:
    if text.startswith("NOSCRIPT"):
        return exceptions.NoScriptError(text)
    if text.startswith(("NOAUTH", "WRONGPASS")):
        return exceptions.AuthenticationError(text)
    return exceptions.ResponseError(text)
