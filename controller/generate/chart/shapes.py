"""The table of what a value of the chart may be, where its default does not say that: JSON Schema of its shape.

A bool, a whole number and a text of values.yaml say their own type. Everything else is here. What Kubernetes knows
better (an affinity, a container) stays open; where a wrong key would silently weaken the pod, the keys are listed.
"""

from __future__ import annotations

from typing import Any, Final

Shape = dict[str, Any]

_NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_ANY: Final[Shape] = {"type": "object"}


def closed(properties: dict[str, Shape], *required: str) -> Shape:
    """An object with these keys and no others."""
    shape: Shape = {"type": "object", "additionalProperties": False, "properties": properties}
    return shape | ({"required": list(required)} if required else {})


def _keys(*names: str) -> Shape:
    return closed({name: {} for name in names})


def _list(items: Shape) -> Shape:
    return {"type": "array", "items": items}


def _enum(*values: str) -> Shape:
    return {"enum": list(values)}


def _or_null(shape: Shape) -> Shape:
    return {"anyOf": [shape, {"type": "null"}]}


_TEXT: Final[Shape] = {"type": "string"}
_TEXTS: Final = _list(_TEXT)
_STRING_MAP: Final[Shape] = {"type": "object", "additionalProperties": _TEXT}
_PORT: Final[Shape] = {"type": "integer", "minimum": 1, "maximum": 65535}
_SECONDS: Final[Shape] = {"type": "integer", "minimum": 0}
_POSITIVE: Final[Shape] = {"type": "number", "exclusiveMinimum": 0}
_NOT_NEGATIVE: Final[Shape] = {"type": "number", "minimum": 0}
_NAME: Final[Shape] = {"type": "string", "pattern": _NAME_PATTERN}
_SECRET_KEY: Final[Shape] = {"type": "string", "pattern": r"^[-._a-zA-Z0-9]+$"}
_OPTIONAL_SECRET_KEY: Final[Shape] = {"type": "string", "pattern": r"^[-._a-zA-Z0-9]*$"}
_OPTIONAL_NAME: Final[Shape] = {"type": "string", "pattern": _NAME_PATTERN.replace("^", "^(", 1).replace("$", ")?$")}
_QUANTITY: Final[Shape] = {"type": ["string", "number"]}
_RESOURCES: Final = closed(
    {
        "requests": {"type": "object", "additionalProperties": _QUANTITY},
        "limits": {"type": "object", "additionalProperties": _QUANTITY},
        "claims": _list(_ANY),
    }
)
_NAMED: Final[Shape] = {"type": "object", "required": ["name"], "properties": {"name": _TEXT}}
_SECURITY: Final = (
    *(
        "runAsNonRoot",
        "runAsUser",
        "runAsGroup",
        "seccompProfile",
        "seLinuxOptions",
        "appArmorProfile",
        "windowsOptions",
    ),
)
_DURATION: Final[Shape] = {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))*$"}
_RENDER_MODE: Final = _enum("skipIfMissing", "failIfMissing", "alwaysRender")
_COUNT_OR_PERCENT: Final = _or_null(
    {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]+%$"}]}
)

