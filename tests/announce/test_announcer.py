"""What the announcer says of actions that no status will show."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from controller.announce.announcer import Announcer
from controller.api.match import Match
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import only

RELEASE = only(plan_match(MatchCase(b.active(deleted=True), b.all_gone(), b.at(9))), a.ReleaseFinalizer)
CREATE = only(plan_match(MatchCase(b.a_match(), b.seen(ledger=b.ledger()), b.at(1))), a.CreateRoom)


def finished(reason: str) -> float:
    """How many Matches were counted as over for this reason."""
    return REGISTRY.get_sample_value("roomkeeper_matches_finished_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("case", "action", "match", "reason", "counted"),
    [
        ("deleted in the middle", RELEASE, b.active(deleted=True, status={"reason": "Skipped"}), "Skipped", 1),
        ("deleted, with no reason in the status", RELEASE, b.active(deleted=True), "Deleted", 1),
        ("over before it was deleted", RELEASE, b.active(deleted=True, status={"ended_at": b.at(8)}), "Deleted", 0),
        ("not released", CREATE, b.active(deleted=True), "Deleted", 0),
    ],
)
def test_the_end_of_a_deleted_match_is_counted_though_no_status_will_say_it(
    case: str, action: a.AnyAction, match: Match, reason: str, counted: int
) -> None:
    before = finished(reason)
    Announcer(cast("Any", None), cast("Any", None), cast("Any", None)).match_acted(match, (action,))
    assert finished(reason) - before == counted, case
