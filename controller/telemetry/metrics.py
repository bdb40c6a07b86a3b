"""Every metric of the operator, in one place, with the helpers that record them.

Names follow Prometheus' conventions (base units, `_total`); docs/reference/metrics.md is generated from this module. A
label never holds the name of a user, a Match or a room, because their number is not bounded. Neighbors: all packages
record here, `telemetry.health` serves the result.
"""

from __future__ import annotations

import contextlib
import functools
import platform

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from controller.version import VERSION

# Every counter and histogram would have a second series with the time of its creation. The switch is read when metrics
# are served, so it also holds for metrics that were made before this line.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives it no types

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

reconciles = Counter(
    "roomkeeper_reconciles_total",
    "Reconciles by kind and result: ok, conflict, retry, waits, timeout, not-leader, bug.",
    ["kind", "result"],
)
reconcile_seconds = Histogram(
    "roomkeeper_reconcile_duration_seconds", "Time of one reconcile with all its rounds.", ["kind"], buckets=_FAST
)
queue_wait_seconds = Histogram(
    "roomkeeper_queue_wait_seconds", "Time from the first trigger until the reconcile begins.", buckets=_FAST
)
queue_depth = Gauge("roomkeeper_queue_depth", "Keys that wait for a reconcile.")
keys_in_hand = Gauge("roomkeeper_keys_in_hand", "Keys that are being reconciled.")
deadlines = Gauge("roomkeeper_deadlines", "Keys that wait for a deadline.")
triggers = Counter("roomkeeper_triggers_total", "Keys put into the queue, by the source of the wake.", ["source"])
watch_events = Counter("roomkeeper_watch_events_total", "Events of the watch of our kinds, by kind.", ["kind"])
ready_seconds = Histogram(
    "roomkeeper_match_ready_seconds", "From the first reconcile of a Match until it was Ready.", buckets=_SLOW
)
connected_seconds = Histogram(
    "roomkeeper_match_connected_seconds", "From Ready until both participants were in the room.", buckets=_SLOW
)
matches_finished = Counter(
    "roomkeeper_matches_finished_total", "Matches that are over, by the reason of their end.", ["reason"]
)
actions = Counter("roomkeeper_actions_total", "Actions carried out, by name and result.", ["action", "result"])
api_writes = Counter("roomkeeper_api_writes_total", "Writes to the Kubernetes API, by verb.", ["verb"])
backend_seconds = Histogram(
    "roomkeeper_backend_call_duration_seconds",
    "Requests to Kubernetes, LiveKit and Redis, each attempt by itself. XREAD includes the wait for an entry.",
    ["backend", "operation"],
    buckets=_FAST,
)
backend_errors = Counter(
    "roomkeeper_backend_call_errors_total",
    "Requests that were refused or not answered, by HTTP status or error word of Redis; else timeout, unreachable, "
    "malformed, other.",
    ["backend", "operation", "code"],
)
breaker_state = Gauge(
    "roomkeeper_breaker_state",
    "Whether requests are sent to a backend: 0 as they come, 1 one probe is under way, 2 none until the next probe.",
    ["backend", "server"],
)
breaker_opened = Counter(
    "roomkeeper_breaker_opened_total", "Outages of a backend: how often requests were held back.", ["backend", "server"]
)
keys_waiting = Gauge("roomkeeper_keys_waiting", "Keys that wait until a backend answers again.", ["backend"])
errors = Counter(
    "roomkeeper_errors_total",
    "Errors that stopped a step, by their row in docs/errors.md: type, severity and recovery.",
    ["type", "severity", "recovery"],
)
recoveries = Counter(
    "roomkeeper_error_recoveries_total", "Steps that succeeded after they had failed, by recovery.", ["recovery"]
)
error_records_dropped = Counter(
    "roomkeeper_error_records_dropped_total",
    "Errors without a record in Redis: too many different ones waited to be written, or Redis refused the record.",
)
webhooks = Counter("roomkeeper_webhooks_total", "LiveKit webhooks, by result.", ["result"])
webhooks_missed = Counter(
    "roomkeeper_webhooks_missed_total",
    "Changes of participants that polling found before any webhook reported them.",
)
detection_seconds = Histogram(
    "roomkeeper_detection_seconds",
    "From a change of a participant, by the witness's own time, until the Match's status shows it.",
    ["witness"],
    buckets=_SLOW,
)
signals = Counter(
    "roomkeeper_signals_total", "Signals and the flags of older clients, by result.", ["type", "via", "result"]
)
heartbeats_doubted = Counter(
    "roomkeeper_heartbeats_doubted_total",
    "Users who fell silent together with many others: none of them counts as lost.",
)
heartbeats_contradicted = Counter(
    "roomkeeper_heartbeats_contradicted_total", "Users who fell silent while LiveKit said that their media was up."
)
ghosts_found = Counter(
    "roomkeeper_ghosts_found_total", "People whom LiveKit listed on a node that no longer answered: they count as lost."
)
waiters_expired = Counter(
    "roomkeeper_waiters_expired_total", "Users who left the queue because their client fell silent."
)
leader = Gauge("roomkeeper_leader", "1 while this replica holds the lease.")
epoch = Gauge("roomkeeper_epoch", "The epoch of the lease that this replica holds.")
other_operators = Gauge(
    "roomkeeper_other_operators",
    "Other installations in the cluster that are set up for namespaces of this one.",
)
pools_closed = Gauge(
    "roomkeeper_pools_closed",
    "Pools that this replica does not write to, because their fence in Redis is above the epoch of the lease.",
)
put_right = Counter(
    "roomkeeper_put_right_total",
    "What differed between Kubernetes and Redis or LiveKit and was put right, by kind; `refused` was not.",
    ("what",),
)
sweep_runs = Counter(
    "roomkeeper_sweep_runs_total",
    "Sweeps that came to their end, by sweep (light, deep) and result: ok, or failed if some leftover could not be "
    "cleaned.",
    ["sweep", "result"],
)
sweep_seconds = Histogram(
    "roomkeeper_sweep_duration_seconds",
    "Time of one sweep. A deep one works for a small part of it.",
    ["sweep"],
    buckets=(0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0),
)
sweep_succeeded = Gauge(
    "roomkeeper_sweep_last_success_timestamp_seconds",
    "When the last sweep without an error ended (seconds since 1970), by sweep.",
    ["sweep"],
)
sweep_failing = Gauge(
    "roomkeeper_sweep_failing",
    "1 if Redis refused what the last sweep needed, for example for a missing right, by sweep; the log says why.",
    ["sweep"],
)
sweep_found = Counter("roomkeeper_sweep_found_total", "Leftovers that a sweep found, by type.", ["type"])
sweep_cleaned = Counter("roomkeeper_sweep_cleaned_total", "Leftovers that a sweep cleaned, by type.", ["type"])
sweep_errors = Counter(
    "roomkeeper_sweep_errors_total", "Leftovers that a sweep could not look at or clean, by type.", ["type"]
)
released_without = Counter(
    "roomkeeper_released_without_total",
    "Deleted objects that were released without a backend that did not answer, by kind and backend.",
    ["kind", "backend"],
)
loop_lag_seconds = Gauge("roomkeeper_loop_lag_seconds", "How late the event loop wakes up.")
loop_age_seconds = Gauge(
    "roomkeeper_loop_age_seconds",
    "Time since a background loop last came round; the oldest of those with one name.",
    ["loop"],
)
loop_failures = Counter(
    "roomkeeper_loop_failures_total", "How often a background loop failed and was begun again.", ["loop"]
)
item_failures = Counter(
    "roomkeeper_loop_item_failures_total",
    "Items of a background loop (a namespace, a room, a user) that failed unexpectedly; the others go on.",
    ["loop"],
)
cached_objects = Gauge("roomkeeper_cached_objects", "Objects in the caches.", ["kind"])
unreadable_objects = Gauge(
    "roomkeeper_unreadable_objects", "Objects in the caches whose content this version cannot read.", ["kind"]
)
unreadable_rows = Counter(
    "roomkeeper_unreadable_rows_total",
    "Rows of answers that could not be read and were skipped, by backend and what the row is.",
    ["backend", "what"],
)
events_posted = Counter("roomkeeper_events_posted_total", "Kubernetes Events written, by result.", ["result"])
build_info = Gauge(
    "roomkeeper_build_info", "Always 1: the version of Roomkeeper and of Python that serve it.", ["version", "python"]
)
build_info.labels(VERSION, platform.python_version()).set(1)


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


