"""Which tokens this process has delivered. Neighbors: `act.tokens` reports them, `observe.match` asks."""

from __future__ import annotations

from datetime import datetime

from controller.facts.match import TokensFacts
from controller.facts.observation import Absent, Observation, Present, Unknown


class IssuedTokens:
    """The tokens that this process delivered or revoked, by UID of the Match.

    The operator may write Secrets but not read them, so it has to remember this. What it does not know after a restart,
    it does again: both operations are idempotent.
    """

    def __init__(self) -> None:
        self._known: dict[str, Observation[TokensFacts]] = {}

    def get(self, uid: str) -> Observation[TokensFacts] | None:
        """The latest delivery or revocation for the Match `uid`, or None if this process knows of none."""
        return self._known.get(uid)

    def delivered(self, uid: str, tokens: TokensFacts, at: datetime) -> None:
        """Store that the tokens were delivered."""
        self._known[uid] = Present(tokens, at)

    def revoked(self, uid: str, at: datetime) -> None:
        """Store that the tokens were deleted everywhere."""
        self._known[uid] = Absent(at)

    def lost(self, uid: str, at: datetime) -> None:
        """Store that Redis has lost its data, and with it the tokens."""
        self._known[uid] = Unknown(at, "Redis lost its data; the tokens are delivered again")

    def forget(self, uid: str) -> None:
        """Drop the entry of a Match that was deleted."""
        self._known.pop(uid, None)
