"""One shared connection to one node: commands go out together, replies come back in order.

A command costs a tenth of what it costs through redis-py's asyncio client, which takes a connection from a pool, makes
a task for the write, and sends each command by itself. Here all commands of one turn of the event loop leave with one
write, and hiredis packs and parses. A connection on which the oldest reply is overdue is dropped, with everything that
waits on it; the next command opens a new one. Nothing is repeated here: that is `client`'s decision.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import hiredis
from redis import exceptions

from controller.clients.certificates import NO_HANDSHAKE, TLS_EXPECTED, TlsCode, TlsFault, tls_fault
from controller.clients.redis.errors import LEFT_AFTER, NoWord, TlsFailed, error_word, refuses_connection, reply_error
from controller.clients.redis.target import Check, Hello, Locate, Mode, Target, parse_hello
from controller.settings.redis_address import Access, AddressError, TlsOptions
from controller.settings.tls import tls_context

_TLS_ALERT = b"\x15\x03"


class Wire:
    """The connection to one node: closed, opening or open. The next command opens it, also after `close`.

    `locate` says where the node is, before each attempt to connect, and `check` whether the right server answers there.
    After a SUBSCRIBE, `heard` gets each message of a channel. `left` is called when the server has said that it is the
    wrong one, after the connection to it was dropped.
    """

    def __init__(
        self,
        locate: Locate,
        *,
        timeout_seconds: float,
        heard: Callable[[str], None] | None = None,
        check: Check | None = None,
        left: Callable[[], None] | None = None,
    ) -> None:
        self._locate = locate
        self._check = check
        self._left = left
        self._heard = heard
        self._timeout_seconds = timeout_seconds
        # Closed: neither. Opening: the attempt. Open: the stream, unless it is lost.
        self._attempt: asyncio.Task[_Stream] | None = None
        self._stream: _Stream | None = None

    async def execute(self, *words: str | int, block_seconds: float = 0.0, asking: bool = False) -> Any:
        """Send a command; return its reply, which may take `block_seconds` more. Raises redis-py's errors.

        A node of a cluster that imports a slot takes a command about it only if the client was `asking`.
        """
        stream = self._stream
        if stream is None or stream.is_lost:
            stream = await self._open()
        if asking:
            _, reply = await asyncio.gather(stream.send(("ASKING",)), stream.send(words, block_seconds))
        else:
            reply = await stream.send(words, block_seconds)
        if isinstance(reply, hiredis.ReplyError):
            raise self._refusal(stream, str(reply))
        return reply

    async def open(self) -> Hello:
        """Open the connection, if it is not open; return what the server says of itself. Raises redis-py's errors."""
        stream = self._stream
        if stream is None or stream.is_lost:
            stream = await self._open()
        return stream.hello

    @property
    def is_idle(self) -> bool:
        """Whether no command waits for an answer or for a connection."""
        return self._attempt is None and (self._stream is None or not self._stream.is_awaited)

    async def close(self) -> None:
        """Close the connection, or end the attempt to open one; all requests that wait on it fail."""
        self.drop()

    def drop(self) -> None:
        """Do the same as `close`, at once. The next command asks again where the node is."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.drop(exceptions.ConnectionError("closed"))

    def _refusal(self, stream: _Stream, text: str) -> exceptions.RedisError:
        """The error that the server answered. A server that says that it is the wrong one is left."""
        error = reply_error(text)
        if error_word(error) in LEFT_AFTER:
            stream.drop(exceptions.ConnectionError("the server is not the right one now"))
            if self._left is not None:
                self._left()
        return error

    async def _open(self) -> _Stream:
        """Open a connection, or wait for the attempt that is under way; if it fails, it fails for all who wait.

        If each of them tried in its turn, the last one would wait for the timeouts of all others.
        """
        attempt = self._attempt
        if attempt is None:
            attempt = self._attempt = asyncio.get_running_loop().create_task(self._connect_and_greet())
            attempt.add_done_callback(self._attempted)
        await asyncio.wait((attempt,))
        if attempt.cancelled():
            raise exceptions.ConnectionError("closed")
        return attempt.result()

    def _attempted(self, attempt: asyncio.Task[_Stream]) -> None:
        """Take the stream over. One that was opened while `close` ended its attempt belongs to nobody else."""
        stream = None if attempt.cancelled() or attempt.exception() is not None else attempt.result()
        if self._attempt is attempt:
            self._attempt, self._stream = None, stream
        elif stream is not None:
            stream.drop(exceptions.ConnectionError("closed"))

    async def _connect_and_greet(self) -> _Stream:
        target = await self._locate()
        stream = await self._connect(target)
        try:
            stream.hello = await _greet(stream, target.access)
            if self._check is not None:
                self._check(stream.hello)
        except BaseException:
            # Also a cancellation: nothing else knows this stream, so it would stay open for good.
            stream.drop(exceptions.ConnectionError("not opened"))
            raise
        return stream

    async def _connect(self, target: Target) -> _Stream:
        loop, node, tls = asyncio.get_running_loop(), target.node, target.access.tls
        made: list[_Stream] = []  # one as soon as there is a connection, before TLS begins

        def make() -> _Stream:
            made.append(_Stream(loop, self._timeout_seconds, self._heard, has_tls=tls is not None))
            return made[-1]

        try:
            async with asyncio.timeout(self._timeout_seconds):
                if node.path:
                    _, stream = await loop.create_unix_connection(make, node.path)
                else:
                    # Made for each connection, because certificates are renewed on disk.
                    context = _context(tls) if tls is not None else None
                    _, stream = await loop.create_connection(make, node.host, node.port, ssl=context)
        except TimeoutError as error:
            if tls is not None and made:
                raise TlsFailed(NO_HANDSHAKE) from error
            raise exceptions.TimeoutError("no connection in time") from error
        except ssl.SSLError as error:
            raise TlsFailed(tls_fault(error, has_certificate=bool(tls and tls.cert_file))) from error
        except OSError as error:
            if tls is not None and made:
                raise TlsFailed(NO_HANDSHAKE) from error
            raise exceptions.ConnectionError(type(error).__name__) from error
        return stream


def _context(tls: TlsOptions) -> ssl.SSLContext:
    try:
        return tls_context(tls)
    except AddressError as error:
        raise TlsFailed(TlsFault(TlsCode.OURS_UNUSABLE, f"the Redis URL or a setting {error}")) from error


async def _greet(stream: _Stream, access: Access) -> Hello:
    """Log in, choose the database, and return what the server says of itself."""
    if access.has_credentials:
        await _say(stream, "AUTH", *([access.username] if access.username else []), access.password)
    reply = await stream.send(("HELLO", 2))
    if isinstance(reply, hiredis.ReplyError) and refuses_connection(str(reply)):
        raise reply_error(str(reply))
    hello = parse_hello(reply)
    if access.db and hello.mode is not Mode.SENTINEL:
        await _say(stream, "SELECT", access.db)
    return hello


async def _say(stream: _Stream, *words: str | int) -> None:
    reply = await stream.send(words)
    if isinstance(reply, hiredis.ReplyError):
        raise reply_error(str(reply))


class _Stream(asyncio.Protocol):
    """The protocol of one connection. Replies have no names: they come in the order of the commands."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout_seconds: float,
        heard: Callable[[str], None] | None,
        *,
        has_tls: bool = False,
    ) -> None:
        self._loop = loop
        self._has_tls = has_tls
        self._heard = heard
        self._timeout_seconds = timeout_seconds
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None
        self.hello = Hello()
        self._is_fresh = True
        self._end: Exception = exceptions.ConnectionError("lost")
        self.is_lost = False

    @property
    def is_awaited(self) -> bool:
        """Whether a command waits for its answer."""
        return bool(self._waiting)

    def send(self, words: tuple[str | int, ...], block_seconds: float = 0.0) -> asyncio.Future[Any]:
        """Queue a command; return a future of its reply. An error reply is its value, not its exception."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.is_lost:
            future.set_exception(self._end)
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
        self.is_lost, self._end = True, error
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
        # In TLS 1.3 a server looks at our certificate when the handshake is over for us. After its first answer, a
        # broken stream of TLS is a lost connection.
        if isinstance(exc, ssl.SSLError) and self._is_fresh:
            self.drop(TlsFailed(tls_fault(exc)))
        elif self._is_fresh and not self._has_tls:
            # A server with TLS does so with a client that begins without.
            self.drop(NoWord("lost"))
        else:
            self.drop(exceptions.ConnectionError("lost"))

    def data_received(self, data: bytes) -> None:
        self._is_fresh = False
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if self._heard is not None and isinstance(reply, list) and reply[0] == "message":
                    self._heard(str(reply[2]))
                    continue
                if not self._waiting and isinstance(reply, hiredis.ReplyError):
                    # A server that takes no connection says why before it is asked.
                    self.drop(reply_error(str(reply)))
                    return
                _, future = self._waiting.popleft()
                # A cancelled request no longer wants its reply, but it keeps its place in the order.
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            is_alert = not self._has_tls and data.startswith(_TLS_ALERT)
            strange = exceptions.ConnectionError("the server does not speak the protocol")
            self.drop(TlsFailed(TLS_EXPECTED) if is_alert else strange)

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
