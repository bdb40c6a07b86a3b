"""What the log and the gauge say about a backend that cannot be used, and why."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
import time_machine
from prometheus_client import REGISTRY
from redis import exceptions

from controller.clients.availability import ANSWERS, ANSWERS_AGAIN, REFUSES, SILENT
from controller.clients.certificates import TlsCode
from controller.clients.outage_reasons import OutageReason, reason_of, refuses_all
from controller.clients.request import Requests
from controller.errors import (
    Backend,
    BackendError,
    BackendUnavailable,
    Code,
    Forbidden,
    NotFound,
    Overloaded,
    Untrusted,
)

ADDRESS, SENTENCE, SERVER = "http://livekit:7880", "no answer from LiveKit", "eu-1"


class LibraryError(Exception):
    """An exception that a library raises."""


def unavailable(_error: Exception) -> BackendError:
    return BackendUnavailable(Backend.LIVEKIT, "Sing", SENTENCE, code=Code.TIMEOUT)


def refused(_error: Exception) -> BackendError:
    return Forbidden(Backend.LIVEKIT, "Sing", "LiveKit refused our API key", code="401")


def absent(_error: Exception) -> BackendError:
    return NotFound(Backend.LIVEKIT, "Sing", "no such room", code="404")


class World:
    """A client of LiveKit; `logs` has what it says from `info` on."""

    def __init__(self, clock: time_machine.Coordinates, logs: Any, *, is_clock_wrong: bool = False) -> None:
        self.clock = clock
        self._logs = logs
        self.asked_for_the_clock = 0
        self._is_clock_wrong = is_clock_wrong
        self.requests = Requests(
            Backend.LIVEKIT, (LibraryError,), server=SERVER, is_clock_wrong=self._ask_for_the_clock
        )

    async def _ask_for_the_clock(self) -> bool:
        self.asked_for_the_clock += 1
        return self._is_clock_wrong

    async def answer(self) -> None:
        """One request is answered."""

        async def attempt() -> None:
            pass

        await self.requests.send("Sing", attempt, unavailable)

    async def fail(
        self, meaning: Callable[[Exception], BackendError] = unavailable, times: int = 1, operation: str = "Sing"
    ) -> BackendError:
        """One request a second fails."""

        async def attempt() -> None:
            raise LibraryError

        for _ in range(times):
            with pytest.raises(BackendError) as caught:
                await self.requests.send(operation, attempt, meaning)
            self.clock.shift(1)
        return caught.value

    @property
    def said(self) -> list[tuple[str, str, str]]:
        """Level, event and reason of each line."""
        return [
            (line["log_level"], line["event"], line.get("reason", ""))
            for line in self._logs
            if line["log_level"] != "debug"
        ]

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [line for line in self._logs if line["log_level"] != "debug"]

    @property
    def gauge(self) -> float | None:
        labels = {"backend": "LiveKit", "server": SERVER}
        return REGISTRY.get_sample_value("roomkeeper_backend_up", labels)


Scene = Callable[[World], Awaitable[None]]


async def play(scene: Scene, **options: bool) -> World:
    with time_machine.travel(0, tick=False) as clock, structlog.testing.capture_logs() as logs:
        world = World(clock, logs, **options)
        assert world.gauge is None, "nothing is known before the first request"
        try:
            await scene(world)
        finally:
            world.requests.close()
        assert world.gauge is None
    return world


async def test_an_outage_is_one_line_and_its_end_is_one_with_its_length() -> None:
    async def scene(world: World) -> None:
        await world.answer()
        assert world.gauge == 1
        await world.fail(times=4)
        assert world.gauge == 0
        for _ in range(3):
            world.clock.shift(10)
            await world.fail()
        world.clock.shift(10)
        await world.answer()
        assert world.gauge == 1

    world = await play(scene)
    assert world.said == [("warning", SILENT, "timeout"), ("info", ANSWERS_AGAIN, "timeout")]
    for line in world.lines:
        assert (line["backend"], line["server"], line["why"]) == ("LiveKit", SERVER, SENTENCE)
    assert world.lines[1]["away_seconds"] == 47.0


async def test_a_request_that_fails_while_others_are_answered_is_told_when_they_are() -> None:
    async def scene(world: World) -> None:
        await world.answer()
        await world.fail()
        assert world.said == []
        await world.fail(absent)  # a refusal is an answer too
        assert (world.said, world.gauge) == ([("warning", "a request failed", "")], 1)

    await play(scene)


async def test_what_fails_in_an_outage_is_not_told_a_second_time_at_its_end() -> None:
    async def scene(world: World) -> None:
        await world.answer()
        await world.fail(times=2, operation="Dance")
        await world.fail(times=3)
        world.clock.shift(60)
        error = await world.fail()
        assert error.is_told
        world.clock.shift(10)
        await world.answer()

    assert [event for _, event, _ in (await play(scene)).said] == [SILENT, ANSWERS_AGAIN]


async def test_where_each_backend_is_and_whether_it_answers_is_told_at_the_start() -> None:
    async def version() -> str:
        return "1.9.0"

    async def that_answers(world: World) -> None:
        world.requests.availability.introduce(ADDRESS, version)
        await world.answer()
        await world.answer()
        await asyncio.sleep(0)

    [line] = (await play(that_answers)).lines
    assert (line["event"], line["address"], line["version"]) == (ANSWERS, ADDRESS, "1.9.0")

    async def that_is_away(world: World) -> None:
        world.requests.availability.introduce(ADDRESS, version)
        await world.fail()
        assert world.gauge == 0
        await world.fail(times=9)
        await world.answer()
        await asyncio.sleep(0)

    away, again = (await play(that_is_away)).lines
    assert (away["event"], away["address"], away["reason"]) == (SILENT, ADDRESS, "timeout")
    assert (again["event"], again["version"], again["away_seconds"]) == (ANSWERS_AGAIN, "1.9.0", 10.0)


@pytest.mark.parametrize("raised", [None, unavailable(LibraryError())])
async def test_a_version_that_is_not_told_leaves_the_line_without_it(raised: BackendError | None) -> None:
    async def version() -> str:
        if raised is not None:
            raise raised
        await asyncio.Event().wait()
        return ""

    async def scene(world: World) -> None:
        world.requests.availability.introduce(ADDRESS, version)
        await world.answer()
        await asyncio.sleep(0)

    [line] = (await play(scene)).lines
    assert (line["event"], "version" in line) == (ANSWERS, False)


async def test_a_version_that_makes_no_sense_is_told_and_does_not_keep_the_line_back() -> None:
    async def version() -> str:
        raise AttributeError("no version")

    async def scene(world: World) -> None:
        world.requests.availability.introduce(ADDRESS, version)
        await world.answer()
        await asyncio.sleep(0)

    odd, line = (await play(scene)).lines
    assert (odd["event"], odd["exc_info"]) == ("the version of a backend cannot be understood", True)
    assert (line["event"], "version" in line) == (ANSWERS, False)


async def test_a_backend_that_refuses_our_credentials_is_down_at_once_and_told_once() -> None:
    async def scene(world: World) -> None:
        await world.answer()
        error = await world.fail(refused, times=50)
        assert (world.gauge, error.is_told, world.asked_for_the_clock) == (0, True, 1)
        await world.answer()
        assert world.gauge == 1

    assert (await play(scene)).said == [
        ("warning", REFUSES, "refused key"),
        ("info", ANSWERS_AGAIN, "refused key"),
    ]


async def test_a_clock_that_is_wrong_is_named_instead_of_the_key() -> None:
    async def scene(world: World) -> None:
        await world.fail(refused, times=2)

    assert (await play(scene, is_clock_wrong=True)).said == [("warning", REFUSES, "clock")]


async def test_an_outage_that_becomes_a_refusal_says_so_and_is_one_outage() -> None:
    async def scene(world: World) -> None:
        await world.answer()
        await world.fail(times=5)
        await world.fail(refused, times=5)
        await world.answer()

    world = await play(scene)
    assert [event for _, event, _ in world.said] == [SILENT, REFUSES, ANSWERS_AGAIN]
    assert world.lines[-1]["away_seconds"] == 10.0


async def test_a_backend_that_comes_and_goes_does_not_fill_the_log() -> None:
    async def scene(world: World) -> None:
        for _ in range(9):
            await world.fail(refused)
            await world.answer()
        assert [event for _, event, _ in world.said] == [REFUSES, ANSWERS_AGAIN] * 3
        world.clock.shift(60)
        await world.fail(refused)

    assert (await play(scene)).lines[-1]["unlogged"] == 6


def of(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


LOST = BackendUnavailable(Backend.REDIS, "GET", "the connection failed", code=Code.UNREACHABLE)


@pytest.mark.parametrize(
    ("error", "failure", "reason"),
    [
        (of(exceptions.ConnectionError(), ConnectionRefusedError(111, "no")), LOST, "refused connection"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] …"), LOST, "refused connection"),
        (of(exceptions.ConnectionError(), socket.gaierror(-2, "Name or service not known")), LOST, "DNS"),
        (of(exceptions.ConnectionError(), ssl.SSLCertVerificationError("expired")), LOST, "certificate"),
        (exceptions.ConnectionError("lost"), LOST, "connection"),
        (TimeoutError(), unavailable(LibraryError()), "timeout"),
        (LibraryError(), refused(LibraryError()), "refused key"),
        (LibraryError(), Untrusted(Backend.LIVEKIT, "Sing", "", code=TlsCode.EXPIRED), "certificate"),
        (LibraryError(), Untrusted(Backend.LIVEKIT, "Sing", "", code=TlsCode.NO_TLS), "TLS"),
        (LibraryError(), Overloaded(Backend.LIVEKIT, "Sing", "", code="503"), "not now"),
        (LibraryError(), BackendUnavailable(Backend.REDIS, "GET", "", code="LOADING"), "not now"),
        (LibraryError(), BackendUnavailable(Backend.LIVEKIT, "Sing", "", code=Code.MALFORMED), "wrong address"),
    ],
)
def test_the_reason_is_one_word_for_what_went_wrong(error: BaseException, failure: BackendError, reason: str) -> None:
    assert reason_of(error, failure) == OutageReason(reason)


@pytest.mark.parametrize(
    ("backend", "failure", "expected"),
    [
        (Backend.KUBERNETES, Forbidden("", "", "", code="401"), True),
        (Backend.KUBERNETES, Forbidden("", "", "", code="403"), False),
        (Backend.REDIS, Forbidden("", "", "", code="WRONGPASS"), True),
        (Backend.REDIS, Forbidden("", "", "", code="NOPERM"), False),
        (Backend.LIVEKIT, absent(LibraryError()), False),
    ],
)
def test_a_right_that_is_missing_says_nothing_about_other_requests(
    backend: Backend, failure: BackendError, expected: bool
) -> None:
    assert refuses_all(backend, failure) is expected
