"""The client of Redis: short timeouts, our own retries, and every error translated.

Commands go over one shared connection. Reads that block have a connection of their own, because they hold up all
commands behind them. redis-py's client is not used: it repeats commands by itself, and its XREAD sometimes ignores a
cancellation. This client repeats a request at most twice, and only a request that is idempotent. It returns an answer
or raises BackendUnavailable or BackendRefused, never an error of redis-py, because those can repeat arguments, and
arguments can be tokens. Neighbors: `choice` knows the servers, `wire` is the connection to one, `answers` reads
replies, `clients.request` measures each request; `pool`, `inbox`, `outbox` and `gateway` are built on this client.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, TypeAlias, TypeVar

from redis import exceptions

from controller.clients.breaker import Breaker
from controller.clients.reading import reading
from controller.clients.redis import answers
from controller.clients.redis.choice import Choice
from controller.clients.redis.errors import ANSWERS, RAISED, translate
from controller.clients.redis.lua import Script
from controller.clients.redis.server_info import ServerInfo
from controller.clients.redis.target import Check, Locate
from controller.clients.redis.topology import Line, TopologyChanged
from controller.clients.redis.wire import Wire
from controller.clients.request import Requests
from controller.errors import Backend, BackendError, BackendUnavailable, Code
from controller.settings.redis_address import AddressSource, fixed_address

_T = TypeVar("_T")

Arguments: TypeAlias = Sequence[str | int] | Callable[[], Sequence[str | int]]
"""The arguments of a script, or what makes them for each attempt."""

_RETRY_DELAYS_SECONDS: Final = (0.02, 0.1)
_LONGEST_BLOCK_SECONDS: Final = 30.0
_LISTEN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of a stream."""

    stream: str
    id: str
    fields: Mapping[str, str]


