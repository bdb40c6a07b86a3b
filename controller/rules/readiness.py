"""Whether a Match has what Ready means: a room on LiveKit, its address published to the users, tokens as asked. Pure.

`plan.match` makes what is missing, `rules.endings` gives up only while something is, `status.match` reports it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from controller.api.match import Match
from controller.api.phases import MatchPhase
from controller.facts.match import MatchSeen, TokensFacts
from controller.facts.observation import Present, value_of
from controller.facts.time import from_milliseconds
from controller.rules.deadlines import noticed_at

# Tokens so young are as good as new: whoever asks in a loop does not make us sign in one.
_FRESH = timedelta(seconds=5)


def is_ready(match: Match, seen: MatchSeen, now: datetime) -> bool:
    """Whether room and tokens are there, as asked."""
    return tokens_are_there(match, seen, now) and isinstance(seen.livekit_room, Present) and is_published(seen)


def wants_tokens(match: Match) -> bool:
    """Whether tokens are to be delivered at all."""
    delivery = match.spec.tokens.delivery
    return delivery.to_secret or delivery.to_redis


def tokens_are_there(match: Match, seen: MatchSeen, now: datetime) -> bool:
    """Whether tokens for the present room are delivered and not due for renewal."""
    if not wants_tokens(match):
        return True
    tokens = value_of(seen.tokens)
    return tokens is not None and tokens.livekit_name == seen.livekit_name and now < renewal_at(match, tokens)


def tokens_are_wanted_anew(match: Match, seen: MatchSeen) -> bool:
    """Whether somebody needs a younger token: their client asked for one, or they dropped out and may come back."""
    tokens, ledger = value_of(seen.tokens), value_of(seen.ledger)
    if tokens is None or not wants_tokens(match):
        return False
    asked_ms = ledger.tokens_asked_at_ms if ledger is not None else None
    asked = from_milliseconds(asked_ms) if asked_ms is not None else None
    dropped = noticed_at(match.status.history) if match.status.phase is MatchPhase.RECONNECTING else None
    wanted = max((moment for moment in (asked, dropped) if moment is not None), default=None)
    issued = tokens.expires_at - timedelta(seconds=match.spec.tokens.ttl_seconds)
    return wanted is not None and wanted >= issued + _FRESH


def renewal_at(match: Match, tokens: TokensFacts) -> datetime:
    """Tokens are issued anew at two thirds of their time, so that a page reloaded late still gets in."""
    return tokens.expires_at - timedelta(seconds=match.spec.tokens.ttl_seconds / 3)


def is_published(seen: MatchSeen) -> bool:
    """Whether the users' records name the present room."""
    ledger = value_of(seen.ledger)
    return ledger is not None and ledger.phase not in {"", MatchPhase.CREATING} and ledger.room == seen.livekit_name
