"""The place that every request passes: what it limits, counts, raises and logs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import structlog
import time_machine
from prometheus_client import REGISTRY

from controller.clients.breaker import BreakerState
from controller.clients.request import LIMITS, Limits, Requests
from controller.errors import Backend, BackendError, BackendUnavailable, NotFound
from tests.clients.counting import counted_since, errors_counted, requests_counted

SHORT = Limits(deadline_seconds=0.02, slow_seconds=0.01)
SECRET = "canary-c0ffee"


class LibraryError(Exception):
    """An exception that a library raises."""


def unavailable(error: Exception) -> BackendError:
    code = "timeout" if isinstance(error, TimeoutError) else "503"
    return BackendUnavailable(Backend.LIVEKIT, "Sing", SECRET, code=code)


def absent(_error: Exception) -> BackendError:
    return NotFound(Backend.LIVEKIT, "Sing", SECRET, code="404")


def some_requests(limits: Limits | None = None, *, transport_keeps_deadline: bool = False) -> Requests:
    raised = (LibraryError, TimeoutError)
    return Requests(Backend.LIVEKIT, raised, limits=limits, transport_keeps_deadline=transport_keeps_deadline)


def that_raises(error: Exception) -> Callable[[], Awaitable[str]]:
    async def attempt() -> str:
        raise error

    return attempt


async def a_song() -> str:
    return "la"


async def test_an_answer_comes_back_and_is_counted_once() -> None:
    before = requests_counted("LiveKit")
    assert await some_requests().send("Sing", a_song, unavailable) == "la"
    assert counted_since(before, "LiveKit") == {"Sing": 1}


async def test_an_outage_is_reported_at_the_first_answer_after_it_with_its_length() -> None:
    lengths: list[float] = []
    with time_machine.travel(0, tick=False) as time:
        requests = Requests(Backend.LIVEKIT, (LibraryError, TimeoutError), was_silent=lengths.append)
        for raised, told in ((absent, []), (unavailable, []), (unavailable, []), (None, [24.0]), (None, [24.0])):
            if raised is None:
                await requests.send("Sing", a_song, unavailable)
            else:
                with pytest.raises(BackendError):
                    await requests.send("Sing", that_raises(LibraryError()), raised)
            assert lengths == told
            time.shift(12)


async def test_an_error_of_the_library_is_translated_counted_and_left_behind() -> None:
    before, errors = requests_counted("LiveKit"), errors_counted("LiveKit", "Sing", "503")
    with pytest.raises(BackendUnavailable) as caught:
        await some_requests().send("Sing", that_raises(LibraryError(SECRET)), unavailable)
    assert caught.value.__suppress_context__, "the library's text can hold a token"
    assert counted_since(before, "LiveKit") == {"Sing": 1}
    assert errors_counted("LiveKit", "Sing", "503") == errors + 1


async def test_an_error_that_is_a_bug_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await some_requests().send("Sing", that_raises(ZeroDivisionError()), unavailable)


async def test_a_request_ends_at_its_deadline() -> None:
    errors = errors_counted("LiveKit", "Sing", "timeout")
    with pytest.raises(BackendUnavailable):
        await some_requests(SHORT).send("Sing", asyncio.Event().wait, unavailable)
    assert errors_counted("LiveKit", "Sing", "timeout") == errors + 1


async def test_a_transport_that_keeps_the_deadline_is_left_alone() -> None:
    async def longer_than_the_deadline() -> str:
        await asyncio.sleep(2 * SHORT.deadline_seconds)
        return "at last"

    requests = some_requests(SHORT, transport_keeps_deadline=True)
    assert await requests.send("Sing", longer_than_the_deadline, unavailable) == "at last"


async def test_a_request_that_its_caller_cancels_is_not_counted() -> None:
    before = requests_counted("LiveKit")
    sending = asyncio.create_task(some_requests().send("Sing", asyncio.Event().wait, unavailable))
    await asyncio.sleep(0)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert counted_since(before, "LiveKit") == {}


async def test_failures_are_logged_once_a_minute_per_code_without_the_message() -> None:
    requests = some_requests()
    with time_machine.travel(0, tick=False) as clock, structlog.testing.capture_logs() as logs:
        for after_seconds in (0, 1, 1, 61):
            clock.shift(after_seconds)
            with pytest.raises(BackendUnavailable):
                await requests.send("Sing", that_raises(LibraryError(SECRET)), unavailable)
            await requests.send("Sing", a_song, unavailable)
    told = {"event": "a request failed", "backend": "LiveKit", "operation": "Sing", "code": "503", "seconds": 0.0}
    assert [entry for entry in logs if entry["event"] == told["event"]] == [
        {**told, "unlogged": 0, "log_level": "warning"},
        {**told, "unlogged": 2, "log_level": "warning"},
    ]


async def test_a_refusal_is_for_its_caller_to_judge_and_only_a_debug_line() -> None:
    with structlog.testing.capture_logs() as logs, pytest.raises(NotFound):
        await some_requests().send("Sing", that_raises(LibraryError(SECRET)), absent)
    assert [(entry["log_level"], entry["code"]) for entry in logs] == [("debug", "404")]
    assert SECRET not in str(logs)


@pytest.mark.parametrize(
    ("takes_seconds", "waits_seconds", "events"),
    [
        (0.9, 0.0, []),
        (1.1, 0.0, ["a request was slow"]),
        (5.9, 5.0, []),
        (6.1, 5.0, ["a request was slow"]),
    ],
)
async def test_a_slow_answer_is_logged_unless_the_backend_was_asked_to_wait(
    takes_seconds: float, waits_seconds: float, events: list[str]
) -> None:
    with time_machine.travel(0, tick=False) as clock, structlog.testing.capture_logs() as logs:

        async def attempt() -> None:
            clock.shift(takes_seconds)

        await some_requests(transport_keeps_deadline=True).send(
            "Sing", attempt, unavailable, waits_seconds=waits_seconds
        )
    assert [entry["event"] for entry in logs] == events


async def an_outage(requests: Requests, clock: time_machine.Coordinates) -> None:
    """Let requests fail until none is sent any longer."""
    for _ in range(4):
        with pytest.raises(BackendUnavailable):
            await requests.send("Sing", that_raises(LibraryError()), unavailable)
        clock.shift(1)
    assert not requests.breaker.is_closed


async def test_a_request_is_not_sent_while_the_breaker_is_open_and_fails_as_those_before_did() -> None:
    requests = some_requests()
    with time_machine.travel(0, tick=False) as clock:
        await an_outage(requests, clock)
        clock.shift(-0.99)
        before = requests_counted("LiveKit")
        with pytest.raises(BackendUnavailable) as caught:
            await requests.send("Dance", a_song, unavailable)
    assert counted_since(before, "LiveKit") == {}
    error = caught.value
    assert (error.operation, error.code, error.message, error.was_sent) == ("Dance", "503", SECRET, False)
    assert not error.may_have_run


async def test_a_probe_that_is_answered_lets_all_requests_through_again() -> None:
    requests = some_requests()
    with time_machine.travel(0, tick=False) as clock:
        await an_outage(requests, clock)
        clock.shift(1)
        assert await requests.send("Sing", a_song, unavailable) == "la"
    assert requests.breaker.is_closed


async def test_a_refusal_is_an_answer_too() -> None:
    requests = some_requests()
    with time_machine.travel(0, tick=False) as clock:
        await an_outage(requests, clock)
        clock.shift(1)
        with pytest.raises(NotFound):
            await requests.send("Sing", that_raises(LibraryError()), absent)
    assert requests.breaker.is_closed


async def test_a_failure_that_concerns_one_request_is_an_answer_too() -> None:
    requests = Requests(Backend.LIVEKIT, (LibraryError, TimeoutError), answers=frozenset({"503"}))
    with time_machine.travel(0, tick=False) as clock:
        for _ in range(10):
            with pytest.raises(BackendUnavailable):
                await requests.send("Sing", that_raises(LibraryError()), unavailable)
            clock.shift(1)
    assert requests.breaker.is_closed


async def test_a_probe_that_its_caller_cancels_leaves_its_turn_to_the_next_request() -> None:
    requests = some_requests()
    with time_machine.travel(0, tick=False) as clock:
        await an_outage(requests, clock)
        clock.shift(1)
        probe = asyncio.create_task(requests.send("Sing", asyncio.Event().wait, unavailable))
        await asyncio.sleep(0)
        assert requests.breaker.state is BreakerState.HALF_OPEN
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        assert await requests.send("Sing", a_song, unavailable) == "la"


async def test_a_request_that_waits_at_the_backend_is_no_probe() -> None:
    requests = some_requests()
    with time_machine.travel(0, tick=False) as clock:
        await an_outage(requests, clock)
        clock.shift(1)
        with pytest.raises(BackendUnavailable):
            await requests.send("Sing", a_song, unavailable, waits_seconds=1.0)
        assert await requests.send("Sing", a_song, unavailable) == "la"


async def test_an_essential_request_is_sent_all_the_same_and_its_answer_counts() -> None:
    requests = some_requests()
    with time_machine.travel(0, tick=False) as clock:
        await an_outage(requests, clock)
        clock.shift(-0.99)
        assert await requests.send("Sing", a_song, unavailable, is_essential=True) == "la"
    assert requests.breaker.is_closed


async def test_a_client_that_is_gone_leaves_no_state_of_its_breaker_in_the_metrics() -> None:
    requests = Requests(Backend.LIVEKIT, (LibraryError, TimeoutError), server="gone")
    labels = {"backend": "LiveKit", "server": "gone"}
    with time_machine.travel(0, tick=False) as clock:
        await an_outage(requests, clock)
        assert REGISTRY.get_sample_value("roomkeeper_breaker_state", labels) == 2
        requests.close()
        assert REGISTRY.get_sample_value("roomkeeper_breaker_state", labels) is None
        clock.shift(10)
        assert await requests.send("Sing", a_song, unavailable) == "la"
    assert REGISTRY.get_sample_value("roomkeeper_breaker_state", labels) is None
    assert REGISTRY.get_sample_value("roomkeeper_breaker_opened_total", labels) == 1


def test_a_request_counts_as_slow_before_it_is_given_up() -> None:
    assert set(LIMITS) == set(Backend)
    assert all(0 < limits.slow_seconds < limits.deadline_seconds for limits in LIMITS.values())