class RequestMeter:
    """The measurements of one operation of one backend: its series are looked up once, not at every request.

    `operation` and `code` come from sets that the client bounds: verbs, methods, commands and scripts; HTTP statuses,
    known error words, and the words of `clients.request.Code`.
    """

    __slots__ = ("_backend", "_observe", "_operation", "_write")

    def __init__(self, backend: str, operation: str) -> None:
        self._backend = backend
        self._operation = operation
        self._observe = backend_seconds.labels(backend, operation).observe
        is_write = backend == "Kubernetes" and operation in _WRITES
        self._write = api_writes.labels(operation) if is_write else None

    def answered(self, seconds: float) -> None:
        """Count a request that was answered as asked for."""
        self._observe(seconds)
        if self._write is not None:
            self._write.inc()

    def failed(self, seconds: float, code: str) -> None:
        """Count a request that was refused or not answered."""
        self.answered(seconds)
        backend_errors.labels(self._backend, self._operation, code).inc()


class BreakerMeter:
    """The state of the breaker of one backend, or of one of its servers."""

    def __init__(self, backend: str, server: str) -> None:
        self._labels = (backend, server)
        self._state = breaker_state.labels(backend, server)
        self._opened = breaker_opened.labels(backend, server)
        self._state.set(0)

    def became(self, state: int, *, is_outage: bool) -> None:
        """The breaker is in this state now. `is_outage` tells whether an outage begins with it."""
        self._state.set(state)
        if is_outage and state:
            self._opened.inc()

    def end(self) -> None:
        """There is no such server any longer. What was counted stays."""
        with contextlib.suppress(KeyError):  # another client of the same name has ended before
            breaker_state.remove(*self._labels)
