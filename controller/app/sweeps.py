"""Constructs the sweeps of a term from the parts of the replica, and what a sweep by hand shares with them.

Neighbors: `app.term` runs the sweeper as one of its loops, `app.sweep_by_hand` sweeps without a term.
"""

from __future__ import annotations

from functools import partial

from controller.announce.error_records import ErrorRecords
from controller.api.failure_codes import FailureCode
from controller.api.failures_table import FAILURES
from controller.app.wiring import Parts
from controller.backends.bundle import Backends
from controller.backends.cleaning import Cleaner
from controller.backends.leftover_rooms import RoomFinder
from controller.backends.leftovers import Finder, SweepRules
from controller.backends.objects import Objects
from controller.backends.restores import Restorer
from controller.backends.sweep_lock import SweepLock, operator_name
from controller.clients.redis.sweeps import SweepStore
from controller.triggers.deep_sweep import DeepSweep
from controller.triggers.sweep import Sweeper
from controller.triggers.sweep_rooms import RoomSweep
from controller.triggers.sweep_work import SweepWork


def make_sweeper(parts: Parts, backends: Backends, restorer: Restorer) -> Sweeper:
    """The sweeps of one term."""
    settings, rules = parts.settings, sweep_rules(parts)
    finder = Finder(parts.redis, settings.cluster_id, rules, backends.matches, parts.clock)
    cleaner = Cleaner(
        settings.cluster_id,
        rules,
        pools=backends.pools,
        matches=backends.matches,
        rooms=backends.rooms,
        objects=Objects(parts.kubernetes),
        restorer=restorer,
        clock=parts.clock,
        servers=backends.servers,
        may_close=parts.leadership.require,
    )
    work = SweepWork(cleaner, SweepLock(sweep_store(parts), operator_name(parts.leadership.epoch, parts.replica)))
    rooms = RoomFinder(settings.cluster_id, rules.serves, backends.rooms)
    return Sweeper(
        backends,
        restorer,
        RoomSweep(backends, rooms, cleaner, settings.sweep_seconds),
        finder,
        DeepSweep(backends, finder, work, settings.sweep_deep_seconds),
        work,
        settings.sweep_seconds,
        partial(_record_damage, parts.errors),
    )


def sweep_store(parts: Parts) -> SweepStore:
    """The lock and the notes of the sweeps of this installation."""
    return SweepStore(parts.redis, parts.settings.cluster_id, parts.settings.lease)


def sweep_rules(parts: Parts) -> SweepRules:
    """How sweeps judge."""
    settings = parts.settings
    return SweepRules(
        namespaces=settings.namespaces,
        max_age_seconds=settings.sweep_max_age_seconds,
        batch=settings.sweep_batch,
        silent_seconds=settings.heartbeat_seconds * settings.heartbeat_misses,
        tells=settings.sweep_notices,
        is_ours=parts.neighbors.serves,
    )


def _record_damage(errors: ErrorRecords, namespace: str, key: str) -> None:
    """A sweep has removed a damaged key, so the recovery has succeeded already."""
    failure = FAILURES[FailureCode.RECORD_DAMAGED]
    told = {"message": f"the key {key} had another type; it was removed", "key": key}
    errors.failed(failure, namespace=namespace, step="sweep", object_=f"key/{key}", context=told, begins=True)
    errors.recovered(failure, namespace)
