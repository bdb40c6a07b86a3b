"""What other services did to Roomkeeper's records in Redis, as successive rounds of the audit found it.

A finding counts only when two rounds agree, since a single round may read in the middle of a claim, a settle or a
restore. Neighbors: `triggers.audit` reads the records, and `observe.match` asks for the findings of a Match.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.api.meta import HasMetadata
from controller.facts.match import AuditFacts

_NOTHING = AuditFacts()


class AuditView:
    """The findings of the audit, by UID of the Match."""

    def __init__(self) -> None:
        self._once: dict[str, AuditFacts] = {}
        self._confirmed: dict[str, AuditFacts] = {}

    def found(self, findings: Mapping[str, AuditFacts]) -> list[str]:
        """Store the findings of one round. Returns the UIDs of the Matches whose certain findings changed.

        Most Matches have none: their findings are empty.
        """
        news = []
        for uid, facts in findings.items():
            agreed = facts if facts == self._once.get(uid) else _NOTHING
            if agreed != self._confirmed.get(uid, _NOTHING):
                news.append(uid)
            self._keep(self._once, uid, facts)
            self._keep(self._confirmed, uid, agreed)
        return news

    def facts(self, uid: str) -> AuditFacts:
        """The findings about the Match `uid` on which two rounds agreed."""
        return self._confirmed.get(uid, _NOTHING)

    def restored(self, uid: str) -> None:
        """The records of the Match `uid` were written again: what was found before is over."""
        self._once.pop(uid, None)
        self._confirmed.pop(uid, None)

    def match_gone(self, match: HasMetadata) -> None:
        """The Match itself is gone."""
        self.restored(match.metadata.uid)

    @staticmethod
    def _keep(where: dict[str, AuditFacts], uid: str, facts: AuditFacts) -> None:
        if facts == _NOTHING:
            where.pop(uid, None)
        else:
            where[uid] = facts
