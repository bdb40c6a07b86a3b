"""One reconcile of one key: observe, plan, act, until nothing is left to do at once; then the status.

The planner is asked again after every round of actions, with what was observed after them, so a plan never has to
foresee an answer. The status is computed last, also after a failure, and written once if it changed. A merely
transitional status (the next step is under way in another key of ours) is held back for a moment: its API write would
say what is no longer true when it arrives. `loop.status_limit` holds back the statuses of an object that changes too
often. Actions run as far as `loop.budgets` has slots for their backends. What differs between kinds is in
`loop.recipes`. Neighbors: `loop.worker` runs this, `loop.record` keeps what was decided.
"""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import structlog

from controller.act.execute import ActionResult, execute
from controller.act.kubernetes import write_status
from controller.announce.announcer import Announcer
from controller.api.match import Match
from controller.api.meta import HasMetadata, Resource
from controller.api.names import MATCH, ROOM, TRACEPARENT, ResourceKind
from controller.backends.bundle import Backends
from controller.errors import BackendError, BackendRefused, BackendUnavailable, Conflict
from controller.facts.learned import Learned
from controller.facts.unreadable import Unreadable
from controller.loop.budgets import Budgets
from controller.loop.key import Key
from controller.loop.recipes import Recipe, Recipes
from controller.loop.record import Recorder
from controller.loop.status_limit import StatusLimit
from controller.loop.waiting import breaker_of
from controller.loop.work_queue import WorkQueue
from controller.loop.worker import Result
from controller.plan.actions import AnyAction, ReleaseFinalizer, Target
from controller.plan.step import Plan, earliest
from controller.status.errors import last_error
from controller.status.patch import changes
from controller.telemetry import tracing
from controller.telemetry.trace_ids import trace_id

log = structlog.get_logger(__name__)

# More rounds than any sequence of steps needs: reaching it means that two steps undo each other.
_MAX_ROUNDS = 10
_TRACED = frozenset({MATCH, ROOM})
_TRANSITIONAL = timedelta(milliseconds=200)


