"""Observations and short steps that the tests of endings share."""

from __future__ import annotations

from dataclasses import replace

from controller.api.endings import EndCode, EndReason
from controller.api.match import Match
from controller.facts.ledger import AloneTime
from controller.facts.match import HeartbeatFacts, MatchSeen, Refusal
from controller.plan import actions as a
from controller.plan.match import plan_match
from controller.rules.end_cause import EndCause
from controller.rules.match_case import MatchCase
from tests import values as b
from tests.plan.world import only

ALICE = (b.person("alice"),)
DYING_ROOM = b.an_active_room(deleted=True)
OVER_ROOM = b.an_active_room(status={"phase": "Terminated", "reason": "Empty"})
GIVEN_UP_ROOM = b.an_active_room(status={"phase": "Failed", "reason": "Lost"})
BUSY = Refusal(EndCode.USER_BUSY, "bob", "calls/other")


def wish(action: str, **more: str) -> dict[str, str]:
    """Return a `spec.termination`."""
    return {"action": action, **more}


def ending(reason: EndReason, *subject: str, rollback: bool = False) -> EndCause:
    """Return a cause as the planner finds it."""
    return EndCause(reason, reason, "why", subject=frozenset(subject), is_rollback=rollback)


def settle_after(match: Match, record: a.RecordEnd) -> a.Settle:
    """Return the planned settlement after this cause was recorded."""
    stored = b.ledger(
        "Terminating",
        recorded=record.reason,
        initiator=record.initiator,
        message=record.message,
        evidence=record.evidence,
    )
    settle: a.Settle = only(plan_match(MatchCase(match, b.both_in(ledger=stored), b.at(9))), a.Settle)
    return settle


BOB_IS_SILENT = HeartbeatFacts(frozenset({"bob"}), 90.0)
# Bob said goodbye at second 10, and alice is alone since then.
BOB_IS_GONE = b.ledger("Reconnecting", last={"bob": b.event("left", 10, sid="PA_bob", reason="CLIENT_INITIATED")})
BOB_RECONNECTS = b.active(
    timeouts={"leaveSeconds": 60, "reconnectSeconds": 120, "soloSeconds": 300, "maxDurationSeconds": 600},
    status={
        "phase": "Reconnecting",
        "participants": [
            {"identity": "alice", "state": "Connected", "since": b.at(3), "connected_at": b.at(3)},
            {"identity": "bob", "state": "Reconnecting", "since": b.at(10), "detail": "CLIENT_INITIATED"},
        ],
    },
)


def bob_is_gone(seconds: float, *, alone: bool = False, silent: bool = False) -> MatchSeen:
    """Alice is in the room without bob. `alone`: the ledger counts her as alone; `silent`: bob's heartbeats stopped."""
    ledger = replace(BOB_IS_GONE, alone=AloneTime(0, b.ms(10) if alone else None))
    seen = b.both_in(seconds, ledger=ledger, people=ALICE)
    return replace(seen, heartbeats=BOB_IS_SILENT) if silent else seen
