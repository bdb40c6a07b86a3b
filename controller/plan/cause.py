"""Why a Match ends, as a value. `plan.causes` finds it, `plan.outcomes` draws from it where everybody goes. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

from controller.api.endings import ENDINGS, EndReason, Rollback
from controller.api.match import Match


@dataclass(frozen=True, slots=True)
class EndCause:
    """Why the Match ends. `code` is the word for the condition, `subject` whom `Others` leaves out.

    `replaces` is the reason in the ledger that this one may take the place of.
    """

    reason: EndReason
    code: str
    message: str
    initiator: str = ""
    subject: frozenset[str] = frozenset()
    is_rollback: bool = False
    replaces: str = ""

    def evidence(self) -> str:
        """What the ledger keeps beside reason, initiator and message."""
        return json.dumps({"code": self.code, "subject": sorted(self.subject)})


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


def read_evidence(text: str) -> tuple[str, frozenset[str]]:
    """Code and subject as `EndCause.evidence` wrote them; nothing where somebody else wrote the cause."""
    try:
        value = json.loads(text)
        return str(value["code"]), frozenset(map(str, value["subject"]))
    except (ValueError, KeyError, TypeError):
        return "", frozenset()
