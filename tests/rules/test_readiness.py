"""When tokens are issued again although they are young: their owner was removed, or another key signs."""

from __future__ import annotations

import pytest

from controller.act.tokens import next_second
from controller.rules.match_case import MatchCase
from controller.rules.readiness import younger_tokens_are_wanted
from tests import values as b

_ISSUED = 10


def wanted(reason: str, gone: float) -> bool:
    """Whether tokens that were issued at second 10 are too old for bob, who was gone at this second."""
    left = b.event("left", gone, sid="PA_bob", reason=reason)
    alice = b.event("joined", 3, sid="PA_alice")
    seen = b.both_in(
        gone + 0.5,
        people=(b.person("alice"),),
        tokens=b.tokens(_ISSUED + 900),
        ledger=b.ledger("Active", last={"alice": alice, "bob": left}),
    )
    return younger_tokens_are_wanted(MatchCase(b.active(), seen, b.at(gone + 0.5)))


@pytest.mark.parametrize(("gone", "is_wanted"), [(9.9, False), (10, True), (11, True), (60, True)])
def test_who_was_removed_gets_a_token_that_is_younger_than_the_removal(gone: float, is_wanted: bool) -> None:
    """LiveKit Cloud refuses all others."""
    assert wanted("PARTICIPANT_REMOVED", gone) is is_wanted


def test_who_left_keeps_a_token_that_is_as_good_as_new() -> None:
    assert not wanted("CLIENT_INITIATED", 11)


def test_a_token_is_never_older_than_the_moment_at_which_it_was_issued() -> None:
    assert next_second(b.at(3)) == b.at(3)
    assert next_second(b.at(3.001)) == b.at(4)
    assert next_second(b.at(3.999)) == b.at(4)
