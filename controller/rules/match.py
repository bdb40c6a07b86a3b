"""What is true of a Match as a whole. Pure."""

from __future__ import annotations

from controller.api.match import Match
from controller.facts.match import MatchSeen
from controller.facts.observation import Absent, value_of
from controller.rules.readiness import wants_tokens


def session_id(match: Match) -> str:
    """The id of the call: the matchmaker's, or the UID."""
    return match.spec.session_id or match.metadata.uid


def is_over(match: Match, seen: MatchSeen) -> bool:
    """Whether users are settled, room and tokens gone: nothing of the call is left but what carries a TTL."""
    ledger = value_of(seen.ledger)
    tokens_gone = isinstance(seen.tokens, Absent) or not wants_tokens(match)
    return ledger is not None and ledger.settled and isinstance(seen.room, Absent) and tokens_gone
