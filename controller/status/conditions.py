"""One pure setter for conditions: the transition time moves only with the status, whatever else changes.

After the Kubernetes API conventions; `observedGeneration` is rewritten in every condition when the spec changes, since
`kubectl wait` believes none that is older.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from controller.api.meta import Condition, ConditionStatus


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a condition says now, before it is compared with what it said."""

    type: str
    status: ConditionStatus
    reason: str
    message: str


def true(type_: str, reason: str, message: str) -> Verdict:
    """It holds."""
    return Verdict(type_, ConditionStatus.TRUE, reason, message)


def false(type_: str, reason: str, message: str) -> Verdict:
    """It does not hold."""
    return Verdict(type_, ConditionStatus.FALSE, reason, message)


def merge(
    before: Iterable[Condition], verdicts: Iterable[Verdict], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions after `verdicts`, in their order; types that they do not name are dropped."""
    known = {condition.type: condition for condition in before}
    whole_second = now.replace(microsecond=0)
    return tuple(_condition(known.get(v.type), v, generation, whole_second) for v in verdicts)


def _condition(before: Condition | None, verdict: Verdict, generation: int, now: datetime) -> Condition:
    moved = before is None or before.status is not verdict.status
    return Condition(
        type=verdict.type,
        status=verdict.status,
        reason=verdict.reason,
        message=verdict.message,
        last_transition_time=now if moved or before is None else before.last_transition_time,
        observed_generation=generation,
    )