SHAPES: Final[dict[str, Shape]] = {
    "fullnameOverride": _OPTIONAL_NAME,
    "namespaceOverride": _OPTIONAL_NAME,
    "commonLabels": _STRING_MAP,
    "commonAnnotations": _STRING_MAP,
    "livekit.url": {"type": "string", "pattern": r"^((wss?|https?)://.+)?$"},
    "livekit.publicUrl": {"type": "string", "pattern": r"^((wss?|https?)://.+)?$"},
    "livekit.existingSecret": _NAME,
    "livekit.secretKeys.url": _SECRET_KEY,
    "livekit.secretKeys.apiKey": _SECRET_KEY,
    "livekit.secretKeys.apiSecret": _SECRET_KEY,
    "livekit.tls.existingSecret": _OPTIONAL_NAME,
    "livekit.tls.secretKeys.ca": _OPTIONAL_SECRET_KEY,
    "livekit.tls.secretKeys.cert": _OPTIONAL_SECRET_KEY,
    "livekit.tls.secretKeys.key": _OPTIONAL_SECRET_KEY,
    "livekit.secretKeys.oldApiKey": _OPTIONAL_SECRET_KEY,
    "livekit.secretKeys.oldApiSecret": _OPTIONAL_SECRET_KEY,
    "livekitServers.secretNames": _list(_NAME),
    "redis.existingSecret": _NAME,
    "redis.secretKeys.url": _SECRET_KEY,
    "redis.tls.existingSecret": _OPTIONAL_NAME,
    "redis.tls.secretKeys.ca": _OPTIONAL_SECRET_KEY,
    "redis.tls.secretKeys.cert": _OPTIONAL_SECRET_KEY,
    "redis.tls.secretKeys.key": _OPTIONAL_SECRET_KEY,
    "watchNamespaces": _list({"type": "string", "pattern": r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}),
    "rbac.scope": _enum("Cluster", "Namespaces"),
    "serviceAccount.name": _OPTIONAL_NAME,
    "serviceAccount.annotations": _STRING_MAP,
    "serviceAccount.tokenExpirationSeconds": {"type": "integer", "minimum": 600},
    "crds.annotations": _STRING_MAP,
    "image.repository": {"type": "string", "minLength": 1},
    "image.digest": {"type": "string", "pattern": r"^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": _enum("Always", "IfNotPresent", "Never"),
    "imagePullSecrets": _list(closed({"name": _NAME}, "name")),
    "replicaCount": {"type": "integer", "minimum": 0},
    "strategy": closed(
        {"type": _enum("RollingUpdate", "Recreate"), "rollingUpdate": _or_null(_keys("maxSurge", "maxUnavailable"))}
    ),
    "minReadySeconds": _SECONDS,
    "revisionHistoryLimit": _SECONDS,
    "terminationGracePeriodSeconds": _or_null({"type": "integer", "minimum": 1}),
    "extraArgs": _TEXTS,
    "extraEnv": _list(closed({"name": _TEXT, "value": _TEXT, "valueFrom": _ANY}, "name")),
    "extraVolumes": _list(_NAMED),
    "extraVolumeMounts": _list({**_NAMED, "required": ["name", "mountPath"]}),
    "extraContainers": _list(_NAMED),
    "extraInitContainers": _list(_NAMED),
    "extraObjects": _list({"type": ["object", "string"]}),
    "recording.existingClaim": _OPTIONAL_NAME,
    "recording.sizeLimit": _QUANTITY,
    "webhook.port": _PORT,
    "webhook.service.type": _enum("ClusterIP", "NodePort", "LoadBalancer"),
    "webhook.service.port": _PORT,
    "webhook.service.nodePort": _or_null(_PORT),
    "webhook.service.labels": _STRING_MAP,
    "webhook.service.annotations": _STRING_MAP,
    "webhook.service.ipFamilyPolicy": _enum("", "SingleStack", "PreferDualStack", "RequireDualStack"),
    "webhook.service.ipFamilies": _list(_enum("IPv4", "IPv6")),
    "webhook.service.externalTrafficPolicy": _enum("", "Cluster", "Local"),
    "webhook.service.loadBalancerSourceRanges": _TEXTS,
    "webhook.ingress.labels": _STRING_MAP,
    "webhook.ingress.annotations": _STRING_MAP,
    "webhook.ingress.hosts": _TEXTS,
    "webhook.ingress.pathType": _enum("Exact", "Prefix", "ImplementationSpecific"),
    "webhook.ingress.tls": _list(closed({"hosts": _TEXTS, "secretName": _TEXT})),
    "webhook.httpRoute.labels": _STRING_MAP,
    "webhook.httpRoute.annotations": _STRING_MAP,
    "webhook.httpRoute.parentRefs": _list(
        {**_keys("group", "kind", "namespace", "name", "sectionName", "port"), "required": ["name"]}
    ),
    "webhook.httpRoute.hostnames": _TEXTS,
    "metrics.port": _PORT,
    "metrics.service.port": _PORT,
    "metrics.service.labels": _STRING_MAP,
    "metrics.service.annotations": _STRING_MAP,
    "serviceMonitor.renderMode": _RENDER_MODE,
    "serviceMonitor.namespace": _OPTIONAL_NAME,
    "serviceMonitor.additionalLabels": _STRING_MAP,
    "serviceMonitor.annotations": _STRING_MAP,
    "serviceMonitor.interval": _DURATION,
    "serviceMonitor.scrapeTimeout": _DURATION,
    "serviceMonitor.relabelings": _list(_ANY),
    "serviceMonitor.metricRelabelings": _list(_ANY),
    "prometheusRule.renderMode": _RENDER_MODE,
    "prometheusRule.namespace": _OPTIONAL_NAME,
    "dashboards.labels": _STRING_MAP,
    "dashboards.annotations": _STRING_MAP,
    "prometheusRule.additionalLabels": _STRING_MAP,
    "prometheusRule.annotations": _STRING_MAP,
    "prometheusRule.thresholds.shareNotConnected": {"type": "number", "minimum": 0, "maximum": 1},
    "prometheusRule.thresholds.certificateShare": {"type": "number", "minimum": 0, "maximum": 1},
    "prometheusRule.runbookUrl": {"type": "string", "minLength": 1},
    # The histogram ends at 30 s: it has no quantile above.
    "prometheusRule.thresholds.readySeconds": {**_POSITIVE, "exclusiveMaximum": 30},
    "prometheusRule.thresholds.oldestWaiterSeconds": _POSITIVE,
    "prometheusRule.thresholds.phaseSeconds": _POSITIVE,
    "prometheusRule.thresholds.deletionSeconds": _POSITIVE,
    "prometheusRule.thresholds.watchSeconds": _NOT_NEGATIVE,
    "prometheusRule.thresholds.loopSeconds": _NOT_NEGATIVE,
    "prometheusRule.thresholds.sweepIntervals": _POSITIVE,
    "prometheusRule.groups": _list({**_NAMED, "required": ["name", "rules"]}),
    "networkPolicy.webhookFrom": _list(_keys("podSelector", "namespaceSelector", "ipBlock")),
    "networkPolicy.metricsFrom": _list(_keys("podSelector", "namespaceSelector", "ipBlock")),
    "networkPolicy.extraIngress": _list(_keys("from", "ports")),
    "networkPolicy.egress": _list(_keys("to", "ports")),
    "podDisruptionBudget.minAvailable": _COUNT_OR_PERCENT,
    "podDisruptionBudget.maxUnavailable": _COUNT_OR_PERCENT,
    "podDisruptionBudget.unhealthyPodEvictionPolicy": _enum("AlwaysAllow", "IfHealthyBudget"),
    "resources": _RESOURCES,
    "deploymentLabels": _STRING_MAP,
    "deploymentAnnotations": _STRING_MAP,
    "podLabels": _STRING_MAP,
    "podAnnotations": _STRING_MAP,
    "podSecurityContext": _keys(
        *_SECURITY,
        "fsGroup",
        "fsGroupChangePolicy",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "sysctls",
        "seLinuxChangePolicy",
    ),
    "securityContext": _keys(
        *_SECURITY, "allowPrivilegeEscalation", "capabilities", "privileged", "procMount", "readOnlyRootFilesystem"
    ),
    "nodeSelector": _STRING_MAP,
    "tolerations": _list(_keys("key", "operator", "value", "effect", "tolerationSeconds")),
    "affinity": _keys("nodeAffinity", "podAffinity", "podAntiAffinity"),
    "topologySpreadConstraints": _list(
        {
            **_keys(
                "maxSkew",
                "topologyKey",
                "whenUnsatisfiable",
                "labelSelector",
                "minDomains",
                "matchLabelKeys",
                "nodeAffinityPolicy",
                "nodeTaintsPolicy",
            ),
            "required": ["maxSkew", "topologyKey", "whenUnsatisfiable"],
        }
    ),
    "priorityClassName": _OPTIONAL_NAME,
    "runtimeClassName": _OPTIONAL_NAME,
    "hostUsers": _or_null({"type": "boolean"}),
    "dnsPolicy": _enum("", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
    "dnsConfig": _keys("nameservers", "searches", "options"),
    "hostAliases": _list(closed({"ip": _TEXT, "hostnames": _TEXTS}, "ip")),
    "uninstall.policy": _enum("Drain", "Release"),
    "uninstall.timeoutSeconds": {"type": "integer", "minimum": 1},
    "uninstall.serviceAccountName": _OPTIONAL_NAME,
    "uninstall.podLabels": _STRING_MAP,
    "uninstall.podAnnotations": _STRING_MAP,
    "uninstall.resources": _RESOURCES,
    "test.podLabels": _STRING_MAP,
    "test.podAnnotations": _STRING_MAP,
}
