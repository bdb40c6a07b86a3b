"""What the chart renders, and what it refuses: the sentences that users see."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.generate.chart.schema import settings_in_values
from controller.settings import Settings, load_settings, variable
from sandbox.manifests.command import HIGHLY_AVAILABLE, NAMESPACED
from tests.chart.cases import CASES, DIGEST, NAMESPACE, OTHERS, Case
from tests.chart.conftest import Chart, Object
from tests.support.certificates import Authority

CLUSTER_SCOPED = (
    *("Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"),
    *("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
)
MONITORING = "monitoring.coreos.com/v1/"


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind, or of a kind and name."""
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects are {kind} {name or ''}"
    return found[0]


def kinds(objects: list[Object]) -> list[str]:
    return [o["kind"] for o in objects]


def container(objects: list[Object]) -> Object:
    """The container of the operator."""
    found: Object = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return found


def env(objects: list[Object]) -> dict[str, Any]:
    """Its variables: the value, or where it comes from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(objects)["env"]}


def settings_of(objects: list[Object]) -> dict[str, Any]:
    return {name: value for name, value in env(objects).items() if name.startswith("ROOMKEEPER_")}


# ---- scopes


@pytest.mark.parametrize("name", ["namespaced", "namespaced, two others"])
def test_the_scope_of_namespaces_renders_no_object_of_the_cluster(chart: Chart, name: str) -> None:
    objects = chart.objects(name)
    assert not set(kinds(objects)) & set(CLUSTER_SCOPED)
    assert all(o["metadata"]["namespace"] for o in objects)


def test_each_namespace_gets_a_role_and_its_binding(chart: Chart) -> None:
    objects = chart.objects("namespaced, two others")
    for kind in ("Role", "RoleBinding"):
        found = [
            o["metadata"]["namespace"] for o in objects if o["kind"] == kind and o["metadata"]["name"] == "roomkeeper"
        ]
        assert found == [*OTHERS]
    assert env(objects)["ROOMKEEPER_WATCH_NAMESPACES"] == ",".join(OTHERS)
    binding = next(o for o in objects if o["kind"] == "RoleBinding" and o["metadata"]["namespace"] == OTHERS[1])
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "roomkeeper", "namespace": NAMESPACE}]


def test_without_a_list_the_operator_serves_its_own_namespace(chart: Chart) -> None:
    objects = chart.objects("namespaced")
    assert env(objects)["ROOMKEEPER_WATCH_NAMESPACES"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert only(objects, "Role", "roomkeeper")["metadata"]["namespace"] == NAMESPACE


def test_the_rules_are_the_same_in_every_scope(chart: Chart) -> None:
    of_the_cluster = only(chart.objects("default"), "ClusterRole", "roomkeeper")["rules"]
    assert only(chart.objects("some namespaces"), "ClusterRole", "roomkeeper")["rules"] == of_the_cluster
    assert only(chart.objects("namespaced"), "Role", "roomkeeper")["rules"] == of_the_cluster


def test_some_namespaces_are_bound_one_by_one(chart: Chart) -> None:
    objects = chart.objects("some namespaces")
    bindings = [o for o in objects if o["kind"] == "RoleBinding" and o["roleRef"]["kind"] == "ClusterRole"]
    assert {(o["metadata"]["name"], o["metadata"]["namespace"]) for o in bindings} == {
        (name, namespace) for name in ("roomkeeper", "roomkeeper-uninstall") for namespace in OTHERS
    }
    bound = {o["roleRef"]["name"] for o in objects if o["kind"] == "ClusterRoleBinding"}
    assert bound == {"roomkeeper-crds", "roomkeeper-uninstall-policy"}


def test_a_scope_that_contradicts_other_values_is_refused_with_what_to_set(chart: Chart) -> None:
    policies = {"finalizerPolicy": {"enabled": True}}
    said = chart.refusal({"rbac": {"scope": "Namespaces"}, **policies})
    for value in (
        "watchAnyNamespace",
        "crds.enabled",
        "createGlobalResources",
        *(f"{name}.enabled" for name in policies),
    ):
        assert f"rbac.scope is Namespaces, which allows no cluster-scoped object: set {value} to false" in said


def test_a_list_of_namespaces_beside_all_of_them_is_refused(chart: Chart) -> None:
    said = chart.refusal({"watchNamespaces": ["a", "b"]})
    assert "watchNamespaces lists a, b, but watchAnyNamespace is true: set watchAnyNamespace to false" in said


# ---- names, labels, images


@pytest.mark.parametrize(
    ("name", "fullname"),
    [
        ("default", "roomkeeper"),
        ("another name", "calls-roomkeeper"),
        ("long name", "a-release-whose-name-is-as-long-as-helm-allows-it"),
        ("full name", "rk"),
    ],
)
def test_every_name_follows_from_the_release(chart: Chart, name: str, fullname: str) -> None:
    objects = chart.objects(name)
    assert only(objects, "Deployment")["metadata"]["name"] == fullname
    assert env(objects)["ROOMKEEPER_LEASE_NAME"] == f"{fullname}-shard-0"
    lease = only(objects, "Role", f"{fullname}-lease")["rules"][1]
    assert lease["resourceNames"] == [f"{fullname}-shard-0"]
    for o in objects:
        own = o["metadata"]["name"] == fullname or o["metadata"]["name"].startswith(f"{fullname}-")
        assert own or o["kind"] == "CustomResourceDefinition"
        if o["kind"] in ("Service", "Job", "Pod"):
            assert len(o["metadata"]["name"]) <= 63


@pytest.mark.parametrize("name", CASES)
def test_only_the_pods_of_the_operator_are_selected(chart: Chart, name: str) -> None:
    """By Deployment, Services, PodDisruptionBudget and NetworkPolicy; the pods of hook and test have other labels."""
    objects = chart.objects(name)
    deployment = only(objects, "Deployment")["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    for o in objects:
        if o["kind"] == "Service":
            assert o["spec"]["selector"] == selector
        if o["kind"] == "PodDisruptionBudget":
            assert o["spec"]["selector"]["matchLabels"] == selector
        if o["kind"] == "NetworkPolicy":
            assert o["spec"]["podSelector"]["matchLabels"] == selector
        if o["kind"] == "Job":
            assert not selector.items() <= o["spec"]["template"]["metadata"]["labels"].items()
        if o["kind"] == "Pod":
            assert not selector.items() <= o["metadata"]["labels"].items()


def test_labels_of_users_are_added_and_replace_none_of_ours(chart: Chart) -> None:
    objects = chart.objects("more of everything")
    for o in objects:
        if o["kind"] != "ConfigMap":
            assert o["metadata"]["labels"]["example.com/team"] == "calls"
            assert o["metadata"]["labels"]["app.kubernetes.io/component"] != "not ours"
            assert o["metadata"]["annotations"]["example.com/contact"] == "calls@example.com"
    labels = only(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["sidecar"] == "yes"
    assert labels["app.kubernetes.io/name"] == "roomkeeper"


def images(objects: list[Object]) -> Iterator[str]:
    for line in yaml.safe_dump_all(objects).splitlines():
        if line.strip().removeprefix("- ").startswith("image: "):
            yield line.partition("image: ")[2]


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("default", "ghcr.io/roomkeeper/roomkeeper:0.1.0"),
        ("private registry", f"registry.example/roomkeeper@{DIGEST}"),
    ],
)
def test_operator_hook_and_test_are_one_image(chart: Chart, name: str, image: str) -> None:
    assert list(images(chart.objects(name))) == [image] * 3


# ---- the pod


def test_credentials_are_files_of_secrets_and_in_no_variable(chart: Chart) -> None:
    objects = chart.objects("default")
    found = settings_of(objects)
    assert found["ROOMKEEPER_LIVEKIT_URL_FILE"] == "/etc/roomkeeper/secrets/roomkeeper-livekit/url"
    assert found["ROOMKEEPER_LIVEKIT_API_KEY_FILE"] == "/etc/roomkeeper/secrets/roomkeeper-livekit/api-key"
    assert found["ROOMKEEPER_LIVEKIT_API_SECRET_FILE"] == "/etc/roomkeeper/secrets/roomkeeper-livekit/api-secret"
    assert found["ROOMKEEPER_REDIS_URL_FILE"] == "/etc/roomkeeper/secrets/roomkeeper-redis/url"
    assert "secretKeyRef" not in yaml.safe_dump_all(objects)
    assert "Secret" not in kinds(objects)


@pytest.mark.parametrize("name", CASES)
def test_every_file_that_a_variable_names_is_mounted(chart: Chart, name: str) -> None:
    objects = chart.objects(name)
    pod = only(objects, "Deployment")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert len(volumes) == len(pod["volumes"])
    files = set()
    for mount in container(objects)["volumeMounts"]:
        source = volumes[mount["name"]].get("secret")
        if source:
            assert source["optional"], "the operator itself says what is missing"
            files |= {f"{mount['mountPath']}/{item['path']}" for item in source["items"]}
    assert files == {value for name, value in settings_of(objects).items() if name.endswith("_FILE")}


def test_the_url_of_livekit_may_be_a_value(chart: Chart) -> None:
    found = settings_of(chart.objects("plain URL"))
    assert found["ROOMKEEPER_LIVEKIT_URL"] == "wss://livekit.example.com"
    assert found["ROOMKEEPER_LIVEKIT_PUBLIC_URL"] == "wss://calls.example.com"
    assert "ROOMKEEPER_LIVEKIT_URL_FILE" not in found


def test_numbers_are_written_in_full(chart: Chart) -> None:
    found = settings_of(chart.objects("settings"))
    assert found["ROOMKEEPER_MAX_FINISHED_PER_NAMESPACE"] == "1000000"
    assert found["ROOMKEEPER_POLL_SECONDS"] == "0.5"
    assert found["ROOMKEEPER_CLUSTER_ID"] == "europe"
    job = only(chart.objects("hooks of others"), "Job")["spec"]
    assert "--timeout=1800000s" in job["template"]["spec"]["containers"][0]["args"]
    assert job["activeDeadlineSeconds"] == 1_800_120


@pytest.mark.parametrize(("name", "seconds"), [("default", 40), ("settings", 72), ("more of everything", 120)])
def test_the_pod_has_longer_to_stop_than_the_operator_takes(chart: Chart, name: str, seconds: int) -> None:
    pod = only(chart.objects(name), "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == seconds


def test_too_short_a_time_to_stop_is_refused(chart: Chart) -> None:
    said = chart.refusal({"terminationGracePeriodSeconds": 20})
    assert "terminationGracePeriodSeconds is 20, and the operator takes up to 30 s to stop" in said


def test_the_token_is_projected_and_nothing_else_is_mounted_by_default(chart: Chart) -> None:
    objects = chart.objects("default")
    for pod in (only(objects, "Deployment")["spec"]["template"]["spec"], only(objects, "Pod")["spec"]):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        sources = next(volume for volume in pod["volumes"] if volume["name"] == "token")["projected"]["sources"]
        assert sources[0] == {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}
    assert only(objects, "ServiceAccount", "roomkeeper")["automountServiceAccountToken"] is False


def test_probes_have_named_ports_and_only_keys_of_probes(chart: Chart) -> None:
    found = container(chart.objects("more of everything"))
    assert [port["name"] for port in found["ports"]] == ["webhook", "metrics"]
    for probe, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz"), ("startupProbe", "/livez")):
        assert found[probe]["httpGet"] == {"path": path, "port": "metrics"}
        assert "enabled" not in found[probe]
    assert "livenessProbe" not in container(chart.objects("as little as possible"))


def test_a_constraint_without_a_selector_gets_that_of_the_operator(chart: Chart) -> None:
    deployment = only(chart.objects("more of everything"), "Deployment")["spec"]
    zone, rack = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert zone["labelSelector"] == deployment["selector"]
    assert rack["labelSelector"] == {}


DUPLICATES: dict[str, tuple[dict[str, Any], str]] = {
    "a variable of the chart": (
        {"extraEnv": [{"name": "ROOMKEEPER_LEASE_NAME", "value": "mine"}]},
        "extraEnv has ROOMKEEPER_LEASE_NAME, which the chart sets itself",
    ),
    "a variable whose value the chart takes from a file": (
        {"extraEnv": [{"name": "ROOMKEEPER_REDIS_URL", "value": "redis://redis"}]},
        "extraEnv has ROOMKEEPER_REDIS_URL, which the chart sets itself",
    ),
    "a variable of the block settings": (
        {"settings": {"logLevel": "debug"}, "extraEnv": [{"name": "ROOMKEEPER_LOG_LEVEL", "value": "info"}]},
        "extraEnv has ROOMKEEPER_LOG_LEVEL, which the chart sets itself",
    ),
    "a variable twice": (
        {"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]},
        "extraEnv has A twice: keep one of them",
    ),
    "a volume of the chart": (
        {"extraVolumes": [{"name": "token", "emptyDir": {}}]},
        "extraVolumes has token, which the chart sets itself",
    ),
    "a mount of the chart": (
        {"extraVolumeMounts": [{"name": "x", "mountPath": "/etc/roomkeeper/secrets/roomkeeper-redis"}]},
        "extraVolumeMounts has /etc/roomkeeper/secrets/roomkeeper-redis, which the chart sets itself",
    ),
    "the container": (
        {"extraContainers": [{"name": "roomkeeper", "image": "x"}]},
        "extraContainers or extraInitContainers has roomkeeper, which the chart sets itself",
    ),
}


@pytest.mark.parametrize(("values", "sentence"), DUPLICATES.values(), ids=DUPLICATES)
def test_a_name_that_is_there_twice_is_refused(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    assert sentence in chart.refusal(values)


def test_a_setting_that_the_chart_does_not_set_may_come_from_extra_env(chart: Chart) -> None:
    source = {"configMapKeyRef": {"name": "levels", "key": "operator"}}
    objects = chart.parsed(Case({"extraEnv": [{"name": "ROOMKEEPER_LOG_LEVEL", "valueFrom": source}]}))
    assert env(objects)["ROOMKEEPER_LOG_LEVEL"] == source


# ---- other objects


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("default", None),
        ("highly available", {"maxUnavailable": 1}),
        ("budget", {"minAvailable": "50%"}),
        ("budget by number", {"maxUnavailable": 2}),
    ],
)
def test_there_is_a_budget_only_with_several_replicas(chart: Chart, name: str, spec: Object | None) -> None:
    found = [o["spec"] for o in chart.objects(name) if o["kind"] == "PodDisruptionBudget"]
    assert [{key: o[key] for key in o if key.endswith("vailable")} for o in found] == ([spec] if spec else [])
    assert all(o["unhealthyPodEvictionPolicy"] == "AlwaysAllow" for o in found)


@pytest.mark.parametrize(("mode", "served", "rendered"), [
    ("skipIfMissing", False, False),
    ("skipIfMissing", True, True),
    ("failIfMissing", True, True),
    ("alwaysRender", False, True),
])  # fmt: skip
@pytest.mark.parametrize(
    ("value", "kind"), [("serviceMonitor", "ServiceMonitor"), ("prometheusRule", "PrometheusRule")]
)
def test_what_prometheus_reads_is_rendered_by_its_mode(
    chart: Chart, mode: str, served: bool, rendered: bool, value: str, kind: str
) -> None:
    values = {value: {"enabled": True, "renderMode": mode}}
    if value == "prometheusRule":
        values[value]["groups"] = [{"name": "g", "rules": [{"record": "r", "expr": "1"}]}]
    options = ("--api-versions", MONITORING + kind) if served else ()
    assert (kind in kinds(chart.parsed(Case(values, options=options)))) is rendered


def test_a_mode_that_needs_prometheus_refuses_a_cluster_without_it(chart: Chart) -> None:
    said = chart.refusal({"serviceMonitor": {"enabled": True, "renderMode": "failIfMissing"}})
    assert "serviceMonitor.renderMode is failIfMissing, and the cluster has no kind ServiceMonitor" in said


def test_metrics_have_one_target_per_replica_and_webhooks_one_address(chart: Chart) -> None:
    objects = chart.objects("monitoring")
    metrics = only(objects, "Service", "roomkeeper-metrics")
    assert metrics["spec"]["clusterIP"] == "None"
    monitor = only(objects, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= metrics["metadata"]["labels"].items()
    assert monitor["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    assert only(objects, "Service", "roomkeeper-webhook")["spec"]["type"] == "ClusterIP"


def test_a_policy_is_of_the_version_that_the_cluster_has(chart: Chart) -> None:
    kind = "MutatingAdmissionPolicy"
    assert only(chart.objects("policies"), kind)["apiVersion"] == "admissionregistration.k8s.io/v1"
    beta = ("--kube-version", "1.34", "--api-versions", f"v1/Pod,admissionregistration.k8s.io/v1beta1/{kind}")
    objects = chart.parsed(Case({"finalizerPolicy": {"enabled": True}}, options=beta))
    assert only(objects, kind)["apiVersion"] == "admissionregistration.k8s.io/v1beta1"
    said = chart.refusal({"finalizerPolicy": {"enabled": True}}, "--kube-version", "1.34")
    assert "finalizerPolicy.enabled needs MutatingAdmissionPolicies" in said


@pytest.mark.parametrize(("name", "account"), [("default", f"{NAMESPACE}:roomkeeper")])
def test_the_policy_for_secrets_is_about_the_account_of_the_operator(chart: Chart, name: str, account: str) -> None:
    objects = chart.objects(name)
    policy = only(objects, "ValidatingAdmissionPolicy")
    expression = policy["spec"]["matchConditions"][0]["expression"]
    assert expression == f'request.userInfo.username == "system:serviceaccount:{account}"'
    assert only(objects, "ValidatingAdmissionPolicyBinding")["spec"]["policyName"] == policy["metadata"]["name"]


def test_crds_stay_when_the_release_goes_unless_they_shall_not(chart: Chart) -> None:
    def kept(name: str) -> list[str | None]:
        crds = [o for o in chart.objects(name) if o["kind"] == "CustomResourceDefinition"]
        assert len(crds) == 3
        return [o["metadata"]["annotations"].get("helm.sh/resource-policy") for o in crds]

    assert kept("default") == ["keep"] * 3
    assert kept("hooks of others") == [None] * 3


def test_the_hook_uninstalls_before_anything_is_deleted(chart: Chart) -> None:
    objects = chart.objects("namespaced, two others")
    job = only(objects, "Job")
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == [
        *("uninstall", "--hook", "--policy=Drain", "--timeout=240s"),
        *(f"--namespace={NAMESPACE}", "--name=roomkeeper", f"--watch-namespaces={','.join(OTHERS)}"),
    ]
    hooks = [o for o in objects if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    assert {o["metadata"]["annotations"]["helm.sh/hook"] for o in hooks} == {"pre-delete", "test"}
    weights = {o["kind"]: o["metadata"]["annotations"].get("helm.sh/hook-weight") for o in hooks}
    assert weights == {"ServiceAccount": "-5", "Role": "-5", "RoleBinding": "-5", "Job": "-4", "Pod": None}
    for o in hooks:
        # Nothing stays after a success, and helm prints the log of what ran.
        assert o["metadata"]["annotations"]["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
        prints = "helm.sh/hook-output-log-policy" in o["metadata"]["annotations"]
        assert prints is (o["kind"] in ("Job", "Pod"))
    account = job["spec"]["template"]["spec"]["serviceAccountName"]
    assert only(hooks, "ServiceAccount")["metadata"]["name"] == account == "roomkeeper-uninstall"


def test_helm_test_asks_the_doctor_as_the_operator(chart: Chart) -> None:
    objects = chart.objects("more of everything")
    pod = only(objects, "Pod")["spec"]
    deployment = only(objects, "Deployment")["spec"]["template"]["spec"]
    doctor = pod["containers"][0]
    url = f"http://roomkeeper-webhook.{NAMESPACE}.svc:8080/livekit/webhook"
    assert doctor["args"] == ["doctor", f"--namespace={NAMESPACE}", "--name=roomkeeper", f"--webhook-url={url}"]
    assert pod["serviceAccountName"] == deployment["serviceAccountName"]
    assert pod["volumes"] == deployment["volumes"]
    for key in ("env", "volumeMounts", "image", "securityContext"):
        assert doctor[key] == container(objects)[key]


def test_extra_objects_are_manifests_or_texts_with_templates(chart: Chart) -> None:
    names = [o["metadata"]["name"] for o in chart.objects("more of everything") if o["kind"] == "ConfigMap"]
    assert names == ["roomkeeper-a", "roomkeeper-b"]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a threshold that is taken away": (
        {"prometheusRule": {"enabled": True, "thresholds": {"errors": None}}},
        "at '/prometheusRule/thresholds': missing property 'errors'",
    ),
    "a misspelt value": ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    "a misspelt key of a group": (
        {"livekit": {"existingSecrt": "a"}},
        "at '/livekit': additional properties 'existingSecrt' not allowed",
    ),
    "a misspelt setting": (
        {"settings": {"logLevl": "debug"}},
        "at '/settings': additional properties 'logLevl' not allowed",
    ),
    "a setting out of bounds": (
        {"settings": {"pollSeconds": 0.01}},
        "at '/settings/pollSeconds': minimum: got 0.01, want 0.2",
    ),
    "a setting that has a value of its own": (
        {"settings": {"redisUrl": "redis://redis"}},
        "at '/settings': additional properties 'redisUrl' not allowed",
    ),
    "a misspelt security context": (
        {"securityContext": {"readonlyRootFilesystem": True}},
        "at '/securityContext': additional properties 'readonlyRootFilesystem' not allowed",
    ),
    "a word for a number": ({"replicaCount": "two"}, "at '/replicaCount': got string, want integer"),
    "an unknown policy": (
        {"uninstall": {"policy": "Keep"}},
        "at '/uninstall/policy': value must be one of 'Drain', 'Release'",
    ),
    "a URL without a scheme": (
        {"livekit": {"url": "livekit:7880"}},
        "at '/livekit/url': 'livekit:7880' does not match pattern",
    ),
    "two limits of the budget": (
        {"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}},
        "podDisruptionBudget has both minAvailable and maxUnavailable",
    ),
    "an Ingress without a host": (
        {"webhook": {"ingress": {"enabled": True}}},
        "needs a host name in webhook.ingress.hosts",
    ),
    "an HTTPRoute without a Gateway": (
        {"webhook": {"httpRoute": {"enabled": True}}},
        "needs a Gateway in webhook.httpRoute.parentRefs",
    ),
    "one port twice": ({"webhook": {"port": 9090}}, "webhook.port and metrics.port are both 9090"),
    "a port of the nodes for a cluster IP": (
        {"webhook": {"service": {"nodePort": 30080}}},
        "webhook.service.nodePort needs webhook.service.type NodePort or LoadBalancer",
    ),
    "an account without a name": ({"serviceAccount": {"create": False}}, "name the ServiceAccount of the operator"),
    "one key for two credentials": (
        {"livekit": {"existingSecret": "calls"}, "redis": {"existingSecret": "calls"}},
        "take LIVEKIT_URL and REDIS_URL from the same key url of the Secret calls: give one of them another key",
    ),
    "a certificate for LiveKit without its key": (
        {"livekit": {"tls": {"secretKeys": {"cert": "tls.crt"}}}},
        "livekit.tls.secretKeys names only one of cert and key: name both, or neither",
    ),
    "half a key of before": (
        {"livekit": {"secretKeys": {"oldApiKey": "old"}}},
        "livekit.secretKeys names only one of oldApiKey and oldApiSecret: name both, or neither",
    ),
    "a key without its certificate": (
        {"redis": {"tls": {"secretKeys": {"key": "tls.key"}}}},
        "redis.tls.secretKeys names only one of cert and key: name both, or neither",
    ),
    "a Secret of which no key is named": (
        {"redis": {"tls": {"existingSecret": "redis-tls"}}},
        "redis.tls.existingSecret is redis-tls, but redis.tls.secretKeys names none of its keys",
    ),
    "a hook without rights": ({"rbac": {"create": False}}, "so the hook of the uninstallation gets no rights"),
    "a monitor without a Service": (
        {"serviceMonitor": {"enabled": True}, "metrics": {"service": {"enabled": False}}},
        "serviceMonitor.enabled needs metrics.service.enabled",
    ),
    "rules without a rule": (
        {"prometheusRule": {"enabled": True, "alerts": False}},
        "prometheusRule.enabled needs rules",
    ),
}


@pytest.mark.parametrize(("values", "sentence"), REFUSED.values(), ids=REFUSED)
def test_wrong_values_are_refused_with_a_sentence(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    assert sentence in chart.refusal(values)


def test_the_block_settings_sets_the_variables_of_the_settings(chart: Chart) -> None:
    defaults = {name: Settings.model_fields[field].default for name, field in settings_in_values().items()}
    found = settings_of(chart.parsed(Case({"settings": defaults})))
    assert {variable(field) for field in settings_in_values().values()} <= set(found)
    before = settings_of(chart.objects("default"))
    assert set(found) - set(before) == {variable(field) for field in settings_in_values().values()}


@pytest.mark.parametrize("name", CASES)
def test_the_operator_accepts_what_the_chart_sets(
    chart: Chart, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a pod: the fields of the pod are filled in, and the files of the Secrets are there."""
    secrets = {"URL": "wss://livekit", "API_KEY": "key", "API_SECRET": "s" * 32, "REDIS_URL": "rediss://redis:6379/0"}
    authority = Authority(tmp_path / "ca")
    signed = authority.sign("client")
    for name_of_file, path in (("CA", authority.certificate), ("CERT", signed.certificate), ("KEY", signed.key)):
        secrets[f"REDIS_{name_of_file}"] = secrets[name_of_file] = path.read_text()
    secrets |= {"OLD_API_KEY": "old-key", "OLD_API_SECRET": "o" * 32}
    for variable_name in [known for known in os.environ if known.startswith("ROOMKEEPER_")]:
        monkeypatch.delenv(variable_name)
    for key, value in env(chart.objects(name)).items():
        if key.endswith("_FILE"):
            file = tmp_path / value.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            stem = key.removesuffix("_FILE").removeprefix("ROOMKEEPER_")
            file.write_text(secrets[stem.removeprefix("LIVEKIT_")])
            monkeypatch.setenv(key, str(file))
        else:
            monkeypatch.setenv(key, value if isinstance(value, str) else CASES[name].namespace)
    settings = load_settings({})
    assert settings.redis_url == secrets["REDIS_URL"]
    has_tls = name.startswith("Redis ")
    assert (settings.redis_ca_file is not None) == has_tls
    assert settings.livekit_api_secret.get_secret_value() == secrets["API_SECRET"]
    assert (settings.livekit_key_file is not None) == (name == "LiveKit with a client certificate")
    assert bool(settings.livekit_old_api_key) == (name == "two keys of LiveKit")
    assert settings.lease_name.endswith("-shard-0")


