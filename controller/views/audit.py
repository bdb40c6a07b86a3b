"""What others did to what is ours in Redis: kept from one round of reading to the next.

A finding counts only when two rounds agree: between them a claim, a settle or a restoring may have been under way.
Neighbours: `triggers.audit` reads, `observe.match` asks.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.api.match import Match
from controller.facts.match import AuditFacts

_NOTHING = AuditFacts()


class AuditView:
    """Findings by UID of the Match."""

    def __init__(self) -> None:
        self._once: dict[str, AuditFacts] = {}
        self._confirmed: dict[str, AuditFacts] = {}

    def found(self, findings: Mapping[str, AuditFacts]) -> list[str]:
        """Take in what was found of some Matches (nothing, mostly); the UIDs of those with news."""
        news = []
        for uid, facts in findings.items():
            agreed = facts if facts == self._once.get(uid) else _NOTHING
            if agreed != self._confirmed.get(uid, _NOTHING):
                news.append(uid)
            self._keep(self._once, uid, facts)
            self._keep(self._confirmed, uid, agreed)
        return news

    def facts(self, uid: str) -> AuditFacts:
        """What is certain about the Match `uid`."""
        return self._confirmed.get(uid, _NOTHING)

    def match_gone(self, match: Match) -> None:
        """The Match itself is gone."""
        self._once.pop(match.metadata.uid, None)
        self._confirmed.pop(match.metadata.uid, None)

    @staticmethod
    def _keep(where: dict[str, AuditFacts], uid: str, facts: AuditFacts) -> None:
        if facts == _NOTHING:
            where.pop(uid, None)
        else:
            where[uid] = facts
