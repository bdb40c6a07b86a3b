"""The status of an object that is paused: it says so, and what Roomkeeper does not look at becomes Unknown. Pure.

Nothing else of it changes. An object that is over keeps all its other conditions. A LiveKitServer that is paused still
says where it is asked, since its rooms go on. `plan.match`, `plan.room` and `plan.server` freeze paused objects,
`rules.paused` tells which ones are, `loop.reconcile` writes this status.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, TypeVar

from controller.api.conditions import CONDITIONS, ConditionReason, ConditionType
from controller.api.livekitserver import LiveKitServerStatus
from controller.api.match import Match, MatchStatus
from controller.api.meta import Condition, ConditionStatus
from controller.api.names import MATCH, ROOM, ResourceKind
from controller.api.room import Room, RoomStatus
from controller.rules.match_case import MatchCase
from controller.rules.paused import pause_of_match, pause_of_room
from controller.rules.room_case import RoomCase
from controller.rules.server_case import ServerCase
from controller.status.conditions import Verdict, merge, not_known, true

St = TypeVar("St", MatchStatus, RoomStatus)

# Only Roomkeeper changes these, so they stay true while it does nothing.
_STAYS: Final = frozenset({ConditionType.ACCEPTED, ConditionType.FINISHED})


def paused_match(case: MatchCase) -> MatchStatus:
    """The status of a Match that is paused: also in the column REASON."""
    match, is_over = case.match, case.was_over
    status = _paused(MATCH, match, match.status, case.now, pause_of_match(match) or "", is_over=is_over)
    # Of a Match that is over, the reason is the word of its ending, and the operator reads it.
    return status if is_over else status.model_copy(update={"reason": ConditionReason.PAUSED.value})


def paused_room(case: RoomCase) -> RoomStatus:
    """The status of a Room that is paused, or whose Match is. Its reason stays: a reason would close it."""
    room = case.room
    is_over = room.status.terminated_at is not None
    return _paused(ROOM, room, room.status, case.now, pause_of_room(room, case.seen) or "", is_over=is_over)


def paused_server(case: ServerCase) -> LiveKitServerStatus:
    """The status of a LiveKitServer that is paused: as it was, at the address at which it is asked.

    Rooms are placed on it and looked for there whether it is paused or not, and a restart has to find them. Without our
    finalizer the object can go at any time, so no room is placed there.
    """
    before, seen = case.server.status, case.seen
    if not (case.moves and case.is_held):
        return before
    return before.model_copy(update={"url": seen.url, "public_url": seen.public_url})


def _paused(kind: ResourceKind, found: Match | Room, status: St, now: datetime, why: str, *, is_over: bool) -> St:
    pause = true(ConditionType.PAUSED, ConditionReason.PAUSED, why)
    verdicts = [*(() if is_over else _not_looked_at(kind, status.conditions)), pause]
    known = {one.type: one for one in status.conditions}
    said = {one.type: one for one in merge(status.conditions, verdicts, found.metadata.generation, now)}
    order = [row.type.value for row in CONDITIONS.values() if row.kind is kind]
    conditions = tuple((known | said)[type_] for type_ in order if type_ in said or _is_kept(type_, known, is_over))
    return status.model_copy(update={"conditions": conditions})


def _is_kept(type_: str, known: dict[str, Condition], is_over: bool) -> bool:
    return type_ in known and (is_over or type_ in _STAYS)


def _not_looked_at(kind: ResourceKind, before: tuple[Condition, ...]) -> Iterator[Verdict]:
    """What is not known of a paused object. Reconciling is gone, since nothing is done."""
    for one in before:
        row = CONDITIONS.get((kind, ConditionType(one.type))) if one.type in set(ConditionType) else None
        if row is not None and row.allows(ConditionStatus.UNKNOWN, ConditionReason.PAUSED):
            # What a condition said before is in its message from the first look on: later ones leave it as it is.
            is_told = one.status is ConditionStatus.UNKNOWN and one.reason == ConditionReason.PAUSED
            told = one.message if is_told else f"not looked at while it is paused; before: {one.status}"
            yield not_known(row.type, ConditionReason.PAUSED, told)