class Reconciler:
    """Runs the recipe of a key's kind."""

    def __init__(
        self,
        recipes: Recipes,
        backends: Backends,
        queue: WorkQueue,
        budgets: Budgets,
        announcer: Announcer,
        recorder: Recorder | None,
    ) -> None:
        self._recipes = recipes
        self._backends = backends
        self._queue = queue
        self._budgets = budgets
        self._announcer = announcer
        self._recorder = recorder
        self._numbers = itertools.count(1)
        self._held_back: dict[str, datetime] = {}
        self._first_seen: dict[str, datetime] = {}
        self._status_limit = StatusLimit()
        self._told_of_pause: set[str] = set()

    async def __call__(self, key: Key) -> Result:
        """Bring `key` as far as it gets."""
        number = next(self._numbers)
        structlog.contextvars.bind_contextvars(key=str(key), reconcile=number)
        try:
            if not tracing.is_on():
                return await self._run(key, self._recipes[key.kind])
            return await self._traced(key, number)
        finally:
            self._budgets.finished(key)

    async def _traced(self, key: Key, number: int) -> Result:
        """The same as one span in the trace of the Match."""
        found = self._backends.caches[key.kind].get(key.namespace, key.name)
        if found is None or key.kind not in _TRACED:
            return await self._run(key, self._recipes[key.kind])
        with tracing.working(_work(key, found, number)):
            result = await self._run(key, self._recipes[key.kind])
            if result.error is not None:
                tracing.failed_with(result.error.code or type(result.error).__name__)
            return result

    def forget(self, found: HasMetadata) -> None:
        """The object is gone."""
        self._held_back.pop(found.metadata.uid, None)
        self._first_seen.pop(found.metadata.uid, None)
        self._status_limit.forget(found.metadata.uid)
        self._told_of_pause.discard(found.metadata.uid)
        self._announcer.gone(found.metadata.uid)

    def clock_was_set(self, by: timedelta) -> None:
        """The clock went on or back by so much: moments that are kept go with it."""
        for moments in (self._held_back, self._first_seen):
            moments.update({uid: moment + by for uid, moment in moments.items()})
        self._status_limit.clock_was_set(by)

    async def _run(self, key: Key, recipe: Recipe[Any, Any, Any, Any]) -> Result:
        cache = self._backends.caches[key.kind]
        learned, uid = Learned(), ""
        error: BackendError | None = None
        for _ in range(_MAX_ROUNDS):
            known = cache.get(key.namespace, key.name)
            try:
                found = await self._readable(recipe, known)
            except BackendError as failure:
                return Result(error=error or failure)
            if found is None:
                self._queue.observing(key, reads=True)  # nothing is left to read, whatever woke the key
                return Result(error=error)
            if found.metadata.uid != uid:
                # The name has a new object: what was learned of the old one does not concern it.
                uid, learned = found.metadata.uid, Learned()
                structlog.contextvars.bind_contextvars(trace_id=trace_id(_call_of(found)))
            self._queue.observing(key, reads=learned.ledger is None and learned.record is None)
            believed = recipe.believed(found, self._backends.clock.now())
            try:
                seen = await recipe.observe(believed, self._backends, learned)
            except BackendRefused as failure:
                # A record makes no sense: nothing is decided before it is written again.
                return Result(error=error or failure)
            now = self._backends.clock.now()
            if cache.has(uid):  # else it went meanwhile, and nothing would ever remove it
                self._first_seen.setdefault(uid, now)
            case = recipe.case(believed, seen, now)
            plan = recipe.plan(case)
            if not plan.frozen:
                self._told_of_pause.discard(uid)
            if self._recorder is not None:
                self._recorder.record(key, believed, seen, now, plan)
            actions = self._with_slots(key, plan.actions) if error is None else ()
            if not actions and isinstance(known, Unreadable):
                return Result(plan.deadline, error or self._blocked(key, plan))
            if not actions:
                return await self._conclude(key, recipe, found, seen, case, plan, now, error)
            if any(isinstance(action, ReleaseFinalizer) for action in actions):
                recipe.leaving(self._announcer, case)
            results = await self._execute(actions)
            recipe.acted(self._announcer, found, _done(results))
            error = next((result.error for result in results if result.error is not None), None)
            learned = recipe.known(seen, learned).after((result.effect for result in results), now)
        raise RuntimeError(f"{key}: still not at rest after {_MAX_ROUNDS} rounds; the last plan was {plan}")

    def _tell_of_pause(self, recipe: Recipe[Any, Any, Any, Any], found: Any) -> None:
        """Say once for each pause, in an Event, what a deletion waits for."""
        uid = found.metadata.uid
        if found.metadata.deletion_timestamp is not None and uid not in self._told_of_pause:
            self._told_of_pause.add(uid)
            self._announcer.deletion_paused(recipe.kind, found)

    def _says_nothing(self, found: Any, kind: ResourceKind, patch: dict[str, Any]) -> bool:
        """Whether only fields differ that the installed CRD does not know: each look would write them again."""
        lost = self._backends.lost_fields
        return lost.are_some(kind) and lost.cover(kind, found.status.manifest(), patch)

    def _blocked(self, key: Key, plan: Plan) -> BackendUnavailable | None:
        """The error of the backend that has to be read and could not be."""
        if plan.blocked_by is None:
            return None
        breaker = breaker_of(key, plan.blocked_by, self._backends)
        failure = breaker.failure if breaker is not None else None
        if isinstance(failure, BackendUnavailable) and failure.sentence == plan.waits_for:
            return failure.not_sent("read")
        # What the plan waits for is the sentence of the failed read, which names the backend already.
        return BackendUnavailable(plan.blocked_by, "read", plan.waits_for.removeprefix(f"{plan.blocked_by}: "))

    def _with_slots(self, key: Key, actions: tuple[AnyAction, ...]) -> tuple[AnyAction, ...]:
        """The actions that may run now. For the others the key waits: it is woken when their backend has a slot."""
        return tuple(action for action in actions if self._budgets.take(key, action.backend))

    async def _execute(self, actions: tuple[AnyAction, ...]) -> tuple[ActionResult, ...]:
        try:
            return await execute(actions, self._backends)
        finally:
            for action in actions:
                self._budgets.give_back(action.backend)

    async def _readable(self, recipe: Recipe[Any, Any, Any, Any], known: Resource | Unreadable | None) -> Any:
        """The object; None if there is none, or one that cannot be read: such an object is left alone.

        One that is being deleted has a stand-in. Raises BackendError.
        """
        if not isinstance(known, Unreadable):
            return known
        if known.metadata.deletion_timestamp is None or recipe.stand_in is None:
            return None
        return await recipe.stand_in(known, self._backends)

    async def _conclude(
        self,
        key: Key,
        recipe: Recipe[Any, Any, Any, Any],
        found: Any,
        seen: Any,
        case: Any,
        plan: Plan,
        now: datetime,
        error: BackendError | None,
    ) -> Result:
        """Write the status if it says something new; what remains is to wait."""
        if plan.frozen:
            self._tell_of_pause(recipe, found)
            if recipe.paused is None:
                return Result(plan.deadline, error)
        error, uid = error or self._blocked(key, plan), found.metadata.uid
        is_held_back = error is None and not plan.frozen and recipe.is_held_back(case)
        if is_held_back and self._backends.caches[key.kind].has(uid):
            # It is not even computed: few of the statuses that are held back are ever written.
            due = self._held_back.setdefault(uid, now + _TRANSITIONAL)
            if now < due:
                return Result(earliest(plan.deadline, due), error)
        self._held_back.pop(uid, None)
        status = _status(recipe, case, plan, error, now)
        patch = changes(found.status, status)
        if not patch or _cannot_be_written(found) or self._says_nothing(found, recipe.kind, patch):
            return Result(plan.deadline, error)
        due = self._status_limit.next_at(uid, now)
        if due > now:
            return Result(earliest(plan.deadline, due), error)
        target = Target(recipe.kind, key.namespace, key.name, uid, found.metadata.resource_version)
        try:
            self._backends.leadership.require()
            await write_status(target, patch, self._backends, quiet=recipe.is_quiet(status))
        except BackendError as failure:
            return Result(plan.deadline, error or failure)
        if self._backends.caches[key.kind].has(uid):
            # Not `now`: the answer to the write may have set the clock.
            self._status_limit.written(uid, self._backends.clock.now())
        recipe.announce(self._announcer, found, status, self._first_seen.get(uid, now))
        written = self._backends.caches[key.kind].get(key.namespace, key.name)
        if written is None or isinstance(written, Unreadable) or error is not None:
            return Result(plan.deadline, error)
        # Deadlines hang on what has just been written (readyAt, endedAt): ask the planner once more, nothing is read.
        then = recipe.plan(recipe.case(written, seen, now))
        # Actions that are left wait for a slot: the key is woken when there is one.
        return Result(now if then.actions and not plan.actions else then.deadline)


