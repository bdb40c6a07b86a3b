"""The panels of the dashboards: one dashboard for those who run Roomkeeper, one for those who run the product.

`JOB` stands in each query for the selector of the dashboard's variables. Neighbors: `generate.dashboards` makes the
JSON for Grafana, `telemetry.metrics` has the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph: its unit as Grafana names it, and its queries with their legends."""

    title: str
    description: str
    unit: str
    queries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard: its rows with their panels."""

    uid: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]


def _quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    """The median and the 99th percentile of a histogram."""
    labels, legend = ("le, " + by, "{{" + by + "}} ") if by else ("le", "")
    return tuple(
        (f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket{{JOB}}[$__rate_interval])))", legend + name)
        for q, name in ((0.5, "p50"), (0.99, "p99"))
    )


def _rate(metric: str, by: str, labels: str = "") -> tuple[tuple[str, str], ...]:
    """How often something happens in a second, by a label."""
    more = f", {labels}" if labels else ""
    return ((f"sum by ({by}) (rate({metric}{{JOB{more}}}[$__rate_interval]))", "{{" + by + "}}"),)


OPERATORS: Final = Board(
    "roomkeeper-operators",
    "Roomkeeper / Operators",
    "Whether Roomkeeper works, and what it waits for",
    (
        ("Health", (
            Panel("Leaders", "1 while a replica leads; the alert RoomkeeperNoLeader is about 0.", "short", (
                ("sum(roomkeeper_leader{JOB})", "leaders"), ("count(up{JOB} == 1)", "replicas"),
            )),
            # Only the leader asks LiveKit: what another replica knew, when it led, is old.
            Panel("Backends that answer", "1 while a backend answers and accepts our credentials.", "short", (
                (
                    'min by (backend, server) (roomkeeper_backend_up{JOB, backend!="LiveKit"} or '
                    'roomkeeper_backend_up{JOB, backend="LiveKit"} and on (instance) roomkeeper_leader{JOB} == 1)',
                    "{{backend}} {{server}}",
                ),
            )),
            Panel("Errors", "Errors that stopped a step, by the type and severity of docs/errors.md.", "ops", (
                (
                    "sum by (type, severity) (rate(roomkeeper_errors_total{JOB}[$__rate_interval])) > 0",
                    "{{type}} {{severity}}",
                ),
            )),
            Panel("Age of background loops", "Time since each loop came round; most do every few seconds.", "s", (
                ("topk(5, max by (loop) (roomkeeper_loop_age_seconds{JOB}))", "{{loop}}"),
            )),
        )),
        ("Work", (
            Panel("Reconciles", "Reconciles by result; retry and timeout point to a backend.", "ops",
                  _rate("roomkeeper_reconciles_total", "result")),
            Panel("Time of a reconcile", "All rounds of one reconcile, with its requests.", "s",
                  _quantiles("roomkeeper_reconcile_duration_seconds", "kind")),
            Panel("Work queue", "Keys that wait, and those in hand. If it grows, CPU is short.", "short", (
                ("sum(roomkeeper_workqueue_depth{JOB})", "waiting"),
                ("sum(roomkeeper_workqueue_in_hand{JOB})", "in hand"),
                ("sum(roomkeeper_keys_waiting{JOB}) or vector(0)", "wait for a backend"),
            )),
            Panel("Wait in the work queue", "From the first trigger until the reconcile begins.", "s",
                  _quantiles("roomkeeper_workqueue_wait_seconds")),
        )),
        ("Backends", (
            Panel("Requests", "Requests by backend.", "reqps",
                  _rate("roomkeeper_backend_call_duration_seconds_count", "backend")),
            Panel("Time of a request", "XREAD waits for an entry, so it is left out.", "s", tuple(
                (query.replace("{JOB}", '{JOB, operation!="XREAD"}'), legend)
                for query, legend in _quantiles("roomkeeper_backend_call_duration_seconds", "backend")
            )),
            Panel("Failed requests", "Requests that were refused or not answered, by backend and code.", "reqps", (
                (
                    "sum by (backend, code) (rate(roomkeeper_backend_call_errors_total{JOB}[$__rate_interval]))",
                    "{{backend}} {{code}}",
                ),
            )),
            Panel("Webhooks", "LiveKit's webhooks by result, and changes that only polling found.", "ops", (
                *_rate("roomkeeper_webhooks_total", "result"),
                ("sum(rate(roomkeeper_webhooks_missed_total{JOB}[$__rate_interval]))", "missed"),
            )),
        )),
        ("Objects", (
            Panel("Matches and Rooms", "Objects by phase. Each replica counts all of them.", "short", (
                ("max by (kind, phase) (roomkeeper_objects{JOB})", "{{kind}} {{phase}}"),
            )),
            Panel("Oldest object of a phase", "How long the oldest one has been in a phase that is short.", "s", (
                (
                    'max by (kind, phase) (roomkeeper_oldest_object_seconds{JOB, phase=~"Creating|Terminating"})',
                    "{{kind}} {{phase}}",
                ),
            )),
            Panel("Oldest deletion", "How long the oldest deleted object has waited for its finalizer.", "s", (
                ("max by (kind) (roomkeeper_oldest_deletion_seconds{JOB})", "{{kind}}"),
            )),
            Panel("Last good sweep", "Time since the last sweep without an error.", "s", (
                (
                    "time() - max by (sweep) (roomkeeper_sweep_last_success_timestamp_seconds{JOB} > 0)",
                    "{{sweep}}",
                ),
            )),
        )),
        ("Process", (
            Panel("CPU", "Cores that a replica uses.", "short", (
                ("rate(process_cpu_seconds_total{JOB}[$__rate_interval])", "{{instance}}"),
            )),
            Panel("Memory", "Resident memory of a replica.", "bytes", (
                ("process_resident_memory_bytes{JOB}", "{{instance}}"),
            )),
            Panel("Lag of the event loop", "How late the event loop wakes up. A second means too little CPU.", "s", (
                ("max by (instance) (roomkeeper_loop_lag_seconds{JOB})", "{{instance}}"),
            )),
            Panel("Certificates", "Time until a certificate ends that Roomkeeper uses.", "s", (
                (
                    "min by (backend, use) (roomkeeper_certificate_expiry_timestamp_seconds{JOB}) - time()",
                    "{{backend}} {{use}}",
                ),
            )),
            Panel("Versions", "Replicas by version; two of them during an upgrade.", "short", (
                ("count by (version) (roomkeeper_build_info{JOB})", "{{version}}"),
            )),
        )),
    ),
)  # fmt: skip

PRODUCT: Final = Board(
    "roomkeeper-product",
    "Roomkeeper / Calls",
    "What users notice: how long they wait, whether calls come about, and how they end",
    (
        ("Calls", (
            Panel("Calls per minute", "Calls in which both users were connected.", "short", (
                ("60 * sum(rate(roomkeeper_match_connected_seconds_count{JOB}[$__rate_interval]))", "connected"),
            )),
            Panel("People", "Users who wait, are reserved for a Match, or are in one.", "short", (
                ("sum by (state) (roomkeeper_people{JOB})", "{{state}}"),
            )),
            Panel("Endings per minute", "Matches that are over, by reason.", "short", (
                (
                    "60 * sum by (reason) (rate(roomkeeper_matches_finished_total{JOB}[$__rate_interval])) > 0",
                    "{{reason}}",
                ),
            )),
            Panel("Skip rate", "The share of Matches that a user ended by skipping.", "percentunit", (
                (
                    'sum(rate(roomkeeper_matches_finished_total{JOB, reason="Skipped"}[$__rate_interval])) '
                    "/ sum(rate(roomkeeper_matches_finished_total{JOB}[$__rate_interval]))",
                    "skipped",
                ),
            )),
        )),
        ("Times", (
            Panel("Waiting time", "From the moment at which a user entered the queue until the Match was Ready.", "s",
                  _quantiles("roomkeeper_user_waited_seconds")),
            Panel("Oldest waiter", "How long the user who waits longest has been in the queue.", "s", (
                ("max(roomkeeper_oldest_waiter_seconds{JOB})", "oldest"),
            )),
            Panel("Time to ready", "From the first reconcile of a Match until it was Ready.", "s",
                  _quantiles("roomkeeper_match_ready_seconds")),
            Panel("Time to connected", "From Ready until both users were in the room.", "s",
                  _quantiles("roomkeeper_match_connected_seconds")),
        )),
        ("Quality", (
            Panel("Length of calls", "From the moment at which both were in the room until the end.", "s",
                  _quantiles("roomkeeper_call_duration_seconds")),
            Panel("NoShow", "Users who did not come into the room, by what is known about them.", "ops",
                  _rate("roomkeeper_no_shows_total", "detail")),
            Panel("Calls that end for technical reasons", "The share that ends as NetworkLost, RoomLost or Failed.",
                  "percentunit", (
                (
                    'sum(rate(roomkeeper_matches_finished_total{JOB, reason=~"NetworkLost|RoomLost|Failed|TooLate"}'
                    "[$__rate_interval])) / sum(rate(roomkeeper_matches_finished_total{JOB}[$__rate_interval]))",
                    "technical",
                ),
            )),
            Panel("Time until a change is seen", "From a change of a participant until the status shows it.", "s",
                  _quantiles("roomkeeper_detection_seconds", "witness")),
        )),
    ),
)  # fmt: skip

BOARDS: Final = (OPERATORS, PRODUCT)
