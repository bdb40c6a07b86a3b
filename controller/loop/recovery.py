"""What follows from an error of a reconcile: the one place that finds its row in the table of errors and follows it.

Each error is counted and recorded. The pauses of Retry are in `loop.backoff`; Escalate shows in the status (the
condition Degraded) and as an Event, which `loop.reconcile` writes; Requeue is an ending, which the planner decides when
the time for a step is over. What remains is done here: Reset, Notify, Fallback. Neighbors: `loop.worker` asks here once
for each reconcile that failed, and tells when a key has succeeded; `rules.failures` finds the row,
`announce.error_records` keeps the records.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import structlog

from controller.announce.error_records import ErrorRecords
from controller.api.failure_codes import Failure, FailureCode
from controller.api.failures import Recovery as Way
from controller.api.match import Match
from controller.api.names import MATCH, ResourceKind
from controller.api.notices import TOLD
from controller.api.phases import MatchPhase
from controller.api.room import Room
from controller.backends.bundle import Backends
from controller.backends.resets import reset_match, reset_room, reset_unreadable
from controller.clients.redis.outbox import Outbox
from controller.errors import BackendError
from controller.facts.time import milliseconds
from controller.facts.unreadable import Unreadable
from controller.loop.key import Key
from controller.rules.failures import Verdict, classify, of_ending

log = structlog.get_logger(__name__)

# Notices are kept for five minutes, and no user gets the same one twice in that time.
_TELLS_FOR: Final = timedelta(minutes=2)

# What people have to repair, while a room that was not made can be made on another server.
_MOVES: Final = frozenset({FailureCode.LIVEKIT_UNAUTHORIZED, FailureCode.LIVEKIT_WRONG_URL, FailureCode.SERVER_UNKNOWN})


class Recovery:
    """Counts, records and follows the errors of all keys."""

    def __init__(self, records: ErrorRecords, backends: Backends) -> None:
        self._records = records
        self._backends = backends
        self._failed: dict[Key, Failure] = {}

    def failed(self, key: Key, error: Exception, *, attempt: int = 1) -> Verdict:
        """A reconcile of `key` failed, for the `attempt`th time in a row. Returns what the error is."""
        verdict = classify(error)
        failure = verdict.failure
        step = error.step or error.operation.partition(" ")[0] if isinstance(error, BackendError) else ""
        self._records.failed(
            failure,
            namespace=key.namespace,
            step=step,
            object_=f"{key.kind.singular}/{key.name}",
            context=self._context(key, error, attempt),
            begins=self._failed.get(key) is not failure,
        )
        self._failed[key] = failure
        return verdict

    async def carry_out(self, key: Key, verdict: Verdict) -> None:
        """Do what the row asks for, before the step is tried again. What is not possible yet follows the next try."""
        failure, known = verdict.failure, self._known(key)
        try:
            if failure.recovery is Way.RESET:
                await self._reset(key.kind, known)
            elif failure.recovery is Way.FALLBACK or failure.code in _MOVES:
                self._fall_back(known)
            elif failure.recovery is Way.NOTIFY:
                await self._notify(self._match_of(key, known), failure)
        except BackendError as error:
            tell = log.debug if error.is_told else log.info
            tell("the recovery from an error is not possible yet", recovery=str(failure.recovery), why=error.sentence)

    async def succeeded(self, key: Key) -> None:
        """A reconcile of `key` got to its end. A Match that had to be given up has not recovered."""
        failure, known = self._failed.pop(key, None), self._known(key)
        is_given_up = isinstance(known, Match) and known.status.phase is MatchPhase.FAILED
        if failure is not None and not is_given_up:
            self._records.recovered(failure, key.namespace)
        if is_given_up:
            await self._tell_why(known)

    async def _reset(self, kind: ResourceKind, known: object) -> None:
        if isinstance(known, Match):
            await reset_match(known, self._backends)
        elif isinstance(known, Room):
            await reset_room(known, self._backends)
        elif isinstance(known, Unreadable) and kind is MATCH:
            await reset_unreadable(known, self._backends)

    def _fall_back(self, known: object) -> None:
        if not isinstance(known, Room):
            return
        moved_to = self._backends.servers.move_elsewhere(known)
        if moved_to:
            log.warning("a new room is made on another LiveKit server", name=known.metadata.name, server=moved_to)

    async def _tell_why(self, match: Match) -> None:
        """Tell the users why their Match was given up, if the table asks for it."""
        failure = of_ending(match.status.reason) if match.status.reason else None
        if failure is None or failure.code not in TOLD or match.status.ended_at is None:
            return
        if self._backends.clock.now() - match.status.ended_at > _TELLS_FOR:
            return
        try:
            await self._notify(match, failure)
        except BackendError as error:
            tell = log.debug if error.is_told else log.info
            tell("users cannot be told why their match failed", name=match.metadata.name, why=error.sentence)

    async def _notify(self, match: Match | None, failure: Failure) -> None:
        if match is None or failure.code not in TOLD:
            return
        namespace = match.metadata.namespace
        pool = await self._backends.pools.get(namespace)
        users = match.spec.identities
        if failure.code is FailureCode.USER_BLOCKED:  # the other one does not learn of it
            users = tuple([user for user in users if await pool.redis.exists(pool.keys.blocked(user))])
        now_ms = milliseconds(self._backends.clock.now())
        told = await Outbox(pool).failed(users, failure, match.metadata.uid, match.metadata.name, now_ms=now_ms)
        self._backends.pools.check(namespace, told)

    def _known(self, key: Key) -> Any:
        return self._backends.caches[key.kind].get(key.namespace, key.name)

    def _match_of(self, key: Key, known: object) -> Match | None:
        """The Match of a key: its own, or the one that owns its Room."""
        if isinstance(known, Room):
            owners = (owner.uid for owner in known.metadata.owner_references if owner.kind == MATCH.kind)
            known = next((match for uid in owners if (match := self._backends.matches.by_uid(uid))), None)
        return known if isinstance(known, Match) else None

    def _context(self, key: Key, error: Exception, attempt: int) -> dict[str, str]:
        """What people want to know about the error: about whom, and where the log has more."""
        known = self._known(key)
        message = str(getattr(error, "sentence", "")) or f"{type(error).__name__}: {error}"
        reconcile = structlog.contextvars.get_contextvars().get("reconcile", "")
        about = {"message": message, "key": str(key), "attempt": str(attempt), "reconcile": str(reconcile)}
        match = self._match_of(key, known)
        if match is not None:
            room, uid = match.status.room, match.metadata.uid
            about |= {
                "match": uid,
                "user": ", ".join(match.spec.identities),
                "session": match.spec.session_id or uid,
                "room": (room.livekit_name or "") if room is not None else "",
            }
        if isinstance(known, Room) and known.status.livekit_name:
            about["room"] = known.status.livekit_name
        return about
