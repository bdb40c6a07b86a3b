"""Every metric of the operator, in one place, with the helpers that record them.

Names follow Prometheus' conventions (base units, `_total`); docs/reference/metrics.md is made from this module. Labels
never hold a name of a user, a Match or a room: their number is not bounded.
"""

from __future__ import annotations

import functools

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

reconciles = Counter(
    "roomkeeper_reconciles_total",
    "Reconciles by kind and result: ok, conflict, retry, timeout, not-leader, bug.",
    ["kind", "result"],
)
reconcile_seconds = Histogram(
    "roomkeeper_reconcile_duration_seconds", "Time of one reconcile, all its rounds.", ["kind"], buckets=_FAST
)
queue_wait_seconds = Histogram(
    "roomkeeper_queue_wait_seconds", "Time from the first trigger until the reconcile begins.", buckets=_FAST
)
queue_depth = Gauge("roomkeeper_queue_depth", "Keys that wait for a reconcile.")
keys_in_hand = Gauge("roomkeeper_keys_in_hand", "Keys that are being reconciled.")
deadlines = Gauge("roomkeeper_deadlines", "Keys that wait for a moment in time.")
triggers = Counter("roomkeeper_triggers_total", "Keys put into the queue, by the source of the wake.", ["source"])
watch_events = Counter("roomkeeper_watch_events_total", "Events of the watch of our kinds, by kind.", ["kind"])
ready_seconds = Histogram(
    "roomkeeper_match_ready_seconds", "From the first reconcile of a Match until it was Ready.", buckets=_SLOW
)
connected_seconds = Histogram(
    "roomkeeper_match_connected_seconds", "From Ready until both people were in.", buckets=_SLOW
)
matches_finished = Counter("roomkeeper_matches_finished_total", "Matches that are over, by reason.", ["reason"])
actions = Counter("roomkeeper_actions_total", "Actions carried out, by name and result.", ["action", "result"])
api_writes = Counter("roomkeeper_api_writes_total", "Writes to the Kubernetes API, by verb.", ["verb"])
backend_seconds = Histogram(
    "roomkeeper_backend_call_duration_seconds",
    "Calls to Kubernetes, LiveKit and Redis.",
    ["backend", "operation"],
    buckets=_FAST,
)
backend_errors = Counter(
    "roomkeeper_backend_call_errors_total",
    "Calls that were refused or not answered.",
    ["backend", "operation", "code"],
)
webhooks = Counter("roomkeeper_webhooks_total", "LiveKit webhooks by what became of them.", ["result"])
webhooks_missed = Counter(
    "roomkeeper_webhooks_missed_total",
    "Changes of people that polling found before any webhook told of them.",
)
detection_seconds = Histogram(
    "roomkeeper_detection_seconds",
    "From a change of somebody in a call, by the witness's own time, until the Match's status says it.",
    ["witness"],
    buckets=_SLOW,
)
signals = Counter(
    "roomkeeper_signals_total", "Signals and older clients' flags, by what became of them.", ["type", "via", "result"]
)
heartbeats_doubted = Counter(
    "roomkeeper_heartbeats_doubted_total", "Users who fell silent together with many others: nobody counts as lost."
)
heartbeats_contradicted = Counter(
    "roomkeeper_heartbeats_contradicted_total", "Users who fell silent while LiveKit said that their media was up."
)
waiters_expired = Counter(
    "roomkeeper_waiters_expired_total", "Users who left the queue because their client had fallen silent."
)
leader = Gauge("roomkeeper_leader", "1 while this replica holds the lease.")
epoch = Gauge("roomkeeper_epoch", "The epoch of the lease that this replica holds.")
loop_lag_seconds = Gauge("roomkeeper_loop_lag_seconds", "How late the event loop wakes up.")
cached_objects = Gauge("roomkeeper_cached_objects", "Objects in the caches.", ["kind"])
events_posted = Counter("roomkeeper_events_posted_total", "Kubernetes Events written, by result.", ["result"])


@functools.cache
def _action(name: str, result: str) -> Counter:
    return actions.labels(name, result)


@functools.cache
def _trigger(source: str) -> Counter:
    return triggers.labels(source)


def action_done(name: str, result: str) -> None:
    """Count one action."""
    _action(name, result).inc()


def triggered(source: str) -> None:
    """Count one wake-up."""
    _trigger(source).inc()


def signal_came(kind: str, via: str, result: str) -> None:
    """Count one signal or flag."""
    signals.labels(kind, via, result).inc()


_WRITES = frozenset({"create", "replace", "patch", "delete"})
_children: dict[tuple[str, str], Histogram] = {}


def backend_call(backend: str, operation: str, outcome: str, seconds: float) -> None:
    """Record one call: `outcome` is an HTTP status, "OK", or "unreachable"."""
    child = _children.get((backend, operation))
    if child is None:
        child = _children[backend, operation] = backend_seconds.labels(backend, operation)
    child.observe(seconds)
    if backend == "Kubernetes" and operation in _WRITES:
        api_writes.labels(operation).inc()
    if not (outcome.startswith("2") or outcome == "OK"):
        backend_errors.labels(backend, operation, outcome).inc()


__all__ = ["REGISTRY", "backend_call"]
