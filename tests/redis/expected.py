"""The notices and events that a change must have written, computed from the hashes before and after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.redis.world import Snapshot, Told

Line = tuple[str, str, str]
"""The stream, the type, and about whom or what."""

_JOINABLE = frozenset({"Connecting", "Active", "Reconnecting"})


def heard(told: Told) -> Counter[Line]:
    """What was told, in the same terms."""
    prefix = "dev.roomkeeper."
    return Counter(
        (
            *(("notify", fields["type"], who) for who, fields in told.notices),
            *(("disconnects", entry["targetState"], entry["user"]) for entry in told.disconnects),
            *(("events", event["type"].removeprefix(prefix), _about(event["data"])) for event in told.events),
        )
    )


def expected(
    before: Snapshot,
    after: Snapshot,
    *,
    users: Iterable[str],
    rolled_back: frozenset[str] = frozenset(),
    is_restore: bool = False,
) -> Counter[Line]:
    """The entries to expect. `rolled_back` are the users whom a settle put back; a restore writes no entries."""
    if is_restore:
        return Counter()
    lines = [line for uid in _uids(before, after) for line in _of_match(uid, before, after)]
    for who in users:
        lines += _of_user(who, before, after, is_rolled_back=who in rolled_back)
    return Counter(lines)


def _of_match(uid: str, before: Snapshot, after: Snapshot) -> Iterator[Line]:
    old, new = _hash(before, f"match:{uid}"), _hash(after, f"match:{uid}")
    if "claimed" in new and "claimed" not in old:
        yield "events", "match.creating", uid
    elif new.get("phase") != old.get("phase"):
        yield "events", f"match.{new['phase'].lower()}", uid
    if "settled" in new and "settled" not in old:
        yield "events", "match.failed" if new["endReason"] == "Failed" else "match.ended", uid


def _of_user(who: str, before: Snapshot, after: Snapshot, *, is_rolled_back: bool) -> Iterator[Line]:
    old, new = _hash(before, f"user:{who}"), _hash(after, f"user:{who}")
    if new.get("match") and new["match"] == old.get("match"):
        yield from _of_held(who, before, after)
    if old == new:
        return
    state, has_moved = new["state"], new["state"] != old.get("state")
    if old.get("session") and new["session"] and old["session"] != new["session"]:
        yield "notify", "replaced", who
    if old.get("match") and not new["match"]:
        yield from _of_freed(who, old["match"], new, after)
        if not is_rolled_back:
            yield "disconnects", state, who
    elif new["match"] and not old.get("match"):
        yield "notify", "matched", who
    elif not new["match"] and has_moved:
        yield "events", f"user.{state.lower()}", who
        if state == "IDLE":
            yield "notify", "left-queue", who
    elif has_moved and _phase(new["match"], before) == _phase(new["match"], after):
        yield "events", f"user.{state.lower().replace('_', '-')}", who


def _of_freed(who: str, uid: str, new: Mapping[str, str], after: Snapshot) -> Iterator[Line]:
    failed = _hash(after, f"match:{uid}").get("endReason") == "Failed"
    yield "notify", "error" if failed else "ended", who
    yield "events", f"user.{new['state'].lower()}", who
    if new["state"] == "WAITING":
        yield "notify", "requeued", who


def _of_held(who: str, before: Snapshot, after: Snapshot) -> Iterator[Line]:
    """The notices of a user in a Match."""
    old, new = _hash(before, f"user:{who}"), _hash(after, f"user:{who}")
    phase = _phase(new["match"], after)
    begins = phase != _phase(new["match"], before)
    moved_house = (old["room"], old["url"]) != (new["room"], new["url"])
    if phase in _JOINABLE and new["room"] and (moved_house or (begins and phase == "Connecting")):
        yield "notify", "ready", who
    if begins and phase == "Reconnecting":
        yield "notify", "reconnecting", who


def _phase(uid: str, at: Snapshot) -> str:
    return _hash(at, f"match:{uid}").get("phase", "")


def _hash(at: Snapshot, name: str) -> Mapping[str, str]:
    fields: Mapping[str, str] = at.values.get(name, {})
    return fields


def _uids(*snapshots: Snapshot) -> list[str]:
    names = {name for at in snapshots for name in at.values if name.startswith("match:")}
    return sorted(name.removeprefix("match:") for name in names)


def _about(data: Mapping[str, Any]) -> str:
    return str(data.get("user") or data.get("match") or data["room"])
