"""The ledger of a Match (`match:<uid>`): the users that it claimed, from where, where they went, and why it ended.

Only the scripts claim, advance, signal, settle and witness write it. Idempotency depends on it, so it outlives the
Match by a day. A Match that was settled before it was claimed leaves a ledger too: a tombstone that refuses a late
claim. Neighbors: `facts.ledger` has the value, `pool` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from controller.api.match import TerminationAction
from controller.clients.reading import NO_SENSE, moment_ms, reading, rows
from controller.clients.redis.replies.match import parse_outcome
from controller.clients.redis.replies.table import milliseconds
from controller.errors import Backend, Code, clip
from controller.facts.ledger import AloneTime, Cause, End, LastEvent, Ledger, Wish

_MAX_REASON = 256

# The times of what has happened for good: without them it would count as not happened.
_LASTING_TIMES = frozenset({"endAt", "settledAt"})
_TIMES = _LASTING_TIMES | {"createdAt", "takenAt", "aloneMs", "aloneSince", "tokensAskedAt"}


def parse_ledger(uid: str, fields: Mapping[str, str]) -> Ledger | None:
    """Return the ledger from its hash; None if the hash is empty.

    What decides (the users with their places, the times) must be readable: raises BackendRefused with `Code.DAMAGED`,
    and `repairs` tells what to write instead. What only helps to decide is left out where it cannot be read; then the
    other witnesses decide. A user with an outcome that only a newer version knows is settled all the same.
    """
    if not fields:
        return None
    with reading(Backend.REDIS, "ledger", Code.DAMAGED):
        return _ledger(uid, fields)


def repairs(fields: Mapping[str, str], places: Mapping[str, int], now_ms: int) -> dict[str, str]:
    """What to write into the fields of a ledger that cannot be read, so that it can; empty where nothing is known.

    The other fields stay as they are. A user whose place cannot be read gets back the one of `places`, or counts as one
    who came from the queue now: where they came from is not known any longer, and to let a user wait who did not costs
    less than to forget one who did. An end with a reason stays an end, now.
    """
    lasting = _LASTING_TIMES if fields.get("endReason") else _LASTING_TIMES - {"endAt"}
    repaired = {}
    for name, value in fields.items():
        is_place = name.startswith("q:")
        if (is_place or name in _TIMES) and not _is_time(value):
            known_ms = places.get(name[2:], now_ms) if is_place else now_ms
            repaired[name] = str(known_ms) if is_place or name in lasting else ""
    return repaired


def _is_time(text: str) -> bool:
    try:
        milliseconds(text)
    except NO_SENSE:
        return False
    return True


def _ledger(uid: str, fields: Mapping[str, str]) -> Ledger:
    last = {user_id: _last_event(text) for user_id, text in _of(fields, "last:")}
    return Ledger(
        uid=uid,
        claimed=fields.get("claimed") == "1",
        settled=fields.get("settled") == "1",
        phase=fields.get("phase", ""),
        created_at_ms=milliseconds(fields.get("createdAt", "")),
        settled_at_ms=milliseconds(fields.get("settledAt", "")),
        session_id=fields.get("sessionID", ""),
        match_name=fields.get("matchName", ""),
        room=fields.get("room", ""),
        url=fields.get("url", ""),
        queued_at_ms={user_id: milliseconds(score) for user_id, score in _of(fields, "q:")},
        outcomes={
            user_id: parse_outcome(user_id, text, fields.get(f"d:{user_id}", "")) for user_id, text in _of(fields, "s:")
        },
        end=_end(fields),
        last={user_id: event for user_id, event in last.items() if event is not None},
        wish=_wish(fields.get("wish", "")),
        alone=AloneTime(milliseconds(fields.get("aloneMs", "")) or 0, milliseconds(fields.get("aloneSince", ""))),
        suspected_at_ms=dict(rows(Backend.REDIS, "suspicion", _of(fields, "suspect:"), _suspicion)),
        tokens_asked_at_ms=milliseconds(fields.get("tokensAskedAt", "")),
        taken_at_ms=milliseconds(fields.get("takenAt", "")) or 0,
        rejoined=fields.get("rejoined", ""),
        drain=fields.get("drain", ""),
    )


def _of(fields: Mapping[str, str], prefix: str) -> list[tuple[str, str]]:
    return [(name[len(prefix) :], value) for name, value in fields.items() if name.startswith(prefix)]


def _suspicion(row: tuple[str, str]) -> tuple[str, int]:
    user_id, at = row
    return user_id, moment_ms(at)


def _end(fields: Mapping[str, str]) -> End | None:
    at_ms = milliseconds(fields.get("endAt", ""))
    if at_ms is None:
        return None
    reason, initiator, message, evidence = (
        fields.get(name, "") for name in ("endReason", "endInitiator", "endMessage", "endEvidence")
    )
    return End(Cause(reason, clip(initiator), clip(message), evidence), at_ms)


def _wish(text: str) -> Wish | None:
    """Return the wish that the script `signal` has written; None if the text cannot be read."""
    try:
        value = orjson.loads(text)
        action, user, by, reason, via = (str(value[name]) for name in ("action", "user", "by", "reason", "via"))
        return Wish(TerminationAction(action.capitalize()), user, by, clip(reason), via, moment_ms(value["at"]))
    except NO_SENSE:
        return None


def _last_event(text: str) -> LastEvent | None:
    """Return the last event; None if the text cannot be read: then the other witnesses decide."""
    try:
        value = orjson.loads(text)
        return LastEvent(
            str(value["event"]),
            clip(str(value["reason"]), _MAX_REASON),
            clip(str(value["sid"]), _MAX_REASON),
            moment_ms(value["at"]),
            moment_ms(value["joinedAtMs"]),
        )
    except NO_SENSE:
        return None
