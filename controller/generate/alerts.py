"""The alerts: one table, from which the chart has its rules and each alert its page.

Each alert names the symptom, the share or the time from which on it is one, and what the person on call reads and runs.
Neighbors: `generate.alerts_page` makes docs/alerts/ and the chart's file, `telemetry.metrics` has the metrics.
"""

from __future__ import annotations

from typing import Final

from controller.api.alert_names import AlertName as A
from controller.api.endings import END_CODES, EndReason
from controller.generate.alert import Alert, AlertSeverity, Cause

_C, _W = AlertSeverity.CRITICAL, AlertSeverity.WARNING
_IN_POD: Final = "kubectl -n roomkeeper-system exec deploy/roomkeeper -- roomkeeper"
_LOG: Final = "kubectl -n roomkeeper-system logs -l app.kubernetes.io/name=roomkeeper --tail=200"
_DOCTOR: Final = f"{_IN_POD} doctor"
_ERRORS: Final = f"{_IN_POD} errors"
_PODS: Final = "kubectl -n roomkeeper-system get pods"
_LEASE: Final = (
    "kubectl -n roomkeeper-system get lease roomkeeper-shard-0 "
    "-o 'custom-columns=HOLDER:.spec.holderIdentity,RENEWED:.spec.renewTime'"
)
_MATCHES: Final = "kubectl get matches -A -o wide"
_ROOMS: Final = "kubectl get rooms -A -o wide"
_WHY: Final = (
    "kubectl get matches,rooms -A -o 'custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,"
    'DELETED:.metadata.deletionTimestamp,PAUSED:.status.conditions[?(@.type=="Paused")].message,'
    'WHY:.status.conditions[?(@.type=="Degraded")].message\''
)
_ENDS: Final = "kubectl get matches -A --field-selector status.reason=RoomLost"

_NEVER_MET: Final = "|".join(
    [EndReason.NO_SHOW, EndReason.FAILED, *(row.code for row in END_CODES.values() if row.reason is EndReason.FAILED)]
)

_AWAY: Final = Cause(
    "the doctor's line of the backend has ✗ and says that it cannot be reached, or the log has `does not answer`",
    "it is down, or a network policy or a firewall is between it and the operator",
    "start it, or open the way to its address, which the line names",
)


def _refused(where: str) -> Cause:
    return Cause(
        "the doctor's line of the backend has ✗ and names the key or the login, or the log has `refuses our "
        "credentials`",
        "the operator has a wrong or an old key or password, or the clocks of the machines are apart",
        f"compare the operator's Secret with {where}; a line `LiveKit clock` with ✗ means the clocks",
    )


def _untrusted(variable: str) -> Cause:
    return Cause(
        "the log has the reason `certificate`",
        "a certificate has ended, or is not of a CA that the operator trusts",
        f"renew it, or correct `{variable}`; files that change on disk count without a restart",
    )


