"""The alerts about the operator itself and its backends. Neighbor: `generate.alerts` has all alerts."""

from __future__ import annotations

from typing import Final

from controller.api.alert_names import AlertName as A
from controller.generate.alert import Alert, AlertSeverity, Cause, Limit
from controller.generate.alert_commands import BACKENDS, DOCTOR, ERRORS, IN_POD, LEASE, LOG, PODS, SERVERS

_C, _W = AlertSeverity.CRITICAL, AlertSeverity.WARNING

_AWAY: Final = Cause(
    "the doctor's line of the backend has ✗, or the log has `a backend does not answer` with the `reason` `timeout`, "
    "`refused connection` or `connection`",
    "it is down, or a network policy or a firewall is between it and the operator",
    "start it, or open the way to its `address`, which the line of the log names",
)
_NAME: Final = Cause(
    "the `reason` in the log is `DNS` or `wrong address`",
    "the name in its address is not known, or something else answers there",
    "correct the address in the settings, or the name in DNS",
)
_NOT_NOW: Final = Cause(
    "the `reason` in the log is `not now`",
    "it answers that it cannot work at the moment, for example because it is still starting or has no memory left",
    "look at its own log, and at its memory",
)


def _refused(where: str, more: str = "") -> Cause:
    return Cause(
        "the doctor's line of the backend has ✗ and names the key or the login, or the log has `a backend refuses our "
        "credentials`",
        "the operator has a wrong or an old key or password",
        f"compare the operator's Secret with {where}{more}",
    )


def _untrusted(variable: str) -> Cause:
    return Cause(
        "the `reason` in the log is `certificate` or `TLS`",
        "a certificate has ended, or is not of a CA that the operator trusts; or one side speaks TLS and the other one "
        "does not",
        f"renew it, or correct `{variable}` or the URL; files that change on disk count without a restart",
    )


