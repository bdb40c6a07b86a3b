"""The server's time from `Date` headers: every answer makes it more precise, without this machine's wall clock."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import clock as clock_module
from controller.clock import ServerClock
from controller.facts.time import from_milliseconds, milliseconds
from tests import values as b

EPOCH = 1_800_000_000.0


def header(server_seconds: float) -> str:
    """Return the `Date` of an answer that the server sent at this time, truncated to the second."""
    return format_datetime(datetime.fromtimestamp(int(server_seconds), UTC), usegmt=True)


class Machine:
    """The clocks of this machine: `monotonic` runs, and the wall clock is wrong by a day."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
        self.monotonic = 500.0
        fake = SimpleNamespace(monotonic=lambda: self.monotonic, time=lambda: EPOCH + 86_400)
        if monkeypatch is not None:
            monkeypatch.setattr(clock_module, "time", fake)
        self.clock = ServerClock()

    def answer(self, server_seconds: float, *, sent: float, received: float) -> None:
        """Feed an answer that the server sent at this time of its own clock."""
        self.clock.observe(header(server_seconds), sent, received)

    def error_seconds(self, offset: float) -> float:
        """Return how wrong `now` is if the server's clock is `offset` ahead of our monotonic clock."""
        return self.clock.now().timestamp() - (self.monotonic + offset)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_the_first_answer_is_right_within_half_a_second_whatever_the_wall_clock_says(machine: Machine) -> None:
    machine.answer(EPOCH + 0.7, sent=499.99, received=500.0)
    assert abs(machine.error_seconds(EPOCH + 0.7 - 500.0)) <= 0.51


def test_time_goes_on_with_the_monotonic_clock(machine: Machine) -> None:
    machine.answer(EPOCH, sent=500.0, received=500.0)
    before = machine.clock.now()
    machine.monotonic += 12.5
    assert (machine.clock.now() - before).total_seconds() == pytest.approx(12.5)


def test_answers_around_the_turn_of_a_second_narrow_it_to_milliseconds(machine: Machine) -> None:
    offset = EPOCH + 0.25 - 500.0
    for sent in (500.0, 500.745, 500.755, 501.3):
        machine.answer(sent + offset + 0.001, sent=sent, received=sent + 0.002)
    assert abs(machine.error_seconds(offset)) < 0.01


@pytest.mark.parametrize("step", [-600.0, 600.0, 3600.0])
def test_the_clock_follows_a_server_whose_clock_is_set(machine: Machine, step: float) -> None:
    for sent in (500.0, 500.5, 501.0):
        machine.answer(EPOCH + sent, sent=sent, received=sent)
    machine.answer(EPOCH + step + 502.0, sent=502.0, received=502.0)
    assert abs(machine.error_seconds(EPOCH + step)) <= 0.51


@pytest.mark.parametrize("step", [-600.0, 600.0])
def test_a_step_is_reported_once_with_its_size(machine: Machine, step: float) -> None:
    steps: list[tuple[float, float]] = []
    machine.clock.follow(lambda seconds: steps.append((seconds, machine.error_seconds(EPOCH + step))))
    for sent in (500.0, 500.5, 501.0):
        machine.answer(EPOCH + sent, sent=sent, received=sent)
    for sent in (502.0, 502.5, 503.0):
        machine.answer(EPOCH + step + sent, sent=sent, received=sent)
    ((seconds, error),) = steps
    assert abs(seconds - step) < 1.1
    assert abs(error) < 0.51


def test_time_never_goes_back_while_it_becomes_more_precise(machine: Machine) -> None:
    told = []
    for sent in (500.0, 500.2, 500.5, 500.94):
        machine.monotonic = sent
        machine.answer(EPOCH + 0.05 + sent, sent=sent, received=sent)
        told.append(machine.clock.now())
    assert told == sorted(told)
    machine.monotonic += 1
    assert abs(machine.error_seconds(EPOCH + 0.05)) < 0.5


