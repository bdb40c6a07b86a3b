"""The one setter for conditions: the transition time moves only when the status changes. Pure.

It follows the Kubernetes API conventions. `observedGeneration` is rewritten in each condition when the spec changes,
since `kubectl wait` believes no condition that is older. `status.match_conditions` and `status.room_conditions` make
the verdicts; `api.conditions` is the table of what they can say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from controller.api.conditions import ConditionReason, ConditionType, Reason
from controller.api.failures import ErrorType, LastError, Recovery
from controller.api.meta import Condition, ConditionStatus
from controller.errors import clip

# Validation notifies: admission of the cluster, or the schema, denies what we send.
_FOR_ADMINISTRATORS = frozenset({Recovery.ESCALATE, Recovery.NOTIFY})
_NO_ANSWER = frozenset({ErrorType.NETWORK, ErrorType.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a condition says now, before it is compared with what it said before."""

    type: ConditionType
    status: ConditionStatus
    reason: Reason
    message: str


def true(type_: ConditionType, reason: Reason, message: str) -> Verdict:
    """The condition holds."""
    return Verdict(type_, ConditionStatus.TRUE, reason, message)


def false(type_: ConditionType, reason: Reason, message: str) -> Verdict:
    """The condition does not hold."""
    return Verdict(type_, ConditionStatus.FALSE, reason, message)


def not_known(type_: ConditionType, reason: Reason, message: str) -> Verdict:
    """It is not known whether the condition holds."""
    return Verdict(type_, ConditionStatus.UNKNOWN, reason, message)


def is_again(error: LastError, before: LastError | None, conditions: Iterable[Condition]) -> bool:
    """Whether the step has failed in this way before, and not worked since.

    `before` is the last error that the status has, which may be solved long since: its conditions tell that.
    """
    if before is None or before.type is not error.type:
        return False
    degraded = (one for one in conditions if one.type == ConditionType.DEGRADED)
    return any(one.status is ConditionStatus.TRUE or one.reason == ConditionReason.RETRYING for one in degraded)


def latest(error: LastError | None, before: LastError | None, conditions: Iterable[Condition]) -> LastError | None:
    """The error that the status has from now on: the current one, or else the latest one.

    An error that is repeated costs no write. While a backend does not answer, the sentence for that may change.
    """
    if error is None or before is None:
        return error or before
    is_known = is_again(error, before, conditions)
    return before if is_known and (error.message == before.message or error.type in _NO_ANSWER) else error


def of_last_step(error: LastError | None, before: LastError | None, conditions: Iterable[Condition]) -> Verdict | None:
    """What a failure of the last step says about Degraded; None if the step did not fail.

    Degraded holds if an administrator has to remove the cause, or if the step fails again and again: `before` and
    `conditions` are those that the status has. After a single failure it does not hold; the message names the failure.
    """
    if error is None:
        return None
    if error.recovery in _FOR_ADMINISTRATORS and error.type not in _NO_ANSWER:
        return true(ConditionType.DEGRADED, ConditionReason.ACTION_REQUIRED, error.message)
    told = f"{error.message}; it is tried again until it succeeds"
    if not is_again(error, before, conditions):
        return false(ConditionType.DEGRADED, ConditionReason.RETRYING, told)
    answers = error.type not in _NO_ANSWER
    reason = ConditionReason.BACKEND_REFUSES if answers else ConditionReason.BACKEND_UNREACHABLE
    return true(ConditionType.DEGRADED, reason, told)


def progress(ready: Verdict, *, stalled: bool, over: bool) -> Iterator[Verdict]:
    """What kstatus asks (the rules of Flux and of `helm --wait`): at most one of Reconciling and Stalled, only True.

    kstatus goes on waiting while Ready is False, so an object that is over in the normal way has no Ready either.
    """
    if stalled:
        yield true(ConditionType.STALLED, ready.reason, ready.message)
    elif not over and ready.status is not ConditionStatus.TRUE:
        yield true(ConditionType.RECONCILING, ready.reason, ready.message)


def merge(
    before: Iterable[Condition], verdicts: Iterable[Verdict], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions after `verdicts`, in the order of the verdicts; types without a verdict are dropped."""
    known = {condition.type: condition for condition in before}
    whole_second = now.replace(microsecond=0)
    return tuple(_condition(known.get(v.type), v, generation, whole_second) for v in verdicts)


def _condition(before: Condition | None, verdict: Verdict, generation: int, now: datetime) -> Condition:
    moved = before is None or before.status is not verdict.status
    return Condition(
        type=verdict.type.value,
        status=verdict.status,
        reason=verdict.reason.value,
        message=clip(verdict.message),
        last_transition_time=now if moved or before is None else before.last_transition_time,
        observed_generation=generation,
    )
