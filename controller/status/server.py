"""The status of a LiveKit server: conditions whenever they change, numbers every half minute. Pure.

Neighbors: `rules.server_case` says when numbers are due, `loop.reconcile` writes the status.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.api.conditions import ConditionReason, ConditionType
from controller.api.failures import LastError
from controller.api.livekitserver import LiveKitServerStatus
from controller.rules.server_case import ServerCase
from controller.status.conditions import Verdict, false, merge, true
from controller.status.times import whole_milliseconds


def server_status(case: ServerCase, error: LastError | None) -> LiveKitServerStatus:
    """The status that follows from the case; `error` is what kept the last step from working."""
    server, seen, before = case.server, case.seen, case.server.status
    now = whole_milliseconds(case.now)
    conditions = merge(before.conditions, _conditions(case), server.metadata.generation, now)
    if conditions == before.conditions and not case.numbers_are_due:
        return before.model_copy(update={"observed_generation": server.metadata.generation})
    return LiveKitServerStatus(
        observed_generation=server.metadata.generation,
        conditions=conditions,
        latency_ms=seen.health.latency_ms,
        rooms=seen.rooms,
        participants=seen.participants,
        version=seen.health.version or None,
        checked_at=now,
        last_error=error or before.last_error,
    )


def _conditions(case: ServerCase) -> Iterator[Verdict]:
    trouble = case.seen.trouble
    if trouble is not None:
        yield false(ConditionType.READY, trouble.reason, trouble.sentence)
    elif case.seen.health.auto_create:
        told = (
            "the server answers, but room.auto_create is on in its configuration: a client with a token that is still "
            "valid can open a closed room again; set it to false"
        )
        yield true(ConditionType.READY, ConditionReason.AUTO_CREATE, told)
    else:
        yield true(ConditionType.READY, ConditionReason.ANSWERS, "the server answers and accepts the API key")
