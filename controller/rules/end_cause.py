"""Why a Match ends, as a value. `rules.endings` finds it, `rules.outcomes` draws from it where everybody goes. Pure.

Where everybody goes is recorded together with the cause: from then on clients are told to hang up, and whoever does is
not to be taken for somebody who was never there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from controller.api.endings import ENDINGS, EndReason, Rollback
from controller.api.match import Match


@dataclass(frozen=True, slots=True)
class UserOutcome:
    """Where a user goes at the end: `to` is WAITING, IDLE or BACK (where they were); `place` ORIG or NOW."""

    identity: str
    to: str
    place: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EndCause:
    """Why the Match ends. `code` is the word for the condition, `subject` whom `Others` leaves out.

    `replaces` is the reason in the ledger that this one may take the place of; `outcomes` are those that were recorded
    with it, if it is recorded.
    """

    reason: EndReason
    code: str
    message: str
    initiator: str = ""
    subject: frozenset[str] = frozenset()
    is_rollback: bool = False
    replaces: str = ""
    outcomes: tuple[UserOutcome, ...] = ()

    def evidence(self, outcomes: Iterable[UserOutcome]) -> str:
        """What the ledger keeps beside reason, initiator and message."""
        decided = [[one.identity, one.to, one.place, one.detail] for one in outcomes]
        return json.dumps({"code": self.code, "subject": sorted(self.subject), "outcomes": decided})


def make_cause(
    match: Match,
    reason: EndReason,
    message: str,
    *,
    initiator: str = "",
    subject: frozenset[str] = frozenset(),
    code: str = "",
) -> EndCause:
    """A cause by the table of endings; the subject is the initiator unless it is given."""
    rollback = ENDINGS[reason].rollback
    undone = rollback is Rollback.ALWAYS or (rollback is Rollback.BEFORE_READY and match.status.ready_at is None)
    return EndCause(reason, code or reason.value, message, initiator, subject or frozenset({initiator} - {""}), undone)


def failed(code: str, message: str) -> EndCause:
    """The Match cannot be made."""
    return EndCause(EndReason.FAILED, code, message, is_rollback=True)


def read_evidence(text: str) -> tuple[str, frozenset[str], tuple[UserOutcome, ...]]:
    """Code, subject and outcomes as `EndCause.evidence` wrote them; nothing where somebody else wrote the cause."""
    try:
        value = json.loads(text)
        code, subject = str(value["code"]), frozenset(map(str, value["subject"]))
        outcomes = tuple(UserOutcome(*map(str, one)) for one in value.get("outcomes", ()))
    except (KeyError, TypeError, ValueError):
        return "", frozenset(), ()
    return code, subject, outcomes