def test_highly_available_replicas_are_spread(chart: Chart) -> None:
    deployment = only(chart.objects("highly available"), "Deployment")["spec"]
    assert deployment["replicas"] == HIGHLY_AVAILABLE["replicaCount"]
    assert deployment["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"] == deployment["selector"]


# ---- what users read after the installation


def notes(chart: Chart, values: dict[str, Any], *options: str) -> str:
    done = chart.run("install", "roomkeeper", Case(values), "--namespace", "calls", "--dry-run=client", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]


def test_the_notes_say_what_to_paste_and_what_to_do(chart: Chart) -> None:
    said = notes(chart, {})
    assert "urls: [http://roomkeeper-webhook.calls.svc:8080/livekit/webhook]" in said
    assert "auto_create: false" in said
    assert "kubectl -n calls create secret generic roomkeeper-livekit" in said
    assert "helm -n calls test roomkeeper" in said
    assert "- the PodDisruptionBudget: with one replica it would block `kubectl drain`" in said


def test_the_notes_create_one_secret_that_holds_everything_by_one_command(chart: Chart) -> None:
    same = {"existingSecret": "calls", "secretKeys": {"url": "redis-url"}}
    said = notes(chart, {"livekit": {"existingSecret": "calls"}, "redis": same})
    assert said.count("create secret generic") == 1
    command = said[said.index("kubectl -n") : said.index("2. LiveKit's")].replace("\\\n", " ").split("\n")[0]
    assert [word.partition("=")[2] for word in command.split() if word.startswith("--from-literal=")] == [
        "url=wss://LIVEKIT",
        "api-key=KEY",
        "api-secret=SECRET",
        "redis-url=redis://REDIS:6379/0",
    ]


def test_the_notes_name_what_was_left_out(chart: Chart) -> None:
    values = {**NAMESPACED, "serviceMonitor": {"enabled": True}, "uninstall": {"enabled": False}, "replicaCount": 2}
    said = notes(chart, values)
    assert "It serves the namespace calls." in said
    assert "- the ServiceMonitor: the cluster has no such kind." in said
    assert "- the CRDs, by crds.enabled" in said
    assert "- the hook of the uninstallation, by uninstall.enabled" in said
    assert "PodDisruptionBudget" not in said
