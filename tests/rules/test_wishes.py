"""Signals and flags end a call like a termination, and some of them replace an earlier cause."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.api.endings import EndReason
from controller.api.match import TerminationAction
from controller.clients.redis.ledger import parse_ledger
from controller.facts.ledger import Wish
from controller.facts.match import MatchSeen
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import names, only

SKIP = Wish(TerminationAction.SKIP, "alice", via="signal", reason="next")


def wished(wish: Wish | None, *, phase: str = "Active", **ledger: Any) -> MatchSeen:
    """Return a call with this wish in its ledger."""
    return b.both_in(ledger=replace(b.ledger(phase, **ledger), wish=wish))


@pytest.mark.parametrize(
    ("wish", "reason", "initiator", "subject", "message"),
    [
        (SKIP, EndReason.SKIPPED, "alice", "alice", "alice skipped to the next person: next"),
        (Wish(TerminationAction.END, "bob", via="signal"), EndReason.ENDED, "bob", "bob", "bob ended the call"),
        (
            Wish(TerminationAction.DISCONNECT, "bob", "moderator", "abuse", "signal"),
            EndReason.DISCONNECTED,
            "moderator",
            "bob",
            "bob was disconnected: abuse",
        ),
        (
            Wish(TerminationAction.DISCONNECT, "bob", via="force-disconnect"),
            EndReason.DISCONNECTED,
            "",
            "bob",
            "bob was disconnected (flag force-disconnect)",
        ),
        (
            Wish(TerminationAction.SKIP, "bob", via="pre-skip"),
            EndReason.SKIPPED,
            "bob",
            "bob",
            "bob skipped to the next person (flag pre-skip)",
        ),
    ],
)
def test_a_signal_or_a_flag_ends_the_match(
    wish: Wish, reason: EndReason, initiator: str, subject: str, message: str
) -> None:
    cause = MatchCase(b.active(), wished(wish), b.at(9)).cause
    assert cause is not None
    assert (cause.reason, cause.initiator, cause.message) == (reason, initiator, message)
    assert cause.subject == {subject}


def test_a_wish_with_an_unknown_word_is_no_wish() -> None:
    known = parse_ledger(b.MATCH_UID, {"wish": wish_as_stored("skip")})
    unknown = parse_ledger(b.MATCH_UID, {"wish": wish_as_stored("dance")})
    assert known is not None
    assert unknown is not None
    assert (known.wish, unknown.wish) == (Wish(TerminationAction.SKIP, "alice", via="signal", at_ms=7), None)


def wish_as_stored(action: str) -> str:
    """Return the field `wish` of a ledger, as the script `signal` writes it."""
    return f'{{"action": "{action}", "user": "alice", "by": "", "reason": "", "via": "signal", "at": 7}}'


def test_a_skip_before_any_user_came_counts_and_leaves_the_other_in_their_place() -> None:
    seen = b.all_made(ledger=replace(b.ledger("Connecting"), wish=SKIP))
    cause = MatchCase(b.connecting(), seen, b.at(4)).cause
    assert cause is not None
    assert [(o.to, o.place) for o in b.releases(b.connecting(), seen, cause)] == [
        ("WAITING", "Now"),
        ("WAITING", "Original"),
    ]


def test_the_termination_in_the_spec_outranks_a_signal() -> None:
    match = b.active(termination={"action": "End", "initiator": "bob"})
    cause = MatchCase(match, wished(SKIP), b.at(9)).cause
    assert cause is not None
    assert cause.reason is EndReason.ENDED


@pytest.mark.parametrize("wish", [SKIP, Wish(TerminationAction.END, "bob")])
def test_a_skip_or_an_end_that_comes_late_replaces_a_departure(wish: Wish) -> None:
    seen = wished(wish, phase="Terminating", recorded="Left", message="bob left")
    action = only(plan_match(MatchCase(b.active(), seen, b.at(9))), a.RecordEnd)
    assert (action.reason, action.replaces) == ({"Skip": "Skipped", "End": "Ended"}[wish.action], "Left")


@pytest.mark.parametrize("action", ["Skip", "End"])
def test_a_termination_that_comes_late_replaces_it_too(action: str) -> None:
    match = b.active(termination={"action": action, "initiator": "alice"})
    seen = wished(None, phase="Terminating", recorded="Left", message="bob left")
    record = only(plan_match(MatchCase(match, seen, b.at(9))), a.RecordEnd)
    assert (record.initiator, record.replaces) == ("alice", "Left")
    assert record.reason == {"Skip": "Skipped", "End": "Ended"}[action]


@pytest.mark.parametrize(
    ("recorded", "wish"),
    [("Left", Wish(TerminationAction.DISCONNECT, "bob")), ("NetworkLost", SKIP), ("Ended", SKIP)],
)
def test_nothing_else_replaces_the_first_cause(recorded: str, wish: Wish) -> None:
    seen = wished(wish, phase="Terminating", recorded=recorded)
    action = only(plan_match(MatchCase(b.active(), seen, b.at(9))), a.Settle)
    assert action.reason == recorded


def test_once_the_users_are_settled_no_wish_counts() -> None:
    seen = replace(b.all_gone(), ledger=wished(SKIP, phase="Terminating", settled="Left").ledger)
    cause = MatchCase(b.active(), seen, b.at(9)).cause
    assert cause is not None
    assert cause.reason is EndReason.LEFT


def test_a_client_that_asks_for_a_token_gets_a_young_one() -> None:
    def seen(asked: float) -> MatchSeen:
        ledger = replace(b.ledger("Active"), tokens_asked_at_ms=b.ms(asked))
        return b.both_in(ledger=ledger, tokens=b.tokens(900))

    assert plan_match(MatchCase(b.active(), seen(4), b.at(9))).actions == ()  # issued at 0: as good as new
    only(plan_match(MatchCase(b.active(), seen(6), b.at(9))), a.IssueTokens)


def test_a_match_without_our_tokens_gets_none_by_asking() -> None:
    match = b.active(tokens={"delivery": "None"})
    ledger = replace(b.ledger("Active"), tokens_asked_at_ms=b.ms(6))
    assert plan_match(MatchCase(match, b.both_in(ledger=ledger, tokens=None), b.at(9))).actions == ()


@pytest.mark.parametrize(
    ("phase", "noticed", "asked", "issued", "again"),
    [
        ("Reconnecting", 10, None, 0, True),
        ("Reconnecting", 10, None, 5, True),
        ("Reconnecting", 10, None, 5.1, False),
        ("Reconnecting", 10, 4, 0, True),
        ("Reconnecting", 4, 10, 0, True),
        ("Active", 10, None, 0, False),
    ],
)
def test_a_participant_who_drops_out_gets_a_young_token_to_come_back_with(
    phase: str, noticed: float, asked: float | None, issued: float, again: bool
) -> None:
    match = b.active(status={"phase": phase, "history": [{"phase": "Reconnecting", "time": b.at(noticed)}]})
    ledger = replace(b.ledger("Active"), tokens_asked_at_ms=None if asked is None else b.ms(asked))
    plan = plan_match(MatchCase(match, b.both_in(11, ledger=ledger, tokens=b.tokens(issued + 900)), b.at(11)))
    assert ("IssueTokens" in names(plan)) is again
