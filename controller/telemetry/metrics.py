"""Every metric of the operator, in one place.

Names follow Prometheus' conventions (base units, `_total`); docs/reference/metrics.md is generated from this module. A
label never holds the name of a user, a Match or a room, because their number is not bounded. Neighbors: all packages
record here, `telemetry.meters` has the helpers for what is recorded often, `telemetry.health` serves the result.
"""

from __future__ import annotations

import functools
import platform
from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from controller.version import VERSION

# Every counter and histogram would have a second series with the time of its creation. The switch is read when metrics
# are served, so it also holds for metrics that were made before this line.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives it no types

# The targets of docs/performance.md are edges (8 ms, 20 ms, 250 ms, 2 s), so the share of what meets them is exact.
_FAST = (0.001, 0.0025, 0.005, 0.008, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.005, 0.008, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_WAITED = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_TALKED = (5.0, 10.0, 30.0, 60.0, 180.0, 300.0, 600.0, 1800.0, 3600.0)

reconciles = Counter(
    "roomkeeper_reconciles_total",
    "Reconciles by kind and result: ok, conflict, retry, waits, timeout, not-leader, bug.",
    ["kind", "result"],
)
reconcile_seconds = Histogram(
    "roomkeeper_reconcile_duration_seconds", "Time of one reconcile with all its rounds.", ["kind"], buckets=_FAST
)
queue_wait_seconds = Histogram(
    "roomkeeper_workqueue_wait_seconds", "Time from the first trigger until the reconcile begins.", buckets=_FAST
)
queue_depth = Gauge("roomkeeper_workqueue_depth", "Keys that wait for a reconcile.")
keys_in_hand = Gauge("roomkeeper_workqueue_in_hand", "Keys that are being reconciled.")
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
waited_seconds = Histogram(
    "roomkeeper_user_waited_seconds",
    "From the moment at which a user entered the queue until their Match was Ready.",
    buckets=_WAITED,
)
call_seconds = Histogram(
    "roomkeeper_call_duration_seconds",
    "From the moment at which both participants were in the room until the Match was over.",
    buckets=_TALKED,
)
no_shows = Counter(
    "roomkeeper_no_shows_total",
    "Participants who were not connected when their Match ended as NoShow, by what is known about them.",
    ["detail"],
)
joins = Counter(
    "roomkeeper_joins_total",
    "Participants who were to join, by LiveKit server and result: Connected, or what is known about those who were not "
    "there when their Match ended as NoShow.",
    ["server", "result"],
)
connections_aborted = Counter(
    "roomkeeper_connections_aborted_total",
    "Attempts to join that LiveKit gave up because no media came, by LiveKit server; the client may have tried again.",
    ["server"],
)
objects = Gauge(
    "roomkeeper_objects",
    "Matches and Rooms by phase; empty while they have none. Each replica counts all of them.",
    ["kind", "phase"],
)
oldest_seconds = Gauge(
    "roomkeeper_oldest_object_seconds",
    "How long the oldest Match or Room has been in its phase, without those that are paused; 0 if there is none. Each "
    "replica counts all of them.",
    ["kind", "phase"],
)
paused = Gauge(
    "roomkeeper_objects_paused", "Matches and Rooms that are paused. Each replica counts all of them.", ["kind"]
)
deleting = Gauge(
    "roomkeeper_objects_being_deleted", "Matches and Rooms that were deleted and still have their finalizer.", ["kind"]
)
oldest_deletion_seconds = Gauge(
    "roomkeeper_oldest_deletion_seconds",
    "How long the oldest of the objects that are being deleted has waited for its finalizer; 0 if there is none.",
    ["kind"],
)
people = Gauge(
    "roomkeeper_people",
    "Users of all pools by state: waiting, reserved for a Match to come, held by a Match. Only the leader tells it.",
    ["state"],
)
oldest_waiter_seconds = Gauge(
    "roomkeeper_oldest_waiter_seconds",
    "How long the user who waits longest has been in the queue; 0 if no one waits. Only the leader tells it.",
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
backend_up = Gauge(
    "roomkeeper_backend_up",
    "1 while a backend answers and accepts our credentials, 0 while it does not, as this replica sees it; only the "
    "leader asks LiveKit. The log says why.",
    ["backend", "server"],
)
certificate_end = Gauge(
    "roomkeeper_certificate_expiry_timestamp_seconds",
    "When a certificate ends (seconds since 1970) that is used with a backend: the last one of the trusted CAs (`ca`), "
    "and our own (`client`).",
    ["backend", "use"],
)
certificate_lifetime = Gauge(
    "roomkeeper_certificate_lifetime_seconds",
    "How long that certificate holds in all, from its begin to its end.",
    ["backend", "use"],
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
webhooks = Counter(
    "roomkeeper_webhooks_total",
    "LiveKit webhooks, by result, and by LiveKit server if it is known; that of a refused one is not.",
    ["result", "server"],
)
ACCEPTED: Final = "accepted"
"""The result of a webhook that was taken."""

webhook_came = Gauge(
    "roomkeeper_webhook_last_timestamp_seconds",
    "When this replica took the last webhook about a room of this cluster (seconds since 1970); 0 before the first.",
)
webhooks_missed = Counter(
    "roomkeeper_webhooks_missed_total",
    "Changes of participants that polling found before any webhook reported them, by LiveKit server.",
    ["server"],
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
    "When the last sweep without an error ended (seconds since 1970), by sweep; before the first one, when this "
    "replica began to sweep.",
    ["sweep"],
)
sweep_interval_seconds = Gauge(
    "roomkeeper_sweep_interval_seconds", "How long after a sweep the next one is due, by sweep.", ["sweep"]
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
loop_overdue_seconds = Gauge(
    "roomkeeper_loop_overdue_seconds",
    "How much later than it may a background loop comes round; above 0, it counts as dead. The latest of those with "
    "one name.",
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


def no_longer_leading() -> None:
    """Show no longer what only the leader knows: this replica is no longer one."""
    for gauge in (epoch, other_operators, pools_closed, deadlines, queue_depth, keys_in_hand):
        gauge.set(0)
    for by_label in (sweep_failing, keys_waiting):
        by_label.clear()


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
