"""What the kubelet computes without a cluster: variables, the resolved container, the status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.kubelet.environment import expand, resolve, service_links
from sandbox.kubelet.errors import ConfigError
from sandbox.kubelet.network import PodAddress
from sandbox.kubelet.process import read_image
from sandbox.kubelet.runtime import ContainerSpec, Image, Mount, Security
from sandbox.kubelet.sources import Sources, references
from sandbox.kubelet.spec import check, container_spec
from sandbox.kubelet.status import ContainerState, Running, Terminated, Waiting, phase, pod_status

Body = dict[str, Any]

_ADDRESS = PodAddress("10.244.0.2", {8080: 20001})
_IMAGE = Image(("/bin/program",), ("serve",), {"PATH": "/bin"}, "/", 65532, 65532)
_ENDED = Terminated(0, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")
_FAILED = Terminated(1, "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z")
_RUNNING = Running("2026-01-01T00:00:00Z", started=True, ready=True)


def _pod(**container: Any) -> Body:
    return {
        "metadata": {"name": "pod", "namespace": "space", "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "main", "image": "image", **container}]},
    }


def _resolve(*env: Body, sources: Sources | None = None) -> dict[str, str]:
    pod = _pod(env=list(env))
    return resolve(pod, pod["spec"]["containers"][0], sources or Sources(), {})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)-$(A)", "1-1"), ("$$(A)", "$(A)"), ("$(B)", "$(B)"), ("$A ${A}", "$A ${A}"), ("$$$(A)", "$1")],
)
def test_only_references_to_known_variables_are_filled_in(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


def test_a_variable_sees_only_those_before_it() -> None:
    entries = [
        {"name": "LATE", "value": "$(EARLY)"},
        {"name": "EARLY", "value": "x"},
        {"name": "END", "value": "$(EARLY)"},
    ]
    assert _resolve(*entries) == {"LATE": "$(EARLY)", "EARLY": "x", "END": "x"}


def test_labels_are_fields_of_the_downward_api_and_other_paths_are_refused() -> None:
    label = {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}
    assert _resolve(label) == {"APP": "x"}
    with pytest.raises(ConfigError, match=r"fieldRef spec\.x is not known"):
        _resolve({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}})
    with pytest.raises(ConfigError, match="does not know resourceFieldRef"):
        _resolve({"name": "X", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}})


def test_service_links_are_those_of_kubernetes() -> None:
    port = {"name": "web-hooks", "port": 80, "protocol": "TCP"}
    services: list[Body] = [
        {"metadata": {"name": "room-keeper"}, "spec": {"clusterIP": "10.0.0.9", "ports": [port]}},
        {"metadata": {"name": "headless"}, "spec": {"clusterIP": "None", "ports": [port]}},
    ]
    assert service_links(services) == {
        "ROOM_KEEPER_SERVICE_HOST": "10.0.0.9",
        "ROOM_KEEPER_SERVICE_PORT": "80",
        "ROOM_KEEPER_SERVICE_PORT_WEB_HOOKS": "80",
        "ROOM_KEEPER_PORT": "tcp://10.0.0.9:80",
        "ROOM_KEEPER_PORT_80_TCP": "tcp://10.0.0.9:80",
        "ROOM_KEEPER_PORT_80_TCP_PROTO": "tcp",
        "ROOM_KEEPER_PORT_80_TCP_PORT": "80",
        "ROOM_KEEPER_PORT_80_TCP_ADDR": "10.0.0.9",
    }


def test_every_object_that_a_pod_names_is_read() -> None:
    spec = {
        "volumes": [
            {"name": "a", "secret": {"secretName": "one"}},
            {"name": "b", "projected": {"sources": [{"secret": {"name": "two"}}, {"configMap": {"name": "three"}}]}},
        ],
        "containers": [{"envFrom": [{"secretRef": {"name": "four"}}]}],
    }
    assert set(references(spec)) == {("Secret", "one"), ("Secret", "two"), ("ConfigMap", "three"), ("Secret", "four")}


def _spec(pod: Body, image: Image = _IMAGE) -> ContainerSpec:
    return container_spec(
        pod,
        pod["spec"]["containers"][0],
        image,
        {"A": "1"},
        volume=lambda name: Path("/volumes") / name,
        address=_ADDRESS,
        log=Path("/log"),
        hosts="127.0.0.1 localhost\n",
        network_file=Path("/network.json"),
    )


@pytest.mark.parametrize(
    ("container", "command"),
    [
        ({}, ("/bin/program", "serve")),
        ({"args": ["other", "$(A)"]}, ("/bin/program", "other", "1")),
        ({"command": ["/bin/x"]}, ("/bin/x",)),
        ({"command": ["/bin/x"], "args": []}, ("/bin/x",)),
    ],
)
def test_command_and_arguments_replace_those_of_the_image(container: Body, command: tuple[str, ...]) -> None:
    assert _spec(_pod(**container)).command == command


def test_the_security_context_of_the_container_wins_over_that_of_the_pod() -> None:
    pod = _pod(
        securityContext={
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsUser": 7,
        }
    )
    pod["spec"]["securityContext"] = {"runAsUser": 6, "runAsGroup": 5, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = _spec(pod)
    assert spec.security == Security(True, True, True, True)
    assert (spec.user, spec.group) == (7, 5)
    assert _spec(_pod()).security == Security(False, False, False, False)


def test_a_root_image_is_refused_where_the_pod_must_not_run_as_root() -> None:
    pod = _pod(securityContext={"runAsNonRoot": True})
    assert _spec(pod).user == 65532
    with pytest.raises(ConfigError, match="runAsNonRoot and image will run as root"):
        _spec(pod, Image(("/x",), (), {}, "/", 0, 0))


def test_only_an_empty_directory_is_writable() -> None:
    pod = _pod(volumeMounts=[{"name": "s", "mountPath": "/s/"}, {"name": "e", "mountPath": "/e", "subPath": "x"}])
    pod["spec"]["volumes"] = [{"name": "s", "secret": {"secretName": "s"}}, {"name": "e", "emptyDir": {}}]
    assert _spec(pod).mounts == (Mount("/s", Path("/volumes/s"), True), Mount("/e", Path("/volumes/e/x"), False))


def test_a_field_that_is_not_understood_is_refused() -> None:
    pod = _pod(stdin=True)
    pod["spec"] |= {"hostNetwork": True, "securityContext": {"fsGroup": 1}}
    with pytest.raises(ConfigError, match=r"does not know containers\.stdin, hostNetwork, securityContext\.fsGroup"):
        check(pod)


def test_the_image_is_what_the_dockerfile_says() -> None:
    image = read_image()
    assert (image.entry_point, image.arguments) == (("/opt/roomkeeper/bin/roomkeeper",), ("operator",))
    assert (image.user, image.group) == (65532, 65532)
    assert image.environment["PATH"].startswith("/opt/roomkeeper/bin:")


@pytest.mark.parametrize(
    ("states", "policy", "ending", "expected"),
    [
        ([Waiting()], "Always", False, "Pending"),
        ([_RUNNING], "Always", False, "Running"),
        ([_ENDED], "Never", False, "Succeeded"),
        ([_ENDED, _FAILED], "Never", False, "Failed"),
        ([_ENDED], "OnFailure", False, "Succeeded"),
        ([_FAILED], "OnFailure", False, "Running"),
        ([_ENDED], "Always", False, "Running"),
        ([_FAILED], "Always", True, "Failed"),
        ([_ENDED, _RUNNING], "Never", False, "Running"),
    ],
)
def test_the_phase_follows_from_the_containers(
    states: list[Waiting | Running | Terminated], policy: str, ending: bool, expected: str
) -> None:
    named = {str(number): ContainerState(str(number), "image", state) for number, state in enumerate(states)}
    assert phase(named, policy, ending=ending) == expected


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    pod = _pod()
    states = {"main": ContainerState("main", "image", _RUNNING)}
    pod["status"] = pod_status(pod, states, {}, "10.244.0.2", "then")
    later = pod_status(pod, {"main": ContainerState("main", "image", _FAILED)}, {}, "10.244.0.2", "now")
    times = {entry["type"]: (entry["status"], entry["lastTransitionTime"]) for entry in later["conditions"]}
    assert times["Ready"] == ("False", "now")
    assert times["PodScheduled"] == ("True", "then")
    assert later["startTime"] == "then"


def test_a_pod_whose_first_container_has_failed_for_good_has_failed() -> None:
    waiting = {"main": ContainerState("main", "image")}
    first = {"first": ContainerState("first", "image", _FAILED)}
    assert pod_status(_pod(), waiting, first, "10.244.0.2", "now")["phase"] == "Failed"
