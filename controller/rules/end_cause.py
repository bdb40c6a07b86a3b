"""Why a Match ends, as a value, and how the ledger stores it. Pure.

`rules.endings` finds the cause, `rules.outcomes` decides from it where each user goes. These decisions are stored
together with the cause: from then on clients are told to hang up, and a client that does so must not count as one that
was never there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from controller.api.endings import ENDINGS, EndCode, EndReason, EndWord, Rollback
from controller.api.match import Match, QueuePlace
from controller.facts.ledger import Cause, Destination, Release

UNKNOWN_REASON = EndReason.ENDED
"""How this version reads a reason that another version stored: the call has ended, and nothing more is known."""


@dataclass(frozen=True, slots=True)
class EndCause:
    """Why the Match ends.

    `code` is the word for conditions; `subject` names the users whom the policy `Others` leaves out. `replaces` is the
    word in the ledger that this cause may replace, empty if none. `releases` are the decisions that were stored with
    it, if it is stored.
    """

    reason: EndReason
    code: EndWord
    message: str
    initiator: str = ""
    subject: frozenset[str] = frozenset()
    is_rollback: bool = False
    replaces: str = ""
    releases: tuple[Release, ...] = ()

    def evidence(self, releases: Iterable[Release]) -> str:
        """What the ledger stores beside reason, initiator and message, as JSON."""
        decided = [[one.id, one.to, one.place.record, one.detail] for one in releases]
        return json.dumps({"code": self.code, "subject": sorted(self.subject), "outcomes": decided})


def make_cause(
    match: Match,
    reason: EndReason,
    message: str,
    *,
    initiator: str = "",
    subject: frozenset[str] = frozenset(),
    code: EndWord | None = None,
) -> EndCause:
    """A cause by the table of endings. The subject is the initiator unless it is given."""
    rollback = ENDINGS[reason].rollback
    undone = rollback is Rollback.ALWAYS or (rollback is Rollback.BEFORE_READY and match.status.ready_at is None)
    return EndCause(reason, code or reason, message, initiator, subject or frozenset({initiator} - {""}), undone)


def failed(code: EndCode, message: str) -> EndCause:
    """The Match cannot be made."""
    return EndCause(EndReason.FAILED, code, message, is_rollback=True)


def read_cause(match: Match, stored: Cause) -> EndCause:
    """The cause that the ledger has. A reason that this version does not know is read as `UNKNOWN_REASON`."""
    reason = _REASONS.get(stored.reason)
    code, subject, releases = _read_evidence(stored.evidence)
    cause = make_cause(
        match,
        reason or UNKNOWN_REASON,
        stored.message or ("" if reason is not None else f"the match ended ({stored.reason})"),
        initiator=stored.initiator,
        subject=subject,
        code=read_word(code),
    )
    return replace(cause, releases=releases)


def read_word(text: str) -> EndWord | None:
    """The word for an end, or None where the text is none that this version knows."""
    return _CODES.get(text) or _REASONS.get(text)


_CODES = {code.value: code for code in EndCode}
_REASONS = {reason.value: reason for reason in EndReason}


def _read_evidence(text: str) -> tuple[str, frozenset[str], tuple[Release, ...]]:
    """Code, subject and releases as `EndCause.evidence` wrote them; empty where another program wrote the cause."""
    try:
        value = json.loads(text)
        code, subject = str(value["code"]), frozenset(map(str, value["subject"]))
        releases = tuple(_read_release(*map(str, one)) for one in value.get("outcomes", ()))
    except (KeyError, TypeError, ValueError):
        return "", frozenset(), ()
    return code, subject, releases


def _read_release(identity: str, to: str, place: str, detail: str) -> Release:
    return Release(identity, Destination(to), QueuePlace.of_record(place), detail)
