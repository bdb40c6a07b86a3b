"""Executes the actions of a plan concurrently, and reports the result of each.

`EXECUTORS` registers one executor per type of action. The executors are grouped by backend: `act.kubernetes`,
`act.livekit`, `act.users` and `act.tokens`. An error of a backend is a result, not an exception: `loop.reconcile` still
computes the status, and `loop.worker` decides when to try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from controller.act import kubernetes, livekit, tokens, users
from controller.backends.bundle import Backends
from controller.errors import BackendError, BackendUnavailable, StateLost
from controller.facts.learned import READ_AGAIN, Effect
from controller.plan import actions as a
from controller.telemetry import metrics

log = structlog.get_logger(__name__)

Executor = Callable[[Any, Backends], Awaitable[Effect | None]]

EXECUTORS: Mapping[type[a.Action], Executor] = {
    a.AddFinalizer: kubernetes.add_finalizer,
    a.ReleaseFinalizer: kubernetes.release_finalizer,
    a.DeleteObject: kubernetes.delete_object,
    a.CreateRoom: kubernetes.create_room,
    a.UpdateRoom: kubernetes.update_room,
    a.DeleteRoom: kubernetes.delete_room,
    a.Claim: users.claim,
    a.RestoreUsers: users.restore,
    a.Advance: users.advance,
    a.RecordEnd: users.record_end,
    a.Settle: users.settle,
    a.IssueTokens: tokens.issue_tokens,
    a.RevokeTokens: tokens.revoke_tokens,
    a.PlaceRoom: kubernetes.place_room,
    a.CreateLiveKitRoom: livekit.create_room,
    a.UpdateLiveKitMetadata: livekit.update_metadata,
    a.TellRoomOfDrain: livekit.tell_of_drain,
    a.TellUsersOfDrain: users.tell_of_drain,
    a.DeleteLiveKitRoom: livekit.delete_room,
    a.OrphanLiveKitRoom: livekit.orphan_room,
    a.RemoveStranger: livekit.remove_stranger,
    a.WriteRoomRecord: users.write_room_record,
    a.EndRoomRecord: users.end_room_record,
}


@dataclass(frozen=True, slots=True)
class ActionResult:
    """The result of one action: an error, or the effect that the answer shows."""

    action: a.AnyAction
    error: BackendError | None = None
    effect: Effect | None = None


async def execute(actions: tuple[a.AnyAction, ...], backends: Backends) -> tuple[ActionResult, ...]:
    """Run all of `actions` concurrently, each to its end. Errors of backends are part of the results.

    Raises LeadershipLost if this replica no longer holds the lease.
    """
    if len(actions) == 1:
        return (await _run(actions[0], backends),)
    outcomes = await asyncio.gather(*(_run(action, backends) for action in actions), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return tuple(outcome for outcome in outcomes if isinstance(outcome, ActionResult))


async def _run(action: a.AnyAction, backends: Backends) -> ActionResult:
    name = type(action).__name__
    backends.leadership.require()
    try:
        effect = await EXECUTORS[type(action)](action, backends)
    except BackendError as error:
        error.step = name
        metrics.action_done(name, type(error).__name__)
        # `clients.request` says once for all that a backend is away, and `backends.pools` that data were lost.
        say = log.debug if error.is_told or isinstance(error, BackendUnavailable | StateLost) else log.warning
        say("action failed", action=name, error=str(error), may_have_run=error.may_have_run)
        return ActionResult(action, error=error, effect=READ_AGAIN)
    metrics.action_done(name, "refused" if effect is not None and effect.refusal is not None else "ok")
    log.debug("action done", action=name, idempotency_key=action.idempotency_key)
    return ActionResult(action, effect=effect)