ALERTS_OF_PARTS: Final = (
    Alert(
        A.NO_LEADER, _C, "absent(roomkeeper_leader == 1)", "1m",
        "No replica of Roomkeeper leads",
        "No replica holds the lease, or Prometheus reaches none of them.",
        "No call is made and none is ended. Calls that are up go on.",
        (PODS, LEASE, LOG),
        (
            Cause("no pod, or pods that are not `Running`", "no replica runs", "`kubectl describe` the pod; scale up"),
            Cause(
                "pods run, and RENEWED is older than half a minute",
                "the process hangs, or its way to the API server is cut: the log then says that the lease could not be "
                "renewed",
                "delete the pod, or repair the way to the API server",
            ),
            Cause(
                "the log ends with `settings are wrong` or `a setting is wrong`", "it refuses to start",
                "correct the settings that the lines below name",
            ),
            Cause(
                "HOLDER is no pod of the list", "another process holds the lease, such as an operator that was started "
                "by hand or another release", "stop it, or give one of them a lease of its own",
            ),
            Cause(
                "HOLDER is a running pod and RENEWED is now", "Prometheus does not scrape it",
                "look at the target in Prometheus, the Service `roomkeeper-metrics`, and network policies",
            ),
            Cause(
                "as before, and the target in Prometheus is up",
                "the rules look for other labels than the series have, so all other alerts are silent",
                "set `prometheusRule.selector` of the chart to labels of the series `roomkeeper_leader`",
            ),
        ),
        "Start a replica, or repair its way to the API server. A lease falls to another replica by itself.",
    ),
    Alert(
        A.KUBERNETES_DOWN, _C, 'min by (backend) (roomkeeper_backend_up{backend="Kubernetes"}) < 1', "1m",
        "The API server does not answer Roomkeeper",
        "A replica gets no answer from the API server, or is refused by it.",
        "As long as no replica reaches it, no call is made and none is ended; if only one does not reach it, another "
        "one leads. Calls that are up go on.",
        (BACKENDS, LEASE, DOCTOR),
        (
            Cause(
                "kubectl does not answer either", "the API server is down", "repair the control plane"
            ),
            Cause(
                "kubectl answers, and the log has `a backend does not answer` with `Kubernetes`",
                "the way from the pod to the API server is cut",
                "look at network policies and at the node of the pod whose name is before the line",
            ),
            Cause(
                "the log has `a backend refuses our credentials` with `Kubernetes`",
                "the ServiceAccount or its token is gone", "install the ServiceAccount again and restart the pod",
            ),
            Cause(
                "the `reason` in the log is `certificate`",
                "the CA of the API server has changed, or its certificate has ended",
                "renew it; a kubeconfig that the operator uses must name the CA",
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
        (DOCTOR, SERVERS, BACKENDS),
        (
            _AWAY,
            Cause(
                "the doctor has ✓ at LiveKit, and the label `server` is not `default`",
                "the doctor asks the server of the settings alone; the others have a LiveKitServer each",
                "read REASON of that LiveKitServer, and the line of the log with its name",
            ),
            _refused(
                "`keys` in the configuration of LiveKit",
                "; for another server than `default`, the Secret of its LiveKitServer",
            ),
            Cause(
                "the doctor's line `LiveKit clock` has ✗, or the `reason` in the log is `clock`",
                "the clocks of the machines are apart", "let all machines take their time from one source (NTP)",
            ),
            _untrusted("ROOMKEEPER_LIVEKIT_CA_FILE"), _NAME, _NOT_NOW,
        ),
        "Do not restart LiveKit as a first remedy: participants would lose their rooms. All work goes on by itself.",
    ),
    Alert(
        A.REDIS_DOWN, _C, 'min by (backend) (roomkeeper_backend_up{backend="Redis"}) < 1', "1m",
        "Redis does not answer Roomkeeper",
        "A replica gets no answer from Redis, or is refused by it.",
        "No one can enter the queue and no call is made. Calls that are up go on.",
        (DOCTOR, BACKENDS),
        (
            _AWAY, _refused("the users of Redis (docs/reference/redis-rights.md)"),
            _untrusted("ROOMKEEPER_REDIS_CA_FILE"), _NAME, _NOT_NOW,
        ),
        "All work goes on by itself once Redis answers. If it comes back without its data, the operator writes the "
        "records of all calls again; users who only waited have to enqueue again.",
    ),
    Alert(
        A.WEBHOOKS_MISSING, _W,
        "sum by (server) (rate(roomkeeper_webhooks_missed_total[10m])) > 0 "
        'unless sum by (server) (rate(roomkeeper_webhooks_total{result="accepted"}[10m])) > 0', "10m",
        "No webhook of a LiveKit server arrives",
        "Polling finds participants who came to the server that the label names or left it, and no webhook of that "
        "server has reported one of them for ten minutes.",
        "Roomkeeper notices participants seconds later than it could. No call is lost.",
        (
            f"{IN_POD} doctor --webhook-url http://roomkeeper-webhook.roomkeeper-system.svc:8080/livekit/webhook",
            LOG,
        ),
        (
            Cause(
                "the doctor's line `webhook` has ✗", "the Service or its endpoints are wrong, so nothing can arrive",
                "check the Service `roomkeeper-webhook` and its endpoints",
            ),
            Cause(
                "the line has ✓, and the log has lines about refused webhooks", "they arrive and are refused",
                "what the line `webhook refused` says: another key or secret, a proxy, or a clock",
            ),
            Cause(
                "the line has ✓, and the log has none", "LiveKit sends them to another place, or none at all",
                "set `urls` and `api_key` below `webhook` in the configuration of LiveKit",
            ),
            Cause(
                "as before, and the log of LiveKit has lines about webhooks that it could not send",
                "a network policy or a firewall is between LiveKit and the Service",
                "let LiveKit in: `networkPolicy.webhookFrom` of the chart",
            ),
            Cause(
                "none of this", "Prometheus scrapes only some replicas: each counts the webhooks that it took",
                "look at the targets in Prometheus",
            ),
        ),
        "Correct the URL and the key of the webhooks in the configuration of LiveKit: docs/webhooks.md says how.",
    ),
    Alert(
        A.WATCH_STALE, _C,
        'max by (loop) (roomkeeper_loop_overdue_seconds{loop=~"watch|resync"}) > $watchSeconds', "0m",
        "Roomkeeper no longer sees the objects change",
        "The watch of Matches and Rooms has heard nothing for longer than it may, not even a bookmark, or the list "
        "beside it has not come, and that by more seconds than the limit.",
        "New Matches are noticed late, or not at all. Calls that are up go on.",
        (LOG, LEASE, DOCTOR),
        (
            Cause(
                "RENEWED is old too", "the API server does not answer the pod, or the process hangs",
                "as for RoomkeeperNoLeader",
            ),
            Cause(
                "the doctor's lines `CRDs` or `rights` have ✗", "the operator may not watch its kinds",
                "install the CRDs and the rights of this version",
            ),
            Cause("neither", "the connection of the watch hangs", "keep its log, delete the pod, and report it"),
        ),
        "Restart the pod: calls go on without it.",
        (Limit("watchSeconds", 15),),
    ),
    Alert(
        A.LOOP_STALLED, _C,
        'max by (loop) (roomkeeper_loop_overdue_seconds{loop!~"resync|watch"}) > $loopSeconds '
        "or sum by (loop) (increase(roomkeeper_loop_failures_total[15m])) > 3", "0m",
        "A background loop of Roomkeeper stands still",
        "A loop, such as the reader of Redis, comes round later than it may by more seconds than the limit, or has "
        "failed more than three times in 15 minutes. The label `loop` names it.",
        "What it watches is noticed late, or not at all. The pod is restarted where the loop counts as dead.",
        (LOG, DOCTOR),
        (
            Cause("a ✗ of the doctor", "the loop waits for that backend", "what the doctor says"),
            Cause(
                "a traceback in the log with the name of the loop", "a fault of Roomkeeper",
                "keep the log of the pod, restart it, and report it",
            ),
            Cause(
                "neither, and the alert is about several loops at once",
                "the process has too little CPU: `roomkeeper_loop_lag_seconds` is high",
                "raise the limit of CPU of its container",
            ),
        ),
        "Keep the log, then restart the pod: calls go on without it.",
        (Limit("loopSeconds", 15),),
    ),
    Alert(
        A.SWEEP_FAILING, _W,
        "time() - max by (sweep) (roomkeeper_sweep_last_success_timestamp_seconds > 0) "
        "> $sweepIntervals * max by (sweep) (roomkeeper_sweep_interval_seconds) "
        "or max by (sweep) (roomkeeper_sweep_failing) > 0", "15m",
        "A sweep has not succeeded for long",
        "The last sweep without an error is more intervals ago than the limit, or Redis refuses what it needs. Before "
        "the first sweep, the intervals count from the moment at which the replica began to lead.",
        "What crashes have left over stays in Redis and on LiveKit.",
        (f"{IN_POD} sweep --dry-run", f"{ERRORS} --since 24h", LOG),
        (
            Cause(
                "`NOPERM` and the name of a command", "the operator's user of Redis lacks a right",
                "give it the rights of docs/reference/redis-rights.md",
            ),
            Cause(
                "a row of the errors whose step is `loop sweep`, or something that could not be looked at",
                "what its message says", "docs/sweep.md, or the section of its code in docs/errors.md",
            ),
            Cause(
                "the log has `another sweep works` and a name",
                "a `roomkeeper sweep` by hand has been cleaning for long",
                "wait for its end, or stop it: its lock ends half a minute later",
            ),
            Cause(
                "the first command says that Redis does not answer, or the log has `a backend does not answer` with "
                "`Redis`",
                "Redis does not answer", "as for RoomkeeperRedisDown",
            ),
        ),
        "docs/sweep.md says what the sweep cannot clean, and why.",
        (Limit("sweepIntervals", 3),),
    ),
    Alert(
        A.CERTIFICATE_ENDS, _W,
        "min by (backend, use) (roomkeeper_certificate_expiry_timestamp_seconds - time() < $certificateSeconds and "
        "roomkeeper_certificate_expiry_timestamp_seconds - time() "
        "< $certificateShare * roomkeeper_certificate_lifetime_seconds)", "15m",
        "A certificate is about to end",
        "A certificate ends soon that Roomkeeper uses with the backend that the label names: that of the CA which it "
        "trusts (`ca`), or its own (`client`). Two things are true: fewer seconds are left than the first limit, and a "
        "smaller share of its lifetime than the second one (0.2 is a fifth). So the alert about a certificate that "
        "holds for a day fires in its last hours, not always.",
        "From then on there is no connection to that backend: the alert about it follows.",
        (DOCTOR, "kubectl -n roomkeeper-system get secrets", BACKENDS),
        (
            Cause(
                "the label `use` is `ca`, and the doctor has ✓ at that backend",
                "the CA in the file that the settings or the kubeconfig name is old",
                "put the next CA beside the present one in the file",
            ),
            Cause(
                "the label `use` is `client`", "our own certificate was not renewed",
                "look at what renews it, such as cert-manager: the Secret has an age",
            ),
            Cause(
                "the alert comes with every certificate and goes by itself",
                "what renews it waits until less of its lifetime is left", "lower `certificateShare`",
            ),
            Cause(
                "the doctor has ✗ at that backend, or the `reason` in the log is `certificate`", "it has ended already",
                "as above, at once",
            ),
        ),
        "Files that change on disk count without a restart. Keys of LiveKit and passwords have no end.",
        (Limit("certificateSeconds", 1209600, "14 days"), Limit("certificateShare", 0.2)),
    ),
)  # fmt: skip
