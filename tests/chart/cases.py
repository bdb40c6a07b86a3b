"""The matrix of values: each case is one way to install the chart, and together they use every value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.manifests.command import HIGHLY_AVAILABLE, NAMESPACED

Values = dict[str, Any]

RELEASE: Final = "roomkeeper"
NAMESPACE: Final = "chart-restricted"
OTHERS: Final = ("chart-calls", "chart-games")
DIGEST: Final = "sha256:" + "0123456789abcdef" * 4


@dataclass(frozen=True)
class Case:
    """The values of one installation, and under which name and where it is installed."""

    values: Values = field(default_factory=dict)
    release: str = RELEASE
    namespace: str = NAMESPACE
    options: tuple[str, ...] = ()


_EXTRA_CONTAINER: Final = {
    "name": "proxy",
    "image": "registry.example/proxy:1",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
_PLAIN: Final[Values] = {"example.com/team": "calls"}
_PORTS: Final[Values] = {"ports": [{"port": 15020}]}
_PEER: Final[Values] = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "livekit"}}}

CASES: Final[dict[str, Case]] = {
    "default": Case(),
    "namespaced": Case({**NAMESPACED}),
    "namespaced, two others": Case({**NAMESPACED, "watchNamespaces": [*OTHERS]}),
    "some namespaces": Case({"watchAnyNamespace": False, "watchNamespaces": [*OTHERS]}),
    "highly available": Case({**HIGHLY_AVAILABLE}),
    "budget": Case({"replicaCount": 4, "podDisruptionBudget": {"minAvailable": "50%"}}),
    "budget by number": Case({"replicaCount": 4, "podDisruptionBudget": {"maxUnavailable": 2}}),
    "one Secret": Case(
        {
            "livekit": {"existingSecret": "calls.example.com"},
            "redis": {"existingSecret": "calls.example.com", "secretKeys": {"url": "redis-url"}},
        }
    ),
    "plain URL": Case({"livekit": {"url": "wss://livekit.example.com", "publicUrl": "wss://calls.example.com"}}),
    "other keys": Case(
        {
            "livekit": {"secretKeys": {"url": "LIVEKIT_URL", "apiKey": "LIVEKIT_KEY", "apiSecret": "LIVEKIT_SECRET"}},
            "redis": {"secretKeys": {"url": "REDIS_URL"}},
        }
    ),
    "two keys of LiveKit": Case(
        {"livekit": {"secretKeys": {"oldApiKey": "old-api-key", "oldApiSecret": "old-api-secret"}}}
    ),
    "Redis over TLS": Case({"redis": {"tls": {"secretKeys": {"ca": "ca.crt"}}}}),
    "Redis with a client certificate": Case(
        {
            "redis": {
                "tls": {
                    "existingSecret": "redis-tls",
                    "secretKeys": {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"},
                }
            }
        }
    ),
    "LiveKit with a client certificate": Case(
        {
            "livekit": {
                "tls": {
                    "existingSecret": "livekit-tls",
                    "secretKeys": {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"},
                }
            }
        }
    ),
    "another name": Case(release="calls"),
    "long name": Case(release="a-release-whose-name-is-as-long-as-helm-allows-it-53c"),
    "full name": Case({"fullnameOverride": "rk", "nameOverride": "keeper", "namespaceOverride": OTHERS[0]}),
    "private registry": Case(
        {
            "image": {"repository": "registry.example/roomkeeper", "digest": DIGEST, "pullPolicy": "Always"},
            "imagePullSecrets": [{"name": "registry"}],
        }
    ),
    "as little as possible": Case(
        {
            "createGlobalResources": False,
            "crds": {"enabled": False},
            "rbac": {"create": False},
            "serviceAccount": {"create": False, "name": "mine"},
            "uninstall": {"enabled": False},
            "test": {"enabled": False},
            "metrics": {"service": {"enabled": False}},
            "podDisruptionBudget": {"enabled": False},
            "livenessProbe": {"enabled": False},
            "readinessProbe": {"enabled": False},
            "resources": {},
            "strategy": {"type": "Recreate", "rollingUpdate": None},
        }
    ),
    "hooks of others": Case(
        {
            "rbac": {"create": False, "aggregateToView": False, "aggregateToEdit": False, "aggregateToAdmin": False},
            "uninstall": {"serviceAccountName": "remover", "policy": "Release", "timeoutSeconds": 1_800_000},
            "crds": {"keep": False, "annotations": _PLAIN},
        }
    ),
    "from outside": Case(
        {
            "webhook": {
                "ingress": {
                    "enabled": True,
                    "className": "nginx",
                    "labels": _PLAIN,
                    "annotations": {"cert-manager.io/cluster-issuer": "letsencrypt"},
                    "hosts": ["hooks.example.com"],
                    "pathType": "ImplementationSpecific",
                    "tls": [{"hosts": ["hooks.example.com"], "secretName": "hooks-tls"}],
                },
                "httpRoute": {
                    "enabled": True,
                    "labels": _PLAIN,
                    "annotations": _PLAIN,
                    "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
                    "hostnames": ["hooks.example.com"],
                },
                "service": {
                    "type": "LoadBalancer",
                    "port": 80,
                    "nodePort": 30080,
                    "labels": _PLAIN,
                    "annotations": _PLAIN,
                    "ipFamilyPolicy": "SingleStack",
                    "ipFamilies": ["IPv4"],
                    "externalTrafficPolicy": "Local",
                    "loadBalancerClass": "example.com/lb",
                    "loadBalancerSourceRanges": ["203.0.113.0/24"],
                },
            },
        }
    ),
    "monitoring": Case(
        {
            "metrics": {"port": 9191, "service": {"port": 80, "labels": _PLAIN, "annotations": _PLAIN}},
            "serviceMonitor": {
                "enabled": True,
                "renderMode": "alwaysRender",
                "namespace": OTHERS[0],
                "additionalLabels": {"release": "prometheus"},
                "annotations": _PLAIN,
                "interval": "1m30s",
                "scrapeTimeout": "10s",
                "honorLabels": True,
                "relabelings": [{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}],
                "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "go_.*"}],
            },
            "dashboards": {
                "enabled": True,
                "namespace": OTHERS[0],
                "labels": {"dashboards": "yes"},
                "annotations": {"grafana_folder": "Calls"},
            },
            "prometheusRule": {
                "enabled": True,
                "renderMode": "alwaysRender",
                "namespace": OTHERS[0],
                "additionalLabels": {"release": "prometheus"},
                "annotations": _PLAIN,
                "groups": [
                    {
                        "name": "roomkeeper",
                        "rules": [{"alert": "NoLeader", "expr": "sum(roomkeeper_leader) < 1", "for": "1m"}],
                    }
                ],
            },
        }
    ),
    "network policy": Case(
        {
            "networkPolicy": {
                "enabled": True,
                "webhookFrom": [_PEER],
                "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
                "extraIngress": [_PORTS],
                "egress": [{"to": [_PEER]}, _PORTS],
            }
        }
    ),
    "policies": Case({"finalizerPolicy": {"enabled": True}, "secretPolicy": {"enabled": False}}),
    "settings": Case(
        {
            "settings": {
                "clusterId": "europe",
                "maxFinishedPerNamespace": 1_000_000,
                "pollSeconds": 0.5,
                "stopSeconds": 61.5,
            }
        }
    ),
    "more of everything": Case(
        {
            "commonLabels": {**_PLAIN, "app.kubernetes.io/component": "not ours"},
            "commonAnnotations": {"example.com/contact": "calls@example.com"},
            "minReadySeconds": 5,
            "revisionHistoryLimit": 1,
            "terminationGracePeriodSeconds": 120,
            "extraArgs": ["--log-level=debug"],
            "extraEnv": [
                {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
            "extraContainers": [_EXTRA_CONTAINER],
            "extraInitContainers": [{**_EXTRA_CONTAINER, "name": "wait"}],
            "extraObjects": [
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-a"}, "data": {}},
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-b\n",
            ],
            "recording": {"enabled": True, "existingClaim": "recordings"},
            "deploymentLabels": _PLAIN,
            "deploymentAnnotations": {"reloader.stakater.com/auto": "true"},
            "podLabels": {"sidecar": "yes", "app.kubernetes.io/name": "not ours"},
            "podAnnotations": _PLAIN,
            "serviceAccount": {"annotations": _PLAIN, "automount": True, "tokenExpirationSeconds": 7200},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "calls", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "calls", "operator": "Exists"}]}]
                    }
                }
            },
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"},
                {"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}},
            ],
            "priorityClassName": "chart-calls",
            "runtimeClassName": "chart-calls",
            "schedulerName": "default-scheduler",
            "hostUsers": False,
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["10.0.0.10"]},
            "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["livekit.internal"]}],
            "enableServiceLinks": True,
            "startupProbe": {"enabled": True},
            "uninstall": {"podLabels": _PLAIN, "podAnnotations": _PLAIN},
            "test": {"podLabels": _PLAIN, "podAnnotations": _PLAIN},
        }
    ),
    "recording": Case({"recording": {"enabled": True, "sizeLimit": "2Gi"}}),
}

PRIVILEGED: Final = Case({"hostNetwork": True}, namespace=OTHERS[0])
"""What restricted Pod Security refuses."""
