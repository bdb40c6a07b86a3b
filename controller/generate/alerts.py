"""The alerts: one table, from which the chart has its rules and the docs their page.

Each alert names the symptom, the share or the time from which on it is one, and what the person on call reads and runs.
Neighbors: `generate.alerts_page` makes docs/alerts.md and the chart's file, `telemetry.metrics` has the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class AlertSeverity(StrEnum):
    """Whether a person is woken up."""

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `expr` is true when it is to fire, and has `LIMIT` where the threshold stands.

    `threshold` is the name of the chart's value below `prometheusRule.thresholds`, with `limit` as its default; an
    alert without one has a fixed limit. `pending` is how long `expr` has to be true. `diagnosis` are commands.
    """

    name: str
    severity: AlertSeverity
    expr: str
    pending: str
    summary: str
    meaning: str
    impact: str
    diagnosis: tuple[str, ...]
    mitigation: str
    threshold: str = ""
    limit: float = 0


_LOG: Final = "kubectl -n roomkeeper-system logs deploy/roomkeeper --since=15m"
_DOCTOR: Final = "kubectl -n roomkeeper-system exec deploy/roomkeeper -- roomkeeper doctor"
_ERRORS: Final = "kubectl -n roomkeeper-system exec deploy/roomkeeper -- roomkeeper errors -n calls"
_MATCHES: Final = "kubectl get matches -A"
_C, _W = AlertSeverity.CRITICAL, AlertSeverity.WARNING

ALERTS: Final = (
    Alert(
        "RoomkeeperNoLeader", _C, "absent(roomkeeper_leader == 1)", "1m",
        "No replica of Roomkeeper leads",
        "No replica holds the lease, or Prometheus reaches none of them.",
        "No call is made and none is ended. Calls that are up go on.",
        ("kubectl -n roomkeeper-system get pods,leases", _LOG),
        "Start a replica, or repair its way to the API server. A lease falls to another replica by itself.",
    ),
    Alert(
        "RoomkeeperBackendDown", _C, "max by (backend, server) (roomkeeper_breaker_state) > 0", "1m",
        "A backend does not answer",
        "Kubernetes, LiveKit or Redis has not answered for a minute: no requests are sent to it but probes.",
        "What needs it waits. Calls that are up go on, as far as LiveKit itself is up.",
        (_DOCTOR, _LOG),
        "Repair the backend that the labels name. All work goes on by itself once it answers.",
    ),
    Alert(
        "RoomkeeperPeopleDoNotConnect", _C,
        'sum(rate(roomkeeper_matches_finished_total{reason=~"NoShow|RoomLost|Failed|TooLate|User.+"}[10m])) '
        "/ sum(rate(roomkeeper_matches_finished_total[10m])) > LIMIT", "5m",
        "Too many Matches end before both users are connected",
        "The share of Matches that end as NoShow, RoomLost or Failed, the codes of Failed too, is above the limit.",
        "Users wait for calls that do not come about.",
        (_MATCHES, _ERRORS, _DOCTOR),
        "With NoShow look at the clients and their way to LiveKit; with another reason at the backend that "
        "`Degraded` of a Match names.",
        "shareNotConnected", 0.3,
    ),
    Alert(
        "RoomkeeperSlowToReady", _W,
        "histogram_quantile(0.99, sum by (le) (rate(roomkeeper_match_ready_seconds_bucket[10m]))) > LIMIT", "10m",
        "Matches become Ready late",
        "One of a hundred Matches takes longer than the limit (seconds) until it is Ready.",
        "Users wait longer for their call.",
        (_ERRORS, _DOCTOR),
        "`roomkeeper_backend_call_duration_seconds` says which backend is slow; `roomkeeper_workqueue_wait_seconds` "
        "says whether the operator itself has too little CPU.",
        "readySeconds", 2,
    ),
    Alert(
        "RoomkeeperOldestWaiter", _W, "max(roomkeeper_oldest_waiter_seconds) > LIMIT", "5m",
        "A user waits for very long",
        "The user who waits longest has been in the queue for more seconds than the limit.",
        "Users are not matched. The matchmaker may be down, or may never choose this user.",
        (_MATCHES, _ERRORS),
        "Look whether the matchmaker runs and makes Matches; Roomkeeper itself makes none.",
        "oldestWaiterSeconds", 900,
    ),
    Alert(
        "RoomkeeperMatchStuck", _W,
        'max by (kind, phase) (roomkeeper_oldest_object_seconds{phase=~"Creating|Terminating"}) > LIMIT', "5m",
        "A Match or a Room stays in a phase that is short",
        "An object has been Creating or Terminating for more seconds than the limit.",
        "The users of a Match that is Terminating are not free for their next one.",
        (_MATCHES, "kubectl get rooms -A", _ERRORS),
        "`Degraded` of the object names the backend that it waits for.",
        "phaseSeconds", 300,
    ),
    Alert(
        "RoomkeeperDeletionStuck", _W, "max by (kind) (roomkeeper_oldest_deletion_seconds) > LIMIT", "5m",
        "A deleted object keeps its finalizer",
        "An object was deleted longer ago than the limit (seconds), and is still there.",
        "Its namespace cannot go away.",
        (_MATCHES, "kubectl get rooms -A", _DOCTOR),
        "A paused object waits until the annotation is removed; any other one for the backend that `Degraded` names.",
        "deletionSeconds", 600,
    ),
    Alert(
        "RoomkeeperWebhooksMissing", _W,
        "sum(rate(roomkeeper_webhooks_missed_total[10m])) > 0 "
        'unless sum(rate(roomkeeper_webhooks_total{result="accepted"}[10m])) > 0', "10m",
        "No webhook of LiveKit arrives",
        "Polling finds participants who came or left, and no webhook has reported one of them.",
        "Roomkeeper notices participants seconds later than it could. No call is lost.",
        (_DOCTOR, _LOG),
        "Correct the URL and the key of the webhooks in the configuration of LiveKit: docs/webhooks.md says how.",
    ),
    Alert(
        "RoomkeeperLoopStalled", _C,
        'max by (loop) (roomkeeper_loop_age_seconds{loop!~"credentials|search|sweep"}) > LIMIT '
        "or sum by (loop) (increase(roomkeeper_loop_failures_total[15m])) > 3", "0m",
        "A background loop of Roomkeeper stands still",
        "A loop, such as the watch or the reader of Redis, has not come round for more seconds than the limit, "
        "or fails again and again.",
        "What it watches is noticed late, or not at all. The pod is restarted where the loop counts as dead.",
        (_LOG, _DOCTOR),
        "Restart the pod: calls go on without it. Keep its log, and report it.",
        "loopSeconds", 75,
    ),
    Alert(
        "RoomkeeperSweepFailing", _W,
        "time() - max by (sweep) (roomkeeper_sweep_last_success_timestamp_seconds > 0) > LIMIT", "15m",
        "A sweep has not succeeded for long",
        "The last sweep without an error is longer ago than the limit (seconds).",
        "What crashes have left over stays in Redis and on LiveKit.",
        (_ERRORS, "kubectl -n roomkeeper-system exec deploy/roomkeeper -- roomkeeper sweep -n calls --dry-run"),
        "docs/sweep.md says what the sweep cannot clean, and why.",
        "sweepSeconds", 14400,
    ),
)  # fmt: skip