def _status(
    recipe: Recipe[Any, Any, Any, Any], case: Any, plan: Plan, error: BackendError | None, now: datetime
) -> Any:
    if plan.frozen and recipe.paused is not None:
        return recipe.paused(case)
    reported = last_error(error, now) if error is not None and not isinstance(error, Conflict) else None
    return recipe.status(case, reported)


def _work(key: Key, found: HasMetadata, number: int) -> tracing.Work:
    """What a span says of this reconcile. What it came from is told until the users are claimed."""
    attributes: dict[str, str | int] = {
        "k8s.namespace.name": key.namespace,
        "roomkeeper.kind": key.kind.kind,
        "roomkeeper.name": key.name,
        "roomkeeper.reconcile": number,
    }
    is_new = isinstance(found, Match) and found.status.started_at is None
    link = tracing.link_of(found.metadata.annotations.get(TRACEPARENT, "")) if is_new else None
    return tracing.Work(_call_of(found), f"reconcile {key.kind.kind}", attributes, link)


def _call_of(found: HasMetadata) -> str:
    """What joins all that is done for one call: the UID of the Match, also for the Room that it has made."""
    return next((owner.uid for owner in found.metadata.owner_references if owner.controller), found.metadata.uid)


def _done(results: tuple[ActionResult, ...]) -> tuple[Any, ...]:
    """The actions that succeeded."""
    return tuple(result.action for result in results if result.error is None)


def _cannot_be_written(found: Resource) -> bool:
    """Deleted with no finalizer left: the API server no longer has it, or will not in a moment."""
    return found.metadata.deletion_timestamp is not None and not found.metadata.finalizers
