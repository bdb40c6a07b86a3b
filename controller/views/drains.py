"""The calls whose turn it is to end because their LiveKit server is drained.

A drain may concern thousands of calls. If all of them ended at one moment, all of their users would come back into the
queue at once. So calls get their turns one after another, the oldest first. A turn is remembered only in memory: the
end itself is stored in the ledger, and a new leader gives the calls that are left their turns. Neighbors:
`triggers.drain` gives the turns, `observe` reads them, `rules.drain` decides.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime


class DrainTurns:
    """The turns by the UID of the Match, or of a standing Room."""

    def __init__(self) -> None:
        self._turns: dict[str, datetime] = {}

    def give(self, uid: str, at: datetime) -> None:
        """It is the turn of this call from `at` on. A turn that was given before stays."""
        self._turns.setdefault(uid, at)

    def of(self, uid: str) -> datetime | None:
        """Since when it is the turn of this call; None as long as it is not."""
        return self._turns.get(uid)

    def keep(self, uids: Collection[str]) -> None:
        """Take all other turns back: their calls are over, or their server is in service again."""
        self._turns = {uid: at for uid, at in self._turns.items() if uid in uids}
