"""The table of checks: what each asks, and every sentence that it can end with.

The functions in `cluster` and `stores` choose the sentence, by its key. A remedy is what a person does next.
"""

from __future__ import annotations

from typing import Final

from controller.doctor import cluster, stores
from controller.doctor.findings import Check, Saying, Verdict

_OK, _FAILED, _UNCHECKED = Verdict.OK, Verdict.FAILED, Verdict.UNCHECKED
_NO_SETTINGS: Final = Saying(_UNCHECKED, "not asked: that needs the settings")
_CLOCKS: Final = "let NTP set the clocks of both machines"
_APART: Final = "let each serve namespaces of its own (ROOMKEEPER_WATCH_NAMESPACES), or uninstall one of them"
_LOG: Final = "its log says why: kubectl --namespace {namespace} logs deployment/{name}"

CHECKS: Final = (
    Check(
        "settings",
        "Can the operator's settings be parsed?",
        stores.settings,
        {
            "ok": Saying(_OK, "all of them can be used"),
            "wrong": Saying(_FAILED, "{problem}", "docs/reference/settings.md lists them all"),
            "none": Saying(_UNCHECKED, "no ROOMKEEPER_… variable is set here; Redis and LiveKit are not asked"),
        },
    ),
    Check(
        "API server",
        "Does the API server answer, and as whom?",
        cluster.server,
        {
            "ok": Saying(_OK, "Kubernetes {version} at {server}, as {user}"),
            "away": Saying(_FAILED, "{server}: {why}", "check the address and the network, or choose a --context"),
            "refused": Saying(_FAILED, "{server}: {why}", "check the credentials, or choose a --context"),
        },
    ),
    Check(
        "CRDs",
        "Are our kinds served, with the schema of this version?",
        cluster.crds,
        {
            "ok": Saying(_OK, "installed, schema of this version ({version})"),
            "served": Saying(_OK, "served; the schema is not checked: no right to read the CRDs"),
            "missing": Saying(_FAILED, "not installed: {names}", "kubectl apply --server-side -f crds/"),
            "going": Saying(
                _FAILED, "being deleted: {names}", "finish it with roomkeeper uninstall, then install them again"
            ),
            "other": Saying(_FAILED, "of another version: {names}", "apply crds/ of version {version}"),
            "unread": Saying(_UNCHECKED, "cannot be read: {why}"),
        },
    ),
    Check(
        "rights",
        "May the caller do everything that the operator does?",
        cluster.rights,
        {
            "ok": Saying(_OK, "all {number}"),
            "missing": Saying(
                _FAILED, "missing: {rights}", "apply the Role or ClusterRole of this version (manifests/ or the chart)"
            ),
            "unread": Saying(_UNCHECKED, "cannot be asked: {why}"),
        },
    ),
    Check(
        "Lease",
        "Does a replica work?",
        cluster.lease,
        {
            "ok": Saying(_OK, "{holder} holds {lease}, renewed {seconds} s ago, epoch {epoch}"),
            "old": Saying(_FAILED, "{holder} has not renewed {lease} for {seconds} s: no operator works", _LOG),
            "free": Saying(_FAILED, "no replica holds {lease}: no operator works", _LOG),
            "missing": Saying(_FAILED, "there is no Lease {lease}: no operator has worked yet", _LOG),
            "unread": Saying(_UNCHECKED, "{lease} cannot be read: {why}"),
        },
    ),
    Check(
        "other operators",
        "Does another operator serve our namespaces, or did one leave its Lease behind?",
        cluster.others,
        {
            "ok": Saying(_OK, "none is set up for the same namespaces, of {number} {place}"),
            "ours": Saying(_OK, "{what}"),
            "old": Saying(_OK, "{what}. It counts no longer: the Lease can be deleted"),
            "theirs": Saying(_FAILED, "{what}: this operator leaves them alone", _APART),
            "unknown": Saying(_UNCHECKED, "not known: the Lease {lease} does not say what this operator serves"),
            "left": Saying(_FAILED, "{what}", "if it is gone for good, do not wait: {commands}"),
        },
    ),
    Check(
        "Redis",
        "Does Redis answer, which version is it, and does it keep its data over a restart?",
        stores.redis,
        {
            "persistent": Saying(_OK, "{server}, with an append-only file"),
            "ok": Saying(_OK, "{server}, without an append-only file: a restart may lose users who wait"),
            "old": Saying(
                _FAILED, "{server} is older than 6.2: scripts may fail", "run Redis 6.2 or later, or Valkey"
            ),
            "refused": Saying(_FAILED, "{why}", "check user and password in ROOMKEEPER_REDIS_URL"),
            "away": Saying(_FAILED, "{why}", "check ROOMKEEPER_REDIS_URL, and that Redis runs"),
            "unasked": _NO_SETTINGS,
        },
    ),
    Check(
        "Redis memory",
        "Does Redis keep all keys when its memory is full, and is there room?",
        stores.eviction,
        {
            "ok": Saying(_OK, "maxmemory-policy noeviction"),
            "unlimited": Saying(_OK, "maxmemory-policy {policy}, without a limit of memory"),
            "evicts": Saying(
                _FAILED,
                "maxmemory-policy is {policy} at {limit}: users vanish when the memory is full",
                "set maxmemory-policy to noeviction",
            ),
            "full": Saying(
                _FAILED, "{percent} % of {limit} are used: when all of it is, no call is decided", "raise maxmemory"
            ),
            "away": Saying(_UNCHECKED, "not known: Redis does not answer"),
            "unasked": _NO_SETTINGS,
            "unread": Saying(_UNCHECKED, "Redis does not tell its maxmemory-policy"),
        },
    ),
    Check(
        "LiveKit",
        "Does LiveKit answer, and does it accept the API key?",
        stores.livekit,
        {
            "ok": Saying(_OK, "{url} accepts the API key, {rooms} rooms"),
            "refused": Saying(
                _FAILED, "{url}: {why}", "give the operator a key and its secret from LiveKit's configuration (keys)"
            ),
            "away": Saying(_FAILED, "{url}: {why}", "check ROOMKEEPER_LIVEKIT_URL, and that LiveKit runs"),
            "unasked": _NO_SETTINGS,
        },
    ),
    Check(
        "LiveKit clock",
        "Does LiveKit's clock agree with the API server's, by which tokens are signed?",
        stores.livekit_clock,
        {
            "ok": Saying(_OK, "within {seconds} s of the API server's"),
            "off": Saying(_FAILED, "{seconds} s {where} the API server's: LiveKit may refuse tokens", _CLOCKS),
            "unknown": Saying(_UNCHECKED, "LiveKit did not tell its time"),
            "unasked": _NO_SETTINGS,
        },
    ),
    Check(
        "auto_create",
        "Is a room that does not exist closed to participants?",
        stores.auto_create,
        {
            "ok": Saying(_OK, "off"),
            "on": Saying(
                _FAILED,
                "on: a client with a token that is still valid can open a closed room again",
                "set room.auto_create: false in LiveKit's configuration",
            ),
            "unknown": Saying(_UNCHECKED, "not known: {why}"),
            "unasked": _NO_SETTINGS,
        },
    ),
    Check(
        "webhook",
        "Does the operator answer where LiveKit sends its webhooks?",
        stores.webhook,
        {
            "ok": Saying(_OK, "{url} answers"),
            "other": Saying(
                _FAILED, "{url} answers {status}, which is not the operator", "check the address: it ends in "
                "/livekit/webhook"
            ),
            "away": Saying(_FAILED, "{url} does not answer ({why})", "check the Service and its endpoints"),
            "unasked": Saying(_UNCHECKED, "not asked: no --webhook-url is given"),
        },
    ),
)  # fmt: skip
