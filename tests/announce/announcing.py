"""An announcer of which tests see what it posts, records and counts."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import REGISTRY

from controller.announce.announcer import Announcer
from controller.announce.events import Subject
from controller.api.failure_codes import Failure
from controller.api.match import Match
from controller.facts.ledger import Ledger
from controller.rules.match_case import MatchCase
from controller.status.match import match_status
from tests import values as b
from tests.virtual_time import VirtualTime


def value(name: str, **labels: str) -> float:
    """What /metrics says."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def finished(reason: str) -> float:
    """How many Matches were counted as over for this reason."""
    return value("roomkeeper_matches_finished_total", reason=reason)


class Said:
    """The Events that an announcer posts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def normal(self, _subject: Subject, reason: str, message: str) -> None:
        self.events.append(("Normal", reason, message))

    def warning(self, _subject: Subject, reason: str, message: str) -> None:
        self.events.append(("Warning", reason, message))


class Recorded:
    """The errors that an announcer records."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def failed(self, failure: Failure, **_: Any) -> None:
        self.codes.append(failure.code)

    def recovered(self, *_: Any) -> None: ...


class Rig:
    """An announcer, and what it says."""

    def __init__(self) -> None:
        self.said, self.recorded = Said(), Recorded()
        self.announcer = Announcer(cast("Any", self.said), VirtualTime(), cast("Any", self.recorded))

    def leaves(self, match: Match, ledger: Ledger, second: float = 9) -> None:
        """The finalizer of the Match is removed at this second; all of its call is gone by then."""
        self.announcer.match_leaving(MatchCase(match, b.all_gone(ledger=ledger), b.at(second)))

    def gone(self) -> None:
        """The Match is gone."""
        self.announcer.gone(b.MATCH_UID)

    def written(self, before: Match, ledger: Ledger, second: float = 9) -> Match:
        """The status that follows is written; the Match has it then."""
        status = match_status(MatchCase(before, b.all_gone(ledger=ledger), b.at(second)), None)
        self.announcer.match_written(before, status, b.T0)
        return before.model_copy(update={"status": status})


ENDED_BY_ALICE = b.ledger("Terminating", settled="Ended", initiator="alice", message="alice ended the call")
DELETED = b.ledger("Terminating", settled="Deleted", message="the Match was deleted")