ALERTS: Final = (
    Alert(
        A.NO_LEADER, _C, "absent(roomkeeper_leader == 1)", "1m",
        "No replica of Roomkeeper leads",
        "No replica holds the lease, or Prometheus reaches none of them.",
        "No call is made and none is ended. Calls that are up go on.",
        (_PODS, _LEASE, _LOG),
        (
            Cause("no pod, or pods that are not `Running`", "no replica runs", "`kubectl describe` the pod; scale up"),
            Cause(
                "pods run, and RENEWED is older than half a minute",
                "the process hangs, or its way to the API server is cut: the log then says that the lease could not be "
                "renewed",
                "delete the pod, or repair the way to the API server",
            ),
            Cause("the log ends with `settings are wrong`", "it refuses to start", "correct the settings it names"),
            Cause(
                "HOLDER is a running pod and RENEWED is now", "Prometheus does not scrape it",
                "look at the target in Prometheus, the Service `roomkeeper-metrics`, and network policies",
            ),
        ),
        "Start a replica, or repair its way to the API server. A lease falls to another replica by itself.",
    ),
    Alert(
        A.KUBERNETES_DOWN, _C, 'min by (backend) (roomkeeper_backend_up{backend="Kubernetes"}) < 1', "1m",
        "The API server does not answer Roomkeeper",
        "A replica gets no answer from the API server, or is refused by it.",
        "No call is made and none is ended. Calls that are up go on.",
        (_LOG, _LEASE, _DOCTOR),
        (
            Cause(
                "kubectl does not answer either", "the API server is down", "repair the control plane"
            ),
            Cause(
                "kubectl answers, and the log says that Kubernetes does not answer",
                "the way from the pod to the API server is cut", "look at network policies and the node of the pod",
            ),
            Cause(
                "the log says that Kubernetes refuses our credentials",
                "the ServiceAccount or its token is gone", "install the ServiceAccount again and restart the pod",
            ),
        ),
        "Nothing has to be done for calls: all work goes on by itself once the API server answers.",
    ),
    Alert(
        A.LIVEKIT_DOWN, _C,
        'min by (backend, server) (roomkeeper_backend_up{backend="LiveKit"} and on (instance) roomkeeper_leader == 1) '
        "< 1", "1m",
        "A LiveKit server does not answer Roomkeeper",
        "The replica that leads gets no answer from the server that the label names, or is refused by it.",
        "New calls go to other servers, if there are any, or wait. Calls that are up go on as far as LiveKit is up; "
        "none is ended because of this.",
        (_DOCTOR, "kubectl get livekitservers", _LOG),
        (_AWAY, _refused("`keys` in the configuration of LiveKit"), _untrusted("ROOMKEEPER_LIVEKIT_CA_FILE")),
        "Do not restart LiveKit as a first remedy: participants would lose their rooms. All work goes on by itself.",
    ),
    Alert(
        A.REDIS_DOWN, _C, 'min by (backend) (roomkeeper_backend_up{backend="Redis"}) < 1', "1m",
        "Redis does not answer Roomkeeper",
        "A replica gets no answer from Redis, or is refused by it.",
        "No one can enter the queue and no call is made. Calls that are up go on.",
        (_DOCTOR, _LOG),
        (
            _AWAY, _refused("the users of Redis (docs/reference/redis-rights.md)"),
            _untrusted("ROOMKEEPER_REDIS_CA_FILE"),
        ),
        "All work goes on by itself once Redis answers. If it comes back without its data, the operator writes the "
        "records of all calls again; users who only waited have to enqueue again.",
    ),
    Alert(
        A.ERRORS, _W,
        'sum by (type) (increase(roomkeeper_errors_total{severity=~"Critical|High"}[10m])) > LIMIT', "5m",
        "Steps of Roomkeeper fail again and again",
        "More errors than the limit, of a severity that an administrator should know, have stopped steps in the last "
        "ten minutes.",
        "Some calls are not made or not cleaned up.",
        (_ERRORS, _WHY),
        (
            Cause(
                "a row of the errors with a code", "docs/errors.md has a section for each code, with its cause",
                "what the section says",
            ),
            Cause("WHY of a Match or a Room", "the same, with the names of that object", "as above"),
        ),
        "Steps are tried again by themselves with growing pauses; nothing has to be started again.",
        "errors", 10,
    ),
    Alert(
        A.PEOPLE_DO_NOT_CONNECT, _C,
        f'sum(rate(roomkeeper_matches_finished_total{{reason=~"{_NEVER_MET}"}}[10m])) '
        "/ sum(rate(roomkeeper_matches_finished_total[10m])) > LIMIT", "5m",
        "Too many Matches end before both users are connected",
        "The share of Matches that end as NoShow or as Failed, the codes of Failed too, is above the limit. Calls that "
        "lost their room have an alert of their own.",
        "Users wait for calls that do not come about.",
        (_MATCHES, _ERRORS, _DOCTOR),
        (
            Cause(
                "REASON is mostly `NoShow`", "users get tokens and do not come into the room",
                "look at the clients, at the URL that they get, and at the firewall before LiveKit",
            ),
            Cause(
                "REASON is `TooLate`, or the doctor has a ✗", "rooms or tokens are not made in time",
                "repair the backend that the doctor or DEGRADED names",
            ),
            Cause(
                "REASON begins with `User`", "the matchmaker matches users who are not free",
                "let it `reserve` users before it makes a Match",
            ),
        ),
        "With NoShow look at the clients and their way to LiveKit; with another reason at the backend that "
        "`Degraded` of a Match names.",
        "shareNotConnected", 0.3,
    ),
    Alert(
        A.ROOM_LOST, _W, 'sum(increase(roomkeeper_matches_finished_total{reason="RoomLost"}[10m])) > LIMIT', "0m",
        "Calls have ended because LiveKit lost their rooms",
        "More Matches than the limit have ended as RoomLost in the last ten minutes: their rooms went away, and could "
        "not be made again, or were lost again and again.",
        "The users of these calls were cut off. They have their places in the queue again.",
        (_ENDS, _ROOMS, _DOCTOR, _LOG),
        (
            Cause(
                "the Rooms of other calls have RESTORES above 0, or the doctor has ✗ at LiveKit",
                "LiveKit crashed or was restarted, perhaps several times",
                "look at its log and its memory; drain it before a restart (docs/draining.md)",
            ),
            Cause(
                "the message of the Match says that the room was closed again and again, and LiveKit is well",
                "another client deletes rooms with our API key", "give that client a key of its own, or stop it",
            ),
        ),
        "Nothing has to be cleaned up. A LiveKit that is unwell takes no new calls once it is cordoned: "
        "`kubectl roomkeeper` or `spec.cordoned` of its LiveKitServer.",
        "roomsLost", 0,
    ),
    Alert(
        A.SLOW_TO_READY, _W,
        "histogram_quantile(0.99, sum by (le) (rate(roomkeeper_match_ready_seconds_bucket[10m]))) > LIMIT", "10m",
        "Matches become Ready late",
        "One of a hundred Matches takes longer than the limit (seconds) until it is Ready.",
        "Users wait longer for their call.",
        (_ERRORS, _DOCTOR, _LOG),
        (
            Cause(
                "errors of one type, or lines `a request was slow` in the log", "that backend is slow",
                "look at its load; `roomkeeper_backend_call_duration_seconds` has its times",
            ),
            Cause(
                "neither", "the operator has too little CPU: `roomkeeper_workqueue_wait_seconds` is high",
                "raise the limit of CPU of its container",
            ),
        ),
        "`roomkeeper_backend_call_duration_seconds` says which backend is slow; `roomkeeper_workqueue_wait_seconds` "
        "says whether the operator itself has too little CPU.",
        "readySeconds", 2,
    ),
    Alert(
        A.OLDEST_WAITER, _W, "max(roomkeeper_oldest_waiter_seconds) > LIMIT", "5m",
        "A user waits for very long",
        "The user who waits longest has been in the queue for more seconds than the limit.",
        "Users are not matched. The matchmaker may be down, or may never choose this user.",
        (_MATCHES, _ERRORS, _DOCTOR),
        (
            Cause(
                "no Match is young, or there is none at all", "the matchmaker makes none",
                "look whether the matchmaker runs, and at its log",
            ),
            Cause(
                "young Matches that are `Failed`", "Matches are made and do not come about",
                "the REASON of these Matches, as for RoomkeeperPeopleDoNotConnect",
            ),
            Cause(
                "young Matches that are well", "the matchmaker never chooses some users",
                "look at its rules: does it take the longest waiter first, and is the number of users even?",
            ),
        ),
        "Look whether the matchmaker runs and makes Matches; Roomkeeper itself makes none.",
        "oldestWaiterSeconds", 900,
    ),
    Alert(
        A.MATCH_STUCK, _W,
        'max by (kind, phase) (roomkeeper_oldest_object_seconds{phase=~"Creating|Terminating"}) > LIMIT', "5m",
        "A Match or a Room stays in a phase that is short",
        "An object has been Creating or Terminating for more seconds than the limit.",
        "The users of a Match that is Terminating are not free for their next one.",
        (_WHY, _MATCHES, _DOCTOR),
        (
            Cause("WHY names a backend", "that backend does not answer or refuses", "the line of the doctor about it"),
            Cause(
                "PAUSED is not `<none>`", "the object is paused", "remove the annotation `roomkeeper.dev/paused`"
            ),
        ),
        "`Degraded` of the object names the backend that it waits for.",
        "phaseSeconds", 300,
    ),
    Alert(
        A.DELETION_STUCK, _W, "max by (kind) (roomkeeper_oldest_deletion_seconds) > LIMIT", "5m",
        "A deleted object keeps its finalizer",
        "An object was deleted longer ago than the limit (seconds), and is still there.",
        "Its namespace cannot go away.",
        (_WHY, _DOCTOR),
        (
            Cause(
                "DELETED has a time, and PAUSED a sentence", "a paused object is not cleaned up",
                "remove the annotation `roomkeeper.dev/paused` of that object",
            ),
            Cause(
                "DELETED has a time, and WHY names a backend", "the users or the room are to be let go there first",
                "repair that backend; the doctor's line about it says how",
            ),
        ),
        "Do not take finalizers off while an operator works: it cleans up by itself once the cause is gone.",
        "deletionSeconds", 600,
    ),
    Alert(
        A.WEBHOOKS_MISSING, _W,
        "sum(rate(roomkeeper_webhooks_missed_total[10m])) > 0 "
        'unless sum(rate(roomkeeper_webhooks_total{result="accepted"}[10m])) > 0', "10m",
        "No webhook of LiveKit arrives",
        "Polling finds participants who came or left, and no webhook has reported one of them.",
        "Roomkeeper notices participants seconds later than it could. No call is lost.",
        (
            f"{_IN_POD} doctor --webhook-url http://roomkeeper-webhook.roomkeeper-system.svc:8080/livekit/webhook",
            _LOG,
        ),
        (
            Cause(
                "the doctor's line `webhook` has ✗", "the Service or its endpoints are wrong, so nothing can arrive",
                "check the Service `roomkeeper-webhook` and its endpoints",
            ),
            Cause(
                "the line has ✓, and the log has lines about refused webhooks", "they arrive and are refused",
                "what the line says: another key or secret, a proxy, or a clock",
            ),
            Cause(
                "the line has ✓, and the log has none", "LiveKit sends them to another place, or none at all",
                "set `urls` and `api_key` below `webhook` in the configuration of LiveKit",
            ),
        ),
        "Correct the URL and the key of the webhooks in the configuration of LiveKit: docs/webhooks.md says how.",
    ),
    Alert(
        A.WATCH_STALE, _C, 'max by (loop) (roomkeeper_loop_overdue_seconds{loop=~"watch|resync"}) > LIMIT', "0m",
        "Roomkeeper no longer sees the objects change",
        "The watch of Matches and Rooms has heard nothing for longer than it may, not even a bookmark, or the list "
        "beside it has not come, and that by more seconds than the limit.",
        "New Matches are noticed late, or not at all. Calls that are up go on.",
        (_LOG, _LEASE, _DOCTOR),
        (
            Cause(
                "RENEWED is old too", "the API server does not answer the pod, or the process hangs",
                "as for RoomkeeperNoLeader",
            ),
            Cause(
                "the doctor's lines `CRDs` or `rights` have ✗", "the operator may not watch its kinds",
                "install the CRDs and the rights of this version",
            ),
            Cause("neither", "the connection of the watch hangs", "delete the pod; keep its log, and report it"),
        ),
        "Restart the pod: calls go on without it.",
        "watchSeconds", 15,
    ),
    Alert(
        A.LOOP_STALLED, _C,
        'max by (loop) (roomkeeper_loop_overdue_seconds{loop!~"resync|watch"}) > LIMIT '
        "or sum by (loop) (increase(roomkeeper_loop_failures_total[15m])) > 3", "0m",
        "A background loop of Roomkeeper stands still",
        "A loop, such as the reader of Redis, comes round later than it may by more seconds than the limit, or fails "
        "again and again.",
        "What it watches is noticed late, or not at all. The pod is restarted where the loop counts as dead.",
        (_LOG, _DOCTOR),
        (
            Cause("a ✗ of the doctor", "the loop waits for that backend", "what the doctor says"),
            Cause(
                "a traceback in the log with the name of the loop", "a fault of Roomkeeper",
                "restart the pod, keep its log, and report it",
            ),
        ),
        "Restart the pod: calls go on without it. Keep its log, and report it.",
        "loopSeconds", 15,
    ),
    Alert(
        A.SWEEP_FAILING, _W,
        "time() - max by (sweep) (roomkeeper_sweep_last_success_timestamp_seconds > 0) "
        "> LIMIT * max by (sweep) (roomkeeper_sweep_interval_seconds) "
        "or max by (sweep) (roomkeeper_sweep_failing) > 0", "15m",
        "A sweep has not succeeded for long",
        "The last sweep without an error is more intervals ago than the limit, or Redis refuses what it needs.",
        "What crashes have left over stays in Redis and on LiveKit.",
        (f"{_IN_POD} sweep --dry-run", _ERRORS, _LOG),
        (
            Cause(
                "`NOPERM` and the name of a command", "the operator's user of Redis lacks a right",
                "give it the rights of docs/reference/redis-rights.md",
            ),
            Cause("leftovers that could not be cleaned, each with a reason", "what the reason says", "docs/sweep.md"),
        ),
        "docs/sweep.md says what the sweep cannot clean, and why.",
        "sweepIntervals", 3,
    ),
)  # fmt: skip
