"""Pods on a real API server: what they say is what their programs see, and their status is what a kubelet reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sandbox.endpoints import Endpoints
from sandbox.kubelet.kubelet import Kubelet
from tests.support.images import IMAGE
from tests.support.kube import Kube
from tests.support.waiting import eventually

pytestmark = [pytest.mark.usefixtures("real_programs"), pytest.mark.xdist_group("image")]

Body = dict[str, Any]

_PYTHON = "/opt/roomkeeper/bin/python"
_SEES = """
import json, os, sys
files = {path: open(path).read() for path in sys.argv[1:]}
print(json.dumps({"environment": dict(os.environ), "files": files, "cwd": os.getcwd()}))
"""
_SERVES = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == sys.argv[1] else 503)
        self.end_headers()
        self.wfile.write(sys.argv[2].encode())
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
"""


def _pod(name: str, script: str, *arguments: str, container: Body | None = None, **spec: Any) -> Body:
    main = {"name": "main", "image": IMAGE, "command": [_PYTHON, "-c", script, *arguments], **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [main], **spec},
    }


async def _create(kube: Kube, body: Body) -> None:
    # The ServiceAccount `default` comes shortly after the namespace; no Pod is accepted before.
    await eventually(lambda: kube.apply(body))


async def _pod_until(kube: Kube, name: str, condition: Callable[[Body], bool]) -> Body:
    async def holds() -> Body:
        body = await kube.admin.call("GET", f"/api/v1/namespaces/{kube.namespace}/pods/{name}")
        assert condition(body), json.dumps(body.get("status"), indent=1)
        return body

    return await eventually(holds)


def _phase(wanted: str) -> Callable[[Body], bool]:
    return lambda body: bool(body["status"].get("phase") == wanted)


def _state(body: Body) -> Body:
    statuses = body["status"].get("containerStatuses") or [{}]
    found: Body = statuses[0].get("state", {})
    return found


def _waits(reason: str) -> Callable[[Body], bool]:
    return lambda body: bool(_state(body).get("waiting", {}).get("reason") == reason)


def _printed(kubelet: Kubelet, kube: Kube, name: str) -> Any:
    return json.loads(kubelet.log(kube.namespace, name, "main").read_text().splitlines()[-1])


async def test_a_program_sees_the_variables_and_files_that_its_pod_names(kube: Kube, kubelet: Kubelet) -> None:
    await kube.ask("create", "secret", "generic", "access", "--from-literal=key=word", "--from-literal=other=thing")
    await kube.ask("create", "configmap", "colors", "--from-literal=sky=blue")
    await kube.ask("create", "service", "clusterip", "door-bell", "--tcp=80:8080")
    environment = [
        {"name": "PLAIN", "value": "as it is"},
        {"name": "MADE", "value": "$(PLAIN), $(UNKNOWN) and $$(PLAIN)"},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "access", "key": "key"}}},
        {"name": "NOTHING", "valueFrom": {"secretKeyRef": {"name": "none", "key": "key", "optional": True}}},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "FILE", "value": "/etc/access/name"},
    ]
    volumes = [
        {"name": "access", "secret": {"secretName": "access", "items": [{"key": "key", "path": "name"}]}},
        {"name": "none", "secret": {"secretName": "none", "optional": True}},
        {"name": "both", "projected": {"sources": [{"configMap": {"name": "colors"}}]}},
        {"name": "scratch", "emptyDir": {}},
    ]
    paths = {"access": "/etc/access", "none": "/etc/none", "both": "/etc/both", "scratch": "/var/scratch"}
    container = {
        "env": environment,
        "envFrom": [{"prefix": "COLOR_", "configMapRef": {"name": "colors"}}],
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in paths.items()],
    }
    script = f"{_SEES}\nopen(os.environ['SCRATCH'] + '/note', 'w').write('written')"
    container["env"] = [*environment, {"name": "SCRATCH", "value": "/var/scratch"}]
    pod = _pod("looks", script, "/etc/access/name", "/etc/both/sky", container=container)
    await _create(kube, {**pod, "spec": {**pod["spec"], "restartPolicy": "Never", "volumes": volumes}})
    body = await _pod_until(kube, "looks", _phase("Succeeded"))
    seen = _printed(kubelet, kube, "looks")
    found = seen["environment"]
    assert found["MADE"] == "as it is, $(UNKNOWN) and $(PLAIN)"
    assert (found["SECRET"], found["COLOR_sky"], found["ME"]) == ("word", "blue", "looks")
    assert found["ADDRESS"] == body["status"]["podIP"]
    assert found["DOOR_BELL_SERVICE_PORT"] == "80"
    assert found["DOOR_BELL_PORT"].startswith("tcp://10.0.0.")
    assert list(seen["files"].values()) == ["word", "blue"]
    assert found["FILE"] == next(iter(seen["files"]))
    unexpected = {"NOTHING", "PYTHONPATH", "SANDBOX_NETWORK", "HOME"} & set(found)
    assert not unexpected
    assert _state(body)["terminated"]["reason"] == "Completed"


async def test_a_pod_that_lacks_something_says_what_and_starts_when_it_comes(kube: Kube, kubelet: Kubelet) -> None:
    container = {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "access", "key": "key"}}}]}
    await _create(kube, _pod("waits", "print('here')", container=container, restartPolicy="Never"))
    body = await _pod_until(kube, "waits", _waits("CreateContainerConfigError"))
    assert _state(body)["waiting"]["message"] == 'secret "access" not found'
    await kube.ask("create", "secret", "generic", "access", "--from-literal=other=word")
    said = f"couldn't find key key in Secret {kube.namespace}/access"
    await _pod_until(kube, "waits", lambda body: _state(body).get("waiting", {}).get("message") == said)
    await kube.ask("patch", "secret", "access", "--patch", '{"stringData": {"key": "word"}}')
    await _pod_until(kube, "waits", _phase("Succeeded"))