class Redis:
    """The Redis behind an address. Create it inside a running loop; close it at the end.

    Every method raises BackendUnavailable when the server does not answer or says "not now", and a BackendRefused for
    a refusal. `was_silent` gets the length of each outage in seconds, at the first answer after it.
    """

    def __init__(self, source: AddressSource, was_silent: Callable[[float], None] | None = None) -> None:
        # The wire keeps the deadline itself, with one timer for all commands.
        self._requests = Requests(
            Backend.REDIS, RAISED, transport_keeps_deadline=True, was_silent=self._all_were_silent, answers=ANSWERS
        )
        self._was_silent = was_silent
        self._choice = Choice(source, self._connect, was_silent)

    @classmethod
    def from_url(cls, url: str, was_silent: Callable[[float], None] | None = None) -> Self:
        """Create a client for a URL. It connects at the first request. Raises AddressError."""
        return cls(fixed_address(url), was_silent)

    @property
    def breaker(self) -> Breaker:
        """Says whether requests are sent to Redis at the moment. That of a cluster opens if no node of it answers."""
        return self._requests.breaker

    def silent_seconds(self, key: str) -> float | None:
        """For how long the server that has this key has not answered; None while it does."""
        topology = self._choice.topology
        if topology is not None and topology.counts_silences:
            return topology.silent_seconds(key)
        return self._requests.silent_seconds

    async def close(self) -> None:
        """Close all connections."""
        await self._choice.close()

    async def run(self, script: Script, keys: Sequence[str], args: Arguments) -> list[str]:
        """Run a script and return its reply. A lost reply makes it run again: every script of ours is idempotent.

        Each attempt calls `args` once more, if it can be called.
        """

        async def attempt() -> Any:
            rest = (len(keys), *keys, *(args() if callable(args) else args))
            try:
                return await self._on(keys[0], "EVALSHA", script.sha, *rest)
            except exceptions.NoScriptError:
                # The server was restarted or replaced. EVAL loads and runs in one trip.
                return await self._on(keys[0], "EVAL", script.text, *rest)

        answer = await self._repeat(script.name, attempt)
        with reading(Backend.REDIS, script.name):
            return answers.texts(answer)

    async def ping(self) -> None:
        """Return if every server answers that takes writes."""

        async def attempt() -> None:
            for line in await self._primaries():
                await line.execute("PING")

        await self._repeat("PING", attempt)

    async def ask(self) -> None:
        """Return if any server answers that takes writes. Without any, the error is that of the last one."""

        async def attempt() -> None:
            *others, last = await self._primaries()
            for line in others:
                with contextlib.suppress(*RAISED):
                    await line.execute("PING")
                    return
            await last.execute("PING")

        await self._repeat("PING", attempt)

    def introduce(self, address: str) -> None:
        """Say in the log whether Redis answers, and of which version it is. `address` holds no secret."""

        async def version() -> str:
            return ServerInfo(await self.info("server")).name

        self._requests.availability.introduce(address, version)

    async def run_id(self) -> str:
        """Return the id of the server process; it is another one after a restart or a failover."""
        return (await self.info("server")).get("run_id", "")

    async def info(self, section: str = "default") -> dict[str, str]:
        """Return what a server says about itself, by the names of its INFO command; of a cluster, its first node."""

        async def attempt() -> Any:
            return await (await self._primaries())[0].execute("INFO", section)

        answer = await self._repeat("INFO", attempt)
        with reading(Backend.REDIS, "INFO"):
            pairs = (line.partition(":") for line in answers.text(answer).splitlines() if ":" in line)
            return {name: value for name, _, value in pairs}

    async def scan(self, pattern: str, cursor: str, *, count: int) -> tuple[str, list[str]]:
        """Look at about `count` of all keys; return the next cursor, and the keys among them that match the pattern.

        `0` is the cursor to begin with, and the one after the last key. Each node of a cluster has its turn.
        """
        turn, _, at = cursor.rpartition("@")
        place = int(turn or 0)

        async def attempt() -> tuple[Any, bool]:
            servers = await self._primaries()
            page = await servers[min(place, len(servers) - 1)].execute("SCAN", at, "MATCH", pattern, "COUNT", count)
            return page, place + 1 < len(servers)

        answer, has_more = await self._repeat("SCAN", attempt)
        with reading(Backend.REDIS, "SCAN"):
            go_on, names = answers.array(answer)
            if answers.text(go_on) != "0":
                return f"{place}@{go_on}", answers.texts(names)
            return f"{place + 1}@0" if has_more else "0", answers.texts(names)

    async def hash(self, key: str) -> dict[str, str]:
        """Return all fields of a hash; empty if there is none."""
        flat = await self._ask("HGETALL", key)
        with reading(Backend.REDIS, "HGETALL"):
            return answers.pairs(flat)

    async def field(self, key: str, name: str) -> str | None:
        """Return one field of a hash; None if it is not there."""
        return await self._text("HGET", key, name)

    async def scored(
        self, key: str, *, at_most: int | None = None, offset: int = 0, limit: int
    ) -> list[tuple[str, float]]:
        """Return members of a sorted set with their scores, the lowest first."""
        highest = "+inf" if at_most is None else at_most
        flat = await self._ask("ZRANGEBYSCORE", key, "-inf", highest, "WITHSCORES", "LIMIT", offset, limit)
        with reading(Backend.REDIS, "ZRANGEBYSCORE"):
            return [(member, answers.score(score)) for member, score in answers.pairs(flat).items()]

    async def text(self, key: str) -> str | None:
        """Return a string; None if it is not there."""
        return await self._text("GET", key)

    async def texts(self, keys: Sequence[str]) -> list[str | None]:
        """Return several strings of one group (`together`), with None for each that is not there."""
        values = await self._ask("MGET", *keys)
        with reading(Backend.REDIS, "MGET"):
            found = [None if value is None else answers.text(value) for value in answers.array(values)]
            if len(found) != len(keys):
                raise ValueError("one value for each key was asked for")
            return found

    async def exists(self, key: str) -> bool:
        """Return whether there is anything under this key."""
        count = await self._ask("EXISTS", key)
        with reading(Backend.REDIS, "EXISTS"):
            return int(count) > 0

    async def put(self, key: str, value: str, *, ttl_seconds: int | None = None) -> None:
        """Set a string, with or without a TTL."""
        ttl = () if ttl_seconds is None else ("EX", ttl_seconds)
        await self._ask("SET", key, value, *ttl)

    async def delete(self, key: str) -> None:
        """Delete a key, if it is there."""
        await self._ask("DEL", key)

    async def append(self, stream: str, fields: Mapping[str, str], *, max_entries: int) -> str:
        """Add an entry to a capped stream; return its id. Never repeated, because each attempt would add an entry."""
        flat = [part for pair in fields.items() for part in pair]
        entry_id = await self._requests.send(
            "XADD",
            lambda: self._on(stream, "XADD", stream, "MAXLEN", "~", max_entries, "*", *flat),
            lambda error: self._meaning(error, "XADD"),
        )
        with reading(Backend.REDIS, "XADD"):
            return answers.text(entry_id)

    async def last_id(self, stream: str) -> str:
        """Return the id of the last entry. A read after it gets every later entry, independent of any clock."""
        newest = await self._ask("XREVRANGE", stream, "+", "-", "COUNT", 1)
        with reading(Backend.REDIS, "XREVRANGE"):
            return answers.text(newest[0][0]) if answers.array(newest) else "0-0"

    def together(self, keys: Sequence[str]) -> Sequence[Sequence[str]]:
        """Divide keys into groups: one request may name those of a group. Keys of one pool are always in one group.

        Before the first request was sent, all keys are in one.
        """
        topology = self._choice.topology
        if topology is None:
            return (keys,) if keys else ()
        return topology.together(keys)

    async def read_streams(
        self, positions: Mapping[str, str], *, block_seconds: float = 0.0, count: int = 100
    ) -> tuple[StreamEntry, ...]:
        """Return the entries after the given ids, of streams of one group; wait `block_seconds` at most for the first.

        The result is empty if none came. Only one read that waits at a time: a second one would wait for the first.
        Never repeated: the caller reads again in any case.
        """
        if not 0 <= block_seconds <= _LONGEST_BLOCK_SECONDS:
            raise ValueError(f"block_seconds is {block_seconds}: use at most {_LONGEST_BLOCK_SECONDS:g}")
        if not self.breaker.is_closed:
            block_seconds = 0.0  # it may be the probe, for whose answer all others wait
        # BLOCK 0 would wait without end.
        block = ("BLOCK", max(1, round(block_seconds * 1000))) if block_seconds else ()
        words = ("XREAD", "COUNT", count, *block, "STREAMS", *positions, *positions.values())
        key = next(iter(positions))
        try:
            answer = await self._requests.send(
                "XREAD",
                lambda: self._on_chosen(key, *words, block_seconds=block_seconds),
                lambda error: self._meaning(error, "XREAD"),
                waits_seconds=block_seconds,
            )
        except asyncio.CancelledError:
            if self._choice.topology is not None and block_seconds:
                self._choice.topology.stop_reading()  # otherwise the next read would wait for the end of this one
            raise
        with reading(Backend.REDIS, "XREAD"):
            return tuple(
                StreamEntry(answers.text(stream), answers.text(entry_id), answers.fields(flat))
                for stream, entries in answer or ()
                for entry_id, flat in entries
            )

    async def _text(self, command: str, key: str, *words: str | int) -> str | None:
        """The text that a command about a key answers, or None."""
        value = await self._ask(command, key, *words)
        with reading(Backend.REDIS, command):
            return None if value is None else answers.text(value)

    async def listen(self, channel: str, heard: Callable[[str], None], *, alive: Callable[[], None]) -> None:
        """Hand each message of a channel to `heard` until cancelled. Messages of a time without a connection are lost.

        `alive` is called whenever the server has answered. Raises BackendError if the channel cannot be listened to, or
        when the connection is lost.
        """
        wire: Wire | None = None

        async def attempt(*words: str) -> Any:
            nonlocal wire
            if wire is None:
                wire = await (await self._choice.made()).listener(heard)
            return await wire.execute(*words)

        async def send(*words: str) -> None:
            reply = await self._requests.send(
                words[0], lambda: attempt(*words), lambda error: self._meaning(error, words[0])
            )
            # A connection with a subscription answers a PING with a list. One that was opened again has none.
            if not isinstance(reply, list):
                raise BackendUnavailable(Backend.REDIS, words[0], "the connection failed", code=Code.UNREACHABLE)

        try:
            await send("SUBSCRIBE", channel)
            while True:
                alive()
                await asyncio.sleep(_LISTEN_SECONDS)
                await send("PING")
        finally:
            if wire is not None:
                await wire.close()

    async def _ask(self, command: str, key: str, *words: str | int) -> Any:
        """Send an idempotent command about a key, and about others of its group; again if that can help."""
        return await self._repeat(command, lambda: self._on(key, command, key, *words))

    def _on(self, key: str, *words: str | int) -> Coroutine[Any, Any, Any]:
        """Send a command to the server that has this key. Raises redis-py's errors."""
        # No coroutine of its own: that would cost a tenth of a read.
        topology = self._choice.topology
        return self._on_chosen(key, *words) if topology is None else topology.line(key).execute(*words)

    async def _on_chosen(self, key: str, *words: str | int, block_seconds: float = 0.0) -> Any:
        topology = self._choice.topology or await self._choice.made()
        line = topology.reader(key) if block_seconds else topology.line(key)
        return await line.execute(*words, block_seconds=block_seconds)

    async def _primaries(self) -> Sequence[Line]:
        return await (await self._choice.made()).primaries()

    def _meaning(self, error: Exception, operation: str) -> BackendError:
        """What an error of the library means to the caller. Leaves the topology that the error says to be another."""
        if isinstance(error, TopologyChanged):
            self._choice.leave()
        return translate(error, operation)

    def _connect(
        self,
        locate: Locate,
        *,
        heard: Callable[[str], None] | None = None,
        check: Check | None = None,
        left: Callable[[], None] | None = None,
    ) -> Wire:
        seconds = self._requests.limits.deadline_seconds
        return Wire(locate, timeout_seconds=seconds, heard=heard, check=check, left=left)

    def _all_were_silent(self, seconds: float) -> None:
        topology = self._choice.topology
        if self._was_silent is not None and topology is not None and not topology.counts_silences:
            self._was_silent(seconds)

    async def _repeat(self, operation: str, attempt: Callable[[], Awaitable[_T]]) -> _T:
        may_have_run = False
        for delay_seconds in (*_RETRY_DELAYS_SECONDS, None):
            try:
                return await self._requests.send(operation, attempt, lambda error: self._meaning(error, operation))
            except BackendError as error:
                may_have_run = error.may_have_run = may_have_run or error.may_have_run
                if delay_seconds is None or not error.retryable:
                    raise
            await asyncio.sleep(delay_seconds)
        raise AssertionError("the last attempt returns or raises")