def test_api_servers_that_differ_by_seconds_are_no_step(machine: Machine) -> None:
    machine.clock.follow(lambda seconds: pytest.fail(f"a step of {seconds} s"))
    for sent, ahead in ((500.0, 0.0), (501.0, 4.0), (502.0, 0.0), (503.0, -4.0)):
        machine.answer(EPOCH + sent + ahead, sent=sent, received=sent)


@pytest.mark.parametrize("ahead", [11.5, 59.0])
def test_api_servers_that_take_turns_with_clocks_apart_are_no_steps(machine: Machine, ahead: float) -> None:
    machine.clock.follow(lambda seconds: pytest.fail(f"a step of {seconds} s"))
    for number in range(400):
        machine.monotonic = sent = 500.0 + number * 0.5
        machine.answer(EPOCH + sent + (ahead if number % 2 else 0.0), sent=sent, received=sent)
        assert abs(machine.error_seconds(EPOCH)) <= 0.51, "the clock follows the first"


@pytest.mark.parametrize("ahead", [90.0, -3600.0])
def test_api_servers_that_take_turns_with_clocks_far_apart_are_two_steps_and_no_more(
    machine: Machine, ahead: float
) -> None:
    steps: list[float] = []
    machine.clock.follow(steps.append)
    for number in range(400):
        machine.monotonic = sent = 500.0 + number * 0.5
        machine.answer(EPOCH + sent + (ahead if number % 2 else 0.0), sent=sent, received=sent)
    assert len(steps) == 2


@pytest.mark.parametrize("step", [-30.0, -3.0, 3.0, 11.5])
def test_a_small_step_is_believed_when_no_answer_has_contradicted_it_for_half_a_minute(
    machine: Machine, step: float
) -> None:
    steps: list[float] = []
    machine.clock.follow(steps.append)
    for number in range(80):
        machine.monotonic = sent = 500.0 + number * 0.5
        machine.answer(EPOCH + 0.2 + sent + (step if number >= 10 else 0.0), sent=sent, received=sent)
        if number == 60:
            assert not steps
    machine.monotonic += 10
    assert abs(machine.error_seconds(EPOCH + 0.2 + step)) <= 0.51
    assert len(steps) == (abs(step) > 10)


@pytest.mark.parametrize("text", ["", "yesterday", "Sat, 99 Foo 2026 10:00:00 GMT"])
def test_a_header_that_is_no_date_changes_nothing(machine: Machine, text: str) -> None:
    machine.answer(EPOCH, sent=500.0, received=500.0)
    before = machine.clock.now()
    machine.clock.observe(text, 501.0, 501.0)
    assert machine.clock.now() == before


_ANSWERS = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 0.2), st.floats(0, 1)), min_size=1, max_size=25)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(answers=_ANSWERS, offset=st.floats(EPOCH, EPOCH + 10))
def test_the_true_time_is_always_within_what_is_known(answers: list[tuple[float, float, float]], offset: float) -> None:
    clock, now, errors = ServerClock(), 500.0, []
    for pause, round_trip, share in answers:
        sent = now + pause
        now = sent + round_trip
        clock.observe(header(sent + round_trip * share + offset), sent, now)
        estimate = (clock._low + clock._high) / 2
        assert clock._low - 1e-4 <= offset <= clock._high + 1e-4
        errors.append((clock._high - clock._low) / 2)
        assert abs(estimate - offset) <= errors[-1] + 1e-4
    widened = max((after - before for before, after in pairwise(errors)), default=0.0)
    assert widened <= 6 * 200e-6, "an answer never widens what is known by more than the clocks drift between two"


@settings(max_examples=50, deadline=None, derandomize=True)
@given(value=st.integers(0, 4_000_000_000_000))
def test_milliseconds_read_back_the_same(value: int) -> None:
    assert milliseconds(from_milliseconds(value)) == value


def test_milliseconds_are_those_of_the_epoch() -> None:
    assert b.ms(0.25) - b.ms(0) == 250
    assert from_milliseconds(0) == datetime(1970, 1, 1, tzinfo=UTC)
