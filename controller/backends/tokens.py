"""Which tokens this process has delivered. Neighbors: `act.tokens` reports them, `observe.match` asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from controller.api.match import Match
from controller.api.meta import HasMetadata
from controller.clock import Clock
from controller.facts.match import TokensFacts
from controller.facts.observation import Absent, Observation, Present, Unknown


class IssuedTokens:
    """The tokens that this process delivered or revoked, by UID of a Match that `exists`.

    The operator may write Secrets but not read them, so it has to remember this; `triggers.tokens` finds out when
    another client deletes them. What it does not know after a restart, it does again: both operations are idempotent.
    """

    def __init__(self, clock: Clock, exists: Callable[[str], bool]) -> None:
        self._clock = clock
        self._exists = exists
        self._known: dict[str, Observation[TokensFacts]] = {}
        self._refusals: dict[str, str] = {}

    def get(self, uid: str) -> Observation[TokensFacts] | None:
        """The latest delivery or revocation for the Match `uid`, or None if this process knows of none."""
        return self._known.get(uid)

    def delivered(self, uid: str, tokens: TokensFacts, at: datetime) -> None:
        """Store that the tokens were delivered."""
        self._keep(uid, Present(tokens, at))
        self._refusals.pop(uid, None)

    def refused(self, uid: str, why: str) -> None:
        """Store that a delivery was refused. What was delivered before stays."""
        if self._exists(uid):
            self._refusals[uid] = why

    def refusal(self, uid: str) -> str:
        """Why the latest delivery was refused; empty if it was not."""
        return self._refusals.get(uid, "")

    def lost(self, uid: str, why: str) -> None:
        """Store that another client has deleted the tokens: they are delivered again."""
        self._keep(uid, Unknown(self._clock.now(), why))

    def revoked(self, uid: str, at: datetime) -> None:
        """Store that the tokens were deleted everywhere."""
        self._keep(uid, Absent(at))
        self._refusals.pop(uid, None)

    def match_restored(self, match: Match) -> None:
        """Redis lost its data, and the Match was claimed again: tokens that were in Redis are no longer there."""
        if match.spec.tokens.delivery.to_redis:
            why = "Redis lost its data; tokens are delivered again"
            self._keep(match.metadata.uid, Unknown(self._clock.now(), why))

    def _keep(self, uid: str, tokens: Observation[TokensFacts]) -> None:
        """A request may end after its Match is gone; nothing would ever remove what is stored then."""
        if self._exists(uid):
            self._known[uid] = tokens

    def match_gone(self, match: HasMetadata) -> None:
        """The Match itself is gone."""
        self._known.pop(match.metadata.uid, None)
        self._refusals.pop(match.metadata.uid, None)