async def test_an_image_that_is_not_there_and_a_field_that_is_not_known_are_reported(
    kube: Kube, kubelet: Kubelet
) -> None:
    await _create(kube, _pod("absent", "pass", container={"image": "registry.example/other:1"}))
    body = await _pod_until(kube, "absent", _waits("ErrImagePull"))
    assert 'failed to pull image "registry.example/other:1"' in _state(body)["waiting"]["message"]
    await _create(kube, _pod("host", "pass", hostNetwork=True))
    body = await _pod_until(kube, "host", _waits("CreateContainerConfigError"))
    assert _state(body)["waiting"]["message"] == "the sandbox's kubelet does not know hostNetwork"


async def test_a_program_that_fails_is_started_again_after_a_pause(kube: Kube, kubelet: Kubelet) -> None:
    container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    await _create(kube, _pod("fails", "print('no luck'); raise SystemExit(3)", container=container))
    body = await _pod_until(kube, "fails", lambda body: _waits("CrashLoopBackOff")(body) and _restarts(body) >= 2)
    last = body["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "no luck\nno luck\n")
    assert body["status"]["phase"] == "Running"


def _restarts(body: Body) -> int:
    return int(body["status"]["containerStatuses"][0]["restartCount"])


async def test_a_job_runs_until_it_succeeds_or_gives_up(kube: Kube, kubelet: Kubelet) -> None:
    for name, status in (("good", 0), ("bad", 1)):
        pod = _pod(name, f"raise SystemExit({status})", restartPolicy="Never")
        spec = {"backoffLimit": 0, "template": {"spec": pod["spec"]}}
        await _create(kube, {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
    await kube.ask("wait", "--for=condition=Complete", "job/good", "--timeout=30s")
    await kube.ask("wait", "--for=condition=Failed", "job/bad", "--timeout=30s")


async def test_a_deleted_pod_ends_with_sigterm_and_in_the_end_with_sigkill(kube: Kube, kubelet: Kubelet) -> None:
    polite = "import signal, sys\nsignal.signal(15, lambda *a: sys.exit(print('bye', flush=True)))\n"
    deaf = "import signal\nsignal.signal(15, signal.SIG_IGN)\n"
    for name, script in (("polite", polite), ("deaf", deaf)):
        waiting = f"{script}print('up', flush=True)\nwhile True: signal.pause()"
        await _create(kube, _pod(name, waiting, terminationGracePeriodSeconds=1))
    for name in ("polite", "deaf"):
        await eventually(partial(_says, kubelet, kube, name, "up"))
        await kube.ask("delete", "pod", name, "--timeout=30s")
    assert kubelet.log(kube.namespace, "polite", "main").read_text() == "up\nbye\n"
    assert kubelet.log(kube.namespace, "deaf", "main").read_text() == "up\n"


async def _says(kubelet: Kubelet, kube: Kube, name: str, text: str) -> None:
    log = kubelet.log(kube.namespace, name, "main")
    assert log.exists(), f"{name} has not been started"
    assert text in log.read_text()


async def test_a_service_reaches_its_ready_pods_on_the_port_that_all_of_them_use(
    kube: Kube, kubelet: Kubelet, where: Endpoints
) -> None:
    ports = {"ports": [{"name": "door", "containerPort": 8080}]}
    for name, ready in (("first", "/ready"), ("second", "/ready"), ("third", "/never")):
        probe = {"readinessProbe": {"httpGet": {"path": "/ready", "port": "door"}, "periodSeconds": 1}}
        pod = _pod(name, _SERVES, ready, name, container={**ports, **probe})
        pod["metadata"]["labels"] = {"app": "door"}
        await _create(kube, pod)
    await kube.ask("create", "service", "clusterip", "door", "--tcp=80:door")
    async with kubelet.serving(kube.namespace, "door", "80-door") as proxy:

        async def both_answer() -> None:
            assert len(await proxy.behind()) == 2

        await eventually(both_answer)
        look = (
            "import urllib.request\n"
            f"urls = ['http://door.{kube.namespace}.svc/ready'] * 4\n"
            "print(json.dumps([urllib.request.urlopen(url).read().decode() for url in urls]))"
        )
        await _create(kube, _pod("visitor", f"import json\n{look}", restartPolicy="Never"))
        await _pod_until(kube, "visitor", _phase("Succeeded"))
        assert set(_printed(kubelet, kube, "visitor")) == {"first", "second"}


async def test_a_program_that_fails_its_liveness_probe_is_started_again(kube: Kube, kubelet: Kubelet) -> None:
    container = {
        "ports": [{"name": "door", "containerPort": 8080}],
        "livenessProbe": {"httpGet": {"path": "/live", "port": "door"}, "periodSeconds": 1, "failureThreshold": 2},
    }
    await _create(kube, _pod("ill", _SERVES, "/ready", "", container=container))
    await _pod_until(kube, "ill", lambda body: bool(body["status"].get("containerStatuses")) and _restarts(body) > 0)


async def test_kubectl_logs_prints_what_a_program_has_written(kube: Kube, kubelet: Kubelet) -> None:
    await _create(kube, _pod("talks", "print('one'); print('two')", restartPolicy="Never"))
    await _pod_until(kube, "talks", _phase("Succeeded"))
    assert await kube.ask("logs", "talks") == "one\ntwo\n"
    assert await kube.ask("logs", "talks", "--tail=1") == "two\n"
