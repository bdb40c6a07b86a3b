"""The circuit breaker: when it opens, how probes follow one another, and what closes it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.clients.breaker import RULES, Breaker, BreakerRule, BreakerState, Ticket
from controller.errors import Backend, BackendUnavailable

RULE = BreakerRule(silent_seconds=3.0, longest_pause_seconds=2.0)
CLOSED, HALF_OPEN, OPEN = BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN


def failure(why: str = "no answer") -> BackendUnavailable:
    return BackendUnavailable(Backend.LIVEKIT, "ListRooms", why, code="timeout")


def fail(breaker: Breaker, now: float, ticket: Ticket = Ticket.ORDINARY) -> BreakerState:
    """Let a request fail at once; return the state after it."""
    breaker.failed(failure(), ticket, sent_at=now, now=now)
    return breaker.state


def an_open_breaker(at: float = 3.0) -> Breaker:
    """Return a breaker that opened at this time, after an outage that began at 0."""
    breaker = Breaker(RULE, random.Random(1))
    for now in (0.0, 1.0, at):
        fail(breaker, now)
    assert breaker.state is OPEN
    return breaker


def the_probe(breaker: Breaker, after: float) -> float:
    """Let the next probe through; return its time."""
    now = after
    while breaker.enter(now) is not Ticket.PROBE:
        now += 0.001
    return now


def test_it_opens_when_several_requests_failed_and_none_was_answered_for_some_seconds() -> None:
    breaker = Breaker(RULE)
    assert [fail(breaker, now) for now in (0.0, 1.0, 2.0, 2.9, 3.0)] == [CLOSED, CLOSED, CLOSED, CLOSED, OPEN]


def test_few_failures_open_nothing_however_long_they_take() -> None:
    breaker = Breaker(RULE)
    assert [fail(breaker, now) for now in (0.0, 60.0)] == [CLOSED, CLOSED]


def test_requests_that_hang_count_from_the_moment_at_which_they_were_sent() -> None:
    breaker = Breaker(RULE)
    for _ in range(3):
        breaker.failed(failure(), Ticket.ORDINARY, sent_at=0.0, now=4.0)
    assert (breaker.state, breaker.failing_since) == (OPEN, 0.0)


def test_after_an_answer_the_count_begins_at_its_start() -> None:
    breaker = Breaker(RULE)
    fail(breaker, 0.0)
    fail(breaker, 2.0)
    breaker.answered(2.5)
    assert [fail(breaker, now) for now in (3.0, 4.0, 5.9)] == [CLOSED, CLOSED, CLOSED]
    assert breaker.failing_since == 3.0


def test_a_request_that_hangs_beside_others_that_are_answered_counts_from_the_last_answer() -> None:
    breaker = Breaker(RULE)
    breaker.answered(3.0)
    breaker.failed(failure(), Ticket.ORDINARY, sent_at=0.0, now=4.0)
    assert breaker.failing_since == 3.0
    assert [fail(breaker, now) for now in (4.0, 4.1, 5.9, 6.0)] == [CLOSED, CLOSED, CLOSED, OPEN]


def test_nothing_but_one_probe_at_a_time_passes_an_open_breaker() -> None:
    breaker = an_open_breaker()
    assert breaker.enter(3.0) is None
    now = the_probe(breaker, 3.0)
    assert breaker.state is HALF_OPEN
    assert [breaker.enter(now + seconds) for seconds in (0.0, 1.0, 60.0)] == [None, None, None]


def test_a_probe_that_fails_is_followed_by_a_pause_and_one_that_is_answered_by_everything() -> None:
    breaker = an_open_breaker()
    now = the_probe(breaker, 3.0)
    assert fail(breaker, now, Ticket.PROBE) is OPEN
    assert breaker.enter(now) is None
    the_probe(breaker, now)
    breaker.answered(now)
    assert (breaker.state, breaker.enter(now), breaker.failure) == (CLOSED, Ticket.ORDINARY, None)


def test_a_probe_whose_caller_gave_up_leaves_its_turn_to_the_next_request() -> None:
    breaker = an_open_breaker()
    now = the_probe(breaker, 3.0)
    breaker.abandoned(Ticket.PROBE, now)
    assert breaker.state is OPEN
    assert breaker.enter(now) is Ticket.PROBE


def test_late_failures_of_requests_from_before_do_not_end_a_probe() -> None:
    breaker = an_open_breaker()
    now = the_probe(breaker, 3.0)
    assert fail(breaker, now) is HALF_OPEN
    breaker.abandoned(Ticket.ORDINARY, now)
    assert breaker.state is HALF_OPEN


def test_a_late_answer_to_any_request_closes_it() -> None:
    breaker = an_open_breaker()
    breaker.answered(3.0)
    assert breaker.state is CLOSED


def test_a_probe_that_fails_after_another_request_was_answered_opens_nothing() -> None:
    breaker = an_open_breaker()
    now = the_probe(breaker, 3.0)
    breaker.answered(now)
    assert fail(breaker, now, Ticket.PROBE) is CLOSED


def test_pauses_grow_with_the_outage_within_bounds() -> None:
    breaker, now, pauses = an_open_breaker(), 3.0, []
    while now < 300:
        probed_at = the_probe(breaker, now)
        pauses.append(probed_at - now)
        now = probed_at
        fail(breaker, now, Ticket.PROBE)
    assert 0.1 < pauses[0] < 0.2, "a twentieth of three seconds"
    assert 1.5 <= max(pauses) <= 2.51
    assert len(set(pauses[-10:])) > 5, "replicas must not ask at the same moments"


def test_followers_get_each_new_state_once() -> None:
    breaker = Breaker(RULE, random.Random(1))
    states: list[BreakerState] = []
    unfollow = breaker.follow(states.append)
    for now in (0.0, 1.0, 3.0, 4.0):
        fail(breaker, now)
    now = the_probe(breaker, 4.0)
    fail(breaker, now, Ticket.PROBE)
    the_probe(breaker, now)
    breaker.answered(now)
    breaker.answered(now)
    unfollow()
    for later in (300.0, 301.0, 310.0):
        fail(breaker, later)
    assert states == [OPEN, HALF_OPEN, OPEN, HALF_OPEN, CLOSED]


@given(
    st.lists(st.tuples(st.floats(0.0, 5.0), st.sampled_from(("enter", "fail", "answer", "give up"))), max_size=60),
    st.integers(),
)
def test_whatever_happens_at_most_one_probe_is_under_way(steps: list[tuple[float, str]], seed: int) -> None:
    breaker, now = Breaker(RULE, random.Random(seed)), 0.0
    under_way: list[Ticket] = []
    for seconds, what in steps:
        now += seconds
        if what == "enter":
            ticket = breaker.enter(now)
            under_way += [ticket] if ticket is not None else []
        elif under_way and what == "fail":
            fail(breaker, now, under_way.pop())
        elif under_way and what == "answer":
            under_way.pop()
            breaker.answered(now)
        elif under_way:
            breaker.abandoned(under_way.pop(), now)
        if breaker.state is HALF_OPEN:
            assert Ticket.PROBE in under_way
        assert (breaker.failure is None) == (breaker.failing_since is None)
        assert breaker.is_closed or breaker.failure is not None
    for ticket in under_way:
        breaker.failed(failure(), ticket, sent_at=now, now=now)
    assert breaker.is_closed or breaker.enter(now + 3) is Ticket.PROBE, "no breaker stays open for ever"


@pytest.mark.parametrize("backend", Backend)
def test_each_backend_has_a_rule(backend: Backend) -> None:
    rule = RULES[backend]
    assert rule.failures > 1
    assert 0 < rule.first_pause_seconds < rule.longest_pause_seconds <= rule.silent_seconds
