"""Observations and short readings of a status that the tests of this directory share."""

from __future__ import annotations

from controller.api.endings import EndCode
from controller.api.failures import ErrorType, LastError, Recovery, Severity
from controller.api.match import Match, MatchStatus
from controller.facts.match import MatchSeen, Refusal
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from tests import values as b

END = {"action": "End", "initiator": "alice"}
BUSY = Refusal(EndCode.USER_BUSY, "bob", "calls/other")
ENDING = Refusal(EndCode.USER_BUSY, "bob", "calls/other", holder_is_ending=True)
ENDED = b.OVER | {
    "ended_at": b.at(60),
    "end": {"reason": "Ended", "initiator": "alice", "message": "over"},
}
ALICE = (b.person("alice"),)
OUTAGE = LastError(
    type=ErrorType.LIVEKIT, severity=Severity.MEDIUM, recovery=Recovery.RETRY, message="no answer", at=b.at(2)
)

FAILED_BEFORE = {
    "last_error": OUTAGE,
    "conditions": [
        {
            "type": "Degraded",
            "status": "False",
            "reason": "Retrying",
            "message": "no answer; it is tried again until it succeeds",
            "last_transition_time": b.at(2),
        }
    ],
}
"""What the status says after the first failure."""


def status_of(match: Match, seen: MatchSeen, seconds: float = 4, error: LastError | None = None) -> MatchStatus:
    """Return the status at that second."""
    return match_status(MatchCase(match, seen, b.at(seconds)), error)


def condition(status: MatchStatus, type_: str) -> tuple[str, str, str]:
    """Return status, reason and message of one condition."""
    found = next(condition for condition in status.conditions if condition.type == type_)
    return str(found.status), found.reason, found.message


def both_gone(seconds: float, alice: str, bob: str) -> MatchSeen:
    """Return a call in which both have dropped out, alice at second 6 and bob at second 7."""
    last = {"alice": b.event("left", 6, reason=alice), "bob": b.event("left", 7, reason=bob)}
    return b.both_in(seconds, people=(), ledger=b.ledger("Active", last=last))
