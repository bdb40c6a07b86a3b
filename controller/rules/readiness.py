"""Whether a Match has what Ready means: a room on LiveKit, its address published to the users, and the tokens. Pure.

`plan.match` makes what is missing, `rules.timeouts` gives up only while something is missing, `status.match` reports
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from controller.api.match import Match
from controller.api.phases import MatchPhase
from controller.facts.time import from_milliseconds
from controller.rules.deadlines import noticed_at, was_removed
from controller.rules.match_look import MatchLook

# Tokens younger than this are as good as new, so a client that asks in a loop does not make us sign in a loop.
_FRESH = timedelta(seconds=5)


def is_ready(look: MatchLook) -> bool:
    """Whether room and tokens are there, as the spec asks."""
    return tokens_are_there(look) and look.livekit_room is not None and is_published(look)


def wants_tokens(match: Match) -> bool:
    """Whether Roomkeeper delivers tokens for this Match."""
    delivery = match.spec.tokens.delivery
    return delivery.to_secret or delivery.to_redis


def tokens_are_there(look: MatchLook) -> bool:
    """Whether tokens for the present room are delivered, signed with the present key, and not due for renewal."""
    if not wants_tokens(look.match):
        return True
    tokens, renewal = look.tokens, renewal_at(look)
    current = tokens is not None and tokens.livekit_name == look.seen.livekit_name
    current = current and not (tokens is not None and _is_elsewhere(tokens.url, look))
    return current and not signed_by_another_key(look) and (renewal is None or look.now < renewal)


def signed_by_another_key(look: MatchLook) -> bool:
    """Whether the tokens were signed with an API key, or with a secret of it, that no longer signs, so that LiveKit may
    soon refuse them."""
    tokens, server = look.tokens, look.seen.server
    if tokens is None:
        return False
    pairs = ((tokens.api_key, server.api_key), (tokens.secret_digest, server.secret_digest))
    return any(bool(signed and signer) and signed != signer for signed, signer in pairs)


def younger_tokens_are_wanted(look: MatchLook) -> bool:
    """Whether a user needs a younger token: the client asked for one, or dropped out of the call and may come back."""
    match, tokens, ledger = look.match, look.tokens, look.ledger
    if tokens is None or not wants_tokens(match):
        return False
    asked_ms = ledger.tokens_asked_at_ms if ledger is not None else None
    asked = from_milliseconds(asked_ms) if asked_ms is not None else None
    dropped = noticed_at(match.status.history) if match.status.phase is MatchPhase.RECONNECTING else None
    wanted = max((moment for moment in (asked, dropped) if moment is not None), default=None)
    issued = tokens.expires_at - timedelta(seconds=match.spec.tokens.ttl_seconds)
    if any(removed >= issued for removed in _removals(look)):
        return True  # however young it is: LiveKit Cloud refuses a token that is older than the removal
    return wanted is not None and wanted >= issued + _FRESH


def _removals(look: MatchLook) -> Iterator[datetime]:
    """When participants who are not in the room were removed from it."""
    for person in look.missing:
        if was_removed(person.detail) and person.since is not None:
            yield person.since


def renewal_at(look: MatchLook) -> datetime | None:
    """When tokens are issued again because they run out: after two thirds of their lifetime.

    None while both participants are in the room: LiveKit keeps a client that is in when its token runs out, and a
    participant who drops out gets a younger one at once.
    """
    if look.tokens is None or not look.missing:
        return None
    return look.tokens.expires_at - timedelta(seconds=look.match.spec.tokens.ttl_seconds / 3)


def is_published(look: MatchLook) -> bool:
    """Whether the users' records name the present room."""
    ledger = look.ledger
    if ledger is None or ledger.phase in {"", MatchPhase.CREATING}:
        return False
    return ledger.room == look.seen.livekit_name and not _is_elsewhere(ledger.url, look)


def _is_elsewhere(url: str, look: MatchLook) -> bool:
    """Whether the users were given another address than that of the server that the room is on now."""
    return bool(url and look.seen.server.url) and url != look.seen.server.url
