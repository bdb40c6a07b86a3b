"""One reconcile of one key: observe, plan, act, until there is nothing left to do at once; then the status.

The planner is asked again after every round of actions, with what was observed after them, so a plan never has to
foresee an answer. The status is computed last, also after a failure, and written once if it changed. A merely
transitional one (the next step is under way in another key of ours) is held back for a moment: it would cost an API
write to say what is no longer true when it arrives. So is that of a Room that was restored: when LiveKit has lost its
rooms, all of them are made again before any of them is written about. Neighbours: `loop.worker` runs this,
`loop.record` keeps what was decided.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import structlog

from controller.act.execute import ActionResult, execute
from controller.act.kubernetes import write_status
from controller.announce.announcer import Progress
from controller.api.endings import EndReason
from controller.api.failures import LastError
from controller.api.match import Match
from controller.api.names import MATCH, ROOM, ResourceKind
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.errors import BackendError, BackendUnavailable, Conflict
from controller.facts.learned import Learned
from controller.facts.match import MatchSeen
from controller.facts.observation import Present, value_of
from controller.facts.room import RoomSeen
from controller.loop.key import Key, Kind
from controller.loop.record import Recorder
from controller.loop.worker import Result
from controller.observe.match import observe_match
from controller.observe.room import observe_room
from controller.plan.actions import ReleaseFinalizer, RemoveStranger, Target
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.plan.step import Plan, earliest
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from controller.status.errors import last_error
from controller.status.match import match_status
from controller.status.patch import merge_patch
from controller.status.room import room_status
from controller.views.cache import ObjectCache

log = structlog.get_logger(__name__)

# More rounds than any sequence of steps needs: reaching it means that two steps undo each other.
_MAX_ROUNDS = 10
_TRANSITIONAL = timedelta(milliseconds=200)
# A Room that is over concerns its Match.
_WAKES_THE_OWNER = frozenset({RoomPhase.TERMINATED, RoomPhase.FAILED})

M = TypeVar("M", Match, Room)
S = TypeVar("S", MatchSeen, RoomSeen)
C = TypeVar("C", MatchCase, RoomCase)


class OnObserve(Protocol):
    """Told that a key is about to be observed, and whether the backends are read for it."""

    def __call__(self, key: Key, /, *, reads: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Recipe(Generic[M, S, C]):
    """How one kind is observed, judged, planned and described. `case` joins the object, what was seen, and now."""

    kind: ResourceKind
    cache: ObjectCache[M]
    observe: Callable[[M, Learned], Awaitable[S]]
    case: Callable[[M, S, datetime], C]
    plan: Callable[[C], Plan]
    status: Callable[[C, LastError | None], Any]
    is_transitional: Callable[[M, Any], bool]


class Reconciler:
    """Runs the recipe of a key's kind."""

    def __init__(self, backends: Backends, progress: Progress, recorder: Recorder | None) -> None:
        self._backends = backends
        self._progress = progress
        self._recorder = recorder
        self._numbers = itertools.count(1)
        self.on_observe: OnObserve = _nobody_asks
        self._held_back: dict[str, datetime] = {}
        self._first_seen: dict[str, datetime] = {}
        self._matches: Recipe[Match, MatchSeen, MatchCase] = Recipe(
            MATCH,
            backends.matches,
            lambda match, learned: observe_match(match, backends, learned),
            MatchCase,
            plan_match,
            match_status,
            _is_transitional,
        )
        self._rooms: Recipe[Room, RoomSeen, RoomCase] = Recipe(
            ROOM,
            backends.rooms,
            lambda room, learned: observe_room(room, backends, learned),
            RoomCase,
            plan_room,
            room_status,
            _is_just_restored,
        )

    async def __call__(self, key: Key) -> Result:
        """Bring `key` as far as it gets."""
        structlog.contextvars.bind_contextvars(key=str(key), reconcile=next(self._numbers))
        if key.kind is Kind.MATCH:
            return await self._run(key, self._matches)
        return await self._run(key, self._rooms)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._held_back.pop(uid, None)
        self._first_seen.pop(uid, None)

    async def _run(self, key: Key, recipe: Recipe[M, S, C]) -> Result:
        learned, uid = Learned(), ""
        error: BackendError | None = None
        for _ in range(_MAX_ROUNDS):
            found = recipe.cache.get(key.namespace, key.name)
            if found is None:
                return Result(error=error)
            if found.metadata.uid != uid:
                # The name has a new object: what was learned of the old one does not concern it.
                uid, learned = found.metadata.uid, Learned()
            self.on_observe(key, reads=learned.ledger is None and learned.record is None)
            seen = await recipe.observe(found, learned)
            now = self._backends.clock.now()
            self._first_seen.setdefault(found.metadata.uid, now)
            case = recipe.case(found, seen, now)
            plan = recipe.plan(case)
            if self._recorder is not None:
                self._recorder.record(key, found, seen, now, plan)
            if not plan.actions or error is not None:
                return await self._conclude(key, recipe, found, seen, case, plan, now, error)
            results = await execute(plan.actions, self._backends)
            self._tell(found, results)
            error = next((result.error for result in results if result.error is not None), None)
            learned = _known(seen, learned).after((result.effect for result in results), now)
        raise RuntimeError(f"{key}: still not at rest after {_MAX_ROUNDS} rounds; the last plan was {plan}")

    def _tell(self, found: Match | Room, results: tuple[ActionResult, ...]) -> None:
        """What no status will say: the end of a deleted Match, and strangers who are gone by the time it is written."""
        done = tuple(result.action for result in results if result.error is None)
        if isinstance(found, Room) and any(isinstance(action, RemoveStranger) for action in done):
            self._progress.strangers_removed(found)
        released = any(isinstance(action, ReleaseFinalizer) for action in done)
        if released and isinstance(found, Match) and found.status.ended_at is None:
            self._progress.released(found, found.status.reason or EndReason.DELETED.value)

    async def _conclude(
        self,
        key: Key,
        recipe: Recipe[M, S, C],
        found: M,
        seen: S,
        case: C,
        plan: Plan,
        now: datetime,
        error: BackendError | None,
    ) -> Result:
        """Write the status if it says something new; what remains is to wait."""
        if plan.frozen:
            return Result(plan.deadline, error)
        if plan.blocked_by is not None and error is None:
            error = BackendUnavailable(plan.blocked_by, "read", plan.waits_for)
        reported = last_error(error, now) if error is not None and not isinstance(error, Conflict) else None
        status = recipe.status(case, reported)
        patch = merge_patch(found.status.manifest(), status.manifest())
        uid = found.metadata.uid
        if not patch or _cannot_be_written(found):
            self._held_back.pop(uid, None)
            return Result(plan.deadline, error)
        if error is None and recipe.is_transitional(found, status):
            due = self._held_back.setdefault(uid, now + _TRANSITIONAL)
            if now < due:
                return Result(earliest(plan.deadline, due), error)
        self._held_back.pop(uid, None)
        target = Target(recipe.kind, key.namespace, key.name, uid, found.metadata.resource_version)
        try:
            self._backends.leadership.require()
            await write_status(target, patch, self._backends, quiet=status.phase not in _WAKES_THE_OWNER)
        except BackendError as failure:
            return Result(plan.deadline, error or failure)
        self._progress.status_written(found, status, self._first_seen.get(uid, now))
        written = recipe.cache.get(key.namespace, key.name)
        if written is None or error is not None:
            return Result(plan.deadline, error)
        # Deadlines hang on what has just been written (readyAt, endedAt): ask the planner once more, nothing is read.
        then = recipe.plan(recipe.case(written, seen, now))
        return Result(now if then.actions else then.deadline)


def _nobody_asks(_key: Key, *, reads: bool) -> None:
    """Until the worker is there."""


def _known(seen: MatchSeen | RoomSeen, learned: Learned) -> Learned:
    """What this round has seen, for the next one to start from."""
    if isinstance(seen, MatchSeen):
        return replace(learned, ledger=seen.ledger if isinstance(seen.ledger, Present) else None)
    return replace(learned, record=value_of(seen.record))


def _cannot_be_written(found: Match | Room) -> bool:
    """Deleted with no finalizer left: it is gone as soon as anybody looks."""
    return found.metadata.deletion_timestamp is not None and not found.metadata.finalizers


def _is_just_restored(room: Room, status: Any) -> bool:
    """Whether the Room was lost and is there again: others may be still missing, and come before what is said of it."""
    return bool(status.restores != room.status.restores and status.phase is RoomPhase.ACTIVE)


def _is_transitional(match: Match, status: Any) -> bool:
    """Whether the Match is on its way and will most likely have gone on in a moment."""
    if status.phase is MatchPhase.TERMINATING:
        return True
    return match.status.phase is None and status.phase in {MatchPhase.PENDING, MatchPhase.CREATING}
