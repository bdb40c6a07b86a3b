"""Why a key was put into the queue: one row per source, and all that the loop concludes from it.

What a reconcile decides never depends on a wake, since it observes everything again. Only two questions do: whether the
backends have to be read again to see what happened, and which keys go first. The sources are the values of the label
`source` of `roomkeeper_triggers_total`. Neighbors: `loop.work_queue` applies the table, `loop.lanes` has the lanes,
`triggers` name the sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.loop.lanes import Lane


class Wake(StrEnum):
    """A source of wakes."""

    START = "start"
    OBJECT = "object"
    LIVEKIT = "livekit"
    LISTED = "listed"
    STALENESS = "staleness"
    LOST = "lost"
    WEBHOOK = "webhook"
    STREAM = "stream"
    SIGNAL = "signal"
    HEARTBEAT = "heartbeat"
    AUDIT = "audit"
    TOKENS = "tokens"
    DEADLINE = "deadline"
    RESTORED = "restored"
    POOL = "pool"
    OVER_LIMIT = "over-limit"
    SLOT = "slot"
    ANSWERED = "answered"
    AWAY = "away"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class WakeRule:
    """What the loop does for one source.

    `needs_read` is False where everything that changed is in memory already (a cache, the view of a LiveKit server):
    then a reconcile that has begun, and has not observed yet, covers it. `lane` says which keys go first.
    """

    meaning: str
    needs_read: bool = True
    lane: Lane = Lane.PEOPLE


WAKES: Mapping[Wake, WakeRule] = {
    Wake.START: WakeRule(
        "This replica leads now, or the API server's clock was set: every key is reconciled that nothing else woke.",
        lane=Lane.BULK,
    ),
    Wake.OBJECT: WakeRule("An object was created, changed or deleted.", needs_read=False),
    Wake.LIVEKIT: WakeRule("A poll, or an answer of LiveKit, showed a change of a room.", needs_read=False),
    Wake.LISTED: WakeRule(
        "A LiveKit server was asked for the first time since this replica leads: for its rooms, or for who is in one. "
        "Nothing has changed as far as anyone knows.",
        needs_read=False,
        lane=Lane.BULK,
    ),
    Wake.STALENESS: WakeRule(
        "A LiveKit server has been silent for too long, or answers again: this concerns every Room on it. Or Redis has "
        "been silent for too long.",
        needs_read=False,
        lane=Lane.BULK,
    ),
    Wake.LOST: WakeRule("LiveKit no longer has a room that should exist.", needs_read=False, lane=Lane.LOST),
    Wake.WEBHOOK: WakeRule("A LiveKit webhook arrived at this replica."),
    Wake.STREAM: WakeRule("A LiveKit webhook arrived at another replica."),
    Wake.SIGNAL: WakeRule("A gateway sent a signal, or an older client set a flag."),
    Wake.HEARTBEAT: WakeRule("A user in a call stopped sending heartbeats."),
    Wake.AUDIT: WakeRule("A record in Redis differs from what the ledger of its Match says."),
    Wake.TOKENS: WakeRule("Another client has deleted the tokens of a Match.", needs_read=False),
    Wake.DEADLINE: WakeRule("A moment that the last plan named has come."),
    Wake.RESTORED: WakeRule("Redis lost its data, and the Match was claimed again.", lane=Lane.BULK),
    Wake.POOL: WakeRule("A pool is open that reconciles of its namespace did not wait for.", lane=Lane.BULK),
    Wake.OVER_LIMIT: WakeRule(
        "The namespace keeps more finished Matches than the limit; this is the oldest.", lane=Lane.BULK
    ),
    Wake.DRAIN: WakeRule(
        "A LiveKit server is drained, or no longer, or it is the turn of a call on it to end.",
        needs_read=False,
        lane=Lane.BULK,
    ),
    Wake.SLOT: WakeRule("A backend has room for another request of the key, which waited for it."),
    Wake.ANSWERED: WakeRule(
        "The backend that the key waited for answers again, or the key's request is to show whether it does. The key "
        "has the lane in which it waited.",
        lane=Lane.BULK,
    ),
    Wake.AWAY: WakeRule(
        "The key waits for a backend that does not answer, and time may have decided something meanwhile.",
        lane=Lane.BULK,
    ),
}
