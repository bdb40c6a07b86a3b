"""The registry of kinds: one row per kind, with all that the loop needs to know about it.

A further kind is one more row and the modules that the row names; nothing else in the loop, the caches or the watch
knows a kind by name. Rows are in the order in which their keys begin after a start: Rooms first, because clients give
up a room that stays lost. Neighbors: `loop.reconcile` runs a row, `loop.record` dumps what a row saw and decided,
`app.wiring` makes a cache for each row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from controller.announce.announcer import Announcer
from controller.api.failures import LastError
from controller.api.livekitserver import LiveKitServer, LiveKitServerStatus
from controller.api.match import Match, MatchStatus
from controller.api.meta import ApiModel, Resource
from controller.api.names import LIVEKIT_SERVER, MATCH, ROOM, ResourceKind
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.room import Room, RoomStatus
from controller.backends.bundle import Backends
from controller.facts.learned import Learned
from controller.facts.match import MatchSeen
from controller.facts.observation import Present, value_of
from controller.facts.room import RoomSeen
from controller.facts.server import ServerSeen
from controller.facts.unreadable import Unreadable
from controller.observe.match import observe_match
from controller.observe.room import observe_room
from controller.observe.server import observe_server
from controller.plan.actions import AnyAction
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.plan.server import plan_server
from controller.plan.step import Plan
from controller.rules.believed import believed_match, believed_room
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.rules.server_case import ServerCase
from controller.rules.stand_in import stand_in_match, stand_in_room
from controller.status.match import match_status
from controller.status.match_view import phase_of_match
from controller.status.paused import paused_match, paused_room, paused_server
from controller.status.room import is_just_restored, room_status
from controller.status.server import server_status

D = TypeVar("D", bound=Resource)
S = TypeVar("S")
C = TypeVar("C")
St = TypeVar("St", bound=ApiModel)


def _nothing_known(_seen: Any, learned: Learned) -> Learned:
    return learned


def _never(_case: Any) -> bool:
    return False


def _always(_status: Any) -> bool:
    return True


def _all_of_it(found: D, _now: datetime) -> D:
    """All of the object is believed."""
    return found


def _silent(*_: Any) -> None:
    """A kind that announces nothing."""


@dataclass(frozen=True, slots=True)
class Recipe(Generic[D, S, C, St]):
    """How one kind is observed, planned, described and announced.

    `model` is the whole object, `seen` the type of what `observe` returns (dumps are read back with it). `believed`
    takes out of its status what cannot be true. `case` puts object, observation and time together, once per round, so
    that plan and status share every judgement.
    `paused` is the status of an object that is frozen; without it, that has none.
    `known` tells what the next round of the same reconcile need not read again.
    `stand_in` replaces an object that is being deleted and cannot be read: its metadata, and what the backends have.
    `is_held_back(case)` tells whether its status is new and merely transitional, so that it can wait for a moment.
    `is_quiet(status)` tells whether our own write of it concerns no other key.
    `leaving(announcer, case)` hands over what no status may say of a deleted object, whose finalizer is removed next.
    `acted(announcer, found, actions)` announces what no status will say; `announce(announcer, found, status,
    first_seen)` what a status that was written says.
    """

    kind: ResourceKind
    model: type[D]
    seen: type[S]
    observe: Callable[[D, Backends, Learned], Awaitable[S]]
    case: Callable[[D, S, datetime], C]
    plan: Callable[[C], Plan]
    status: Callable[[C, LastError | None], St]
    believed: Callable[[D, datetime], D] = _all_of_it
    known: Callable[[S, Learned], Learned] = _nothing_known
    paused: Callable[[C], St] | None = None
    stand_in: Callable[[Unreadable, Backends], Awaitable[D]] | None = None
    is_held_back: Callable[[C], bool] = _never
    is_quiet: Callable[[St], bool] = _always
    leaving: Callable[[Announcer, C], None] = _silent
    acted: Callable[[Announcer, D, tuple[AnyAction, ...]], None] = _silent
    announce: Callable[[Announcer, D, St, datetime], None] = _silent


Recipes = Mapping[ResourceKind, Recipe[Any, Any, Any, Any]]


def _match_known(seen: MatchSeen, learned: Learned) -> Learned:
    return replace(learned, ledger=seen.ledger if isinstance(seen.ledger, Present) else None)


async def _match_stand_in(found: Unreadable, backends: Backends) -> Match:
    pool = backends.pools.unbound(found.metadata.namespace)
    return stand_in_match(found, await pool.ledger(found.metadata.uid))


async def _room_stand_in(found: Unreadable, _backends: Backends) -> Room:
    return stand_in_room(found)


def _room_known(seen: RoomSeen, learned: Learned) -> Learned:
    return replace(learned, record=value_of(seen.record))


def _match_is_passing(case: MatchCase) -> bool:
    """Whether the Match has entered a phase that it will most likely have left in a moment."""
    before, phase = case.match.status.phase, phase_of_match(case)
    if phase is MatchPhase.TERMINATING:
        return before is not phase
    return before is None and phase in {MatchPhase.PENDING, MatchPhase.CREATING}


def _room_concerns_its_own_key_only(status: RoomStatus) -> bool:
    """A Room that is over concerns its Match."""
    return status.phase not in {RoomPhase.TERMINATED, RoomPhase.FAILED}


ROOMS: Recipe[Room, RoomSeen, RoomCase, RoomStatus] = Recipe(
    kind=ROOM,
    model=Room,
    seen=RoomSeen,
    observe=observe_room,
    case=RoomCase,
    plan=plan_room,
    status=room_status,
    believed=believed_room,
    paused=paused_room,
    known=_room_known,
    stand_in=_room_stand_in,
    is_held_back=is_just_restored,  # other lost rooms are restored before any status is written
    is_quiet=_room_concerns_its_own_key_only,
    acted=Announcer.room_acted,
    announce=Announcer.room_written,
)

MATCHES: Recipe[Match, MatchSeen, MatchCase, MatchStatus] = Recipe(
    kind=MATCH,
    model=Match,
    seen=MatchSeen,
    observe=observe_match,
    case=MatchCase,
    plan=plan_match,
    status=match_status,
    believed=believed_match,
    paused=paused_match,
    known=_match_known,
    stand_in=_match_stand_in,
    is_held_back=_match_is_passing,
    leaving=Announcer.match_leaving,
    acted=Announcer.match_acted,
    announce=Announcer.match_written,
)

SERVERS: Recipe[LiveKitServer, ServerSeen, ServerCase, LiveKitServerStatus] = Recipe(
    kind=LIVEKIT_SERVER,
    model=LiveKitServer,
    seen=ServerSeen,
    observe=observe_server,
    case=ServerCase,
    plan=plan_server,
    status=server_status,
    paused=paused_server,
)

RECIPES: Recipes = {recipe.kind: recipe for recipe in (ROOMS, MATCHES, SERVERS)}
