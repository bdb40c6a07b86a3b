"""Planted faults: for each the alert fires, its page leads to the cause, and the commands on the page show it.

One operator, one Prometheus with the rules of the chart, and lines to Redis, LiveKit and the API server that can be
cut.
The rules are those of the chart with low thresholds, and without the time for which they have to be true.
`tests/chart/test_alert_rules.py` is about these times.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import pytest
import redis.asyncio as redis_py
import yaml
from livekit import api

from controller.api.names import PAUSED
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from controller.generate.dashboards import dashboards
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.launch import launched
from sandbox.parts import ensure, locate
from sandbox.ports import PortLocks
from sandbox.progress import Progress
from sandbox.source import ROOT
from sandbox.stack import Stack, StackOptions
from tests import manifests
from tests.chart.cases import Case
from tests.chart.conftest import Chart
from tests.support.certificates import Authority, Signed
from tests.support.kube import Kube
from tests.support.logins import LoginsRedis
from tests.support.operators import Operator, Operators
from tests.support.people import People
from tests.support.prometheus import Prometheus, at_once
from tests.support.rig import Rig
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import eventually, patience

# Any alert may come before the others, but each only with its fault.
_LOW = {
    "errors": 1,
    "phaseSeconds": 2,
    "deletionSeconds": 1,
    "oldestWaiterSeconds": 1,
    "matchesEnded": 0,
    "certificateShare": 1,
}
# This Prometheus adds no namespace to what it reads.
_RULES = {
    "prometheusRule": {
        "enabled": True,
        "renderMode": "alwaysRender",
        "selector": 'job="roomkeeper"',
        "thresholds": _LOW,
    }
}
_LASTING = {"timeouts": {"readySeconds": 600, "connectSeconds": 600}, "room": {"emptyTimeoutSeconds": 700}}
_BLOCK = re.compile(r"^## Diagnosis\n.*?^```sh\n(.*?)^```\n\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
_KUBECTL = """\
#!/bin/bash
case " $* " in
    *" exec deploy/roomkeeper -- roomkeeper "*) exec "{python}" -m controller "${{@:7}}" ;;
    *" logs -l app.kubernetes.io/name=roomkeeper "*) exec tail -n 200 "{log}" ;;
esac
exec "{kubectl}" "$@"
"""


@dataclass(frozen=True)
class Scene:
    """What the tests of this module share."""

    rig: Rig
    operator: Operator
    prometheus: Prometheus
    redis_line: TcpProxy
    livekit_line: TcpProxy
    kubernetes_line: TcpProxy
    programs: Path
    environment: dict[str, str]
    """The operator's own variables."""

    async def page(self, alert: str) -> tuple[str, str]:
        """What the commands on the page of an alert show, and the table below them. The fault shows in both."""
        text = (ROOT / f"docs/alerts/{alert}.md").read_text(encoding="utf-8")
        ((commands, causes),) = _BLOCK.findall(text)
        # In a cluster, the Service has this name; here LiveKit sends to this address.
        commands = re.sub(r"http://roomkeeper-webhook\S+", self.rig.where.webhook_url, commands)
        # Each command by itself: side by side they take half the time.
        shown = await asyncio.gather(*map(self._types, commands.splitlines()))
        return "\n".join(shown), causes

    async def _types(self, command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *launched(("bash", "-c", command)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ,
                **self.operator.environment,
                "KUBECONFIG": str(self.rig.where.kubeconfig),
                "PATH": f"{self.programs}:{os.environ['PATH']}",
            },
            cwd=ROOT,
        )
        async with asyncio.timeout(patience(60)):
            out, _ = await process.communicate()
        return out.decode()

    async def restart(self, **environment: str) -> None:
        """Start the operator again, with these variables instead of its own."""
        if self.operator.running:
            await self.operator.end()
        self.operator.environment.clear()
        self.operator.environment.update({**self.environment, **environment})
        await self.operator.start()


@pytest.fixture(scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory, audit_log: Path, real_programs: None) -> AsyncIterator[Scene]:
    """The commands on the pages look at the whole cluster, so the stack is not shared."""
    directory = tmp_path_factory.mktemp("faults")
    parts, ports = ensure(["prometheus", "helm", "kubectl"], Progress()), PortLocks()
    rules = next(o for o in Chart(parts["helm"].path).parsed(Case(_RULES)) if o["kind"] == "PrometheusRule")
    options = StackOptions(directory / "stack", operator=False, audit_log=audit_log.with_suffix(".faults.log"))
    async with Stack(options) as own, AsyncExitStack() as stack:
        where = own.endpoints
        stack.callback(ports.release)
        redis_line, livekit_line, kubernetes_line = [
            await stack.enter_async_context(TcpProxy("127.0.0.1", urlsplit(url).port or 0))
            for url in (where.redis_url, where.livekit_url, where.server)
        ]
        admin = await stack.enter_async_context(Administrator.of(where))
        rig = await _rig(where, admin, directory, stack)
        kubeconfig = directory / "kubeconfig"
        _kubeconfig(Path(where.operator_env["KUBECONFIG"]), kubernetes_line, kubeconfig)
        operator = rig.operators.make(
            redis_url=_through(where.operator_env["ROOMKEEPER_REDIS_URL"], redis_line),
            livekit_url=_through(where.livekit_url, livekit_line),
            # LiveKit sends its webhooks to another port, where nothing listens.
            webhook_port=str(ports.take()),
            poll_seconds="0.5",
            livekit_timeout_seconds="1",
        )
        operator.environment["KUBECONFIG"] = str(kubeconfig)
        await operator.start()
        await eventually(operator.leads)
        prometheus = await stack.enter_async_context(
            Prometheus(
                parts["prometheus"].path, directory / "prometheus", ports.take(), {"roomkeeper": operator.url},
                at_once(rules["spec"]),
            )
        )  # fmt: skip
        programs = directory / "bin"
        programs.mkdir()
        shim = _KUBECTL.format(python=sys.executable, log=directory / "operator-1.log", kubectl=locate("kubectl").path)
        (programs / "kubectl").write_text(shim)
        (programs / "kubectl").chmod(0o755)
        yield Scene(
            rig, operator, prometheus, redis_line, livekit_line, kubernetes_line, programs, dict(operator.environment)
        )


async def _rig(where: Endpoints, admin: Administrator, directory: Path, stack: AsyncExitStack) -> Rig:
    namespace = f"faults-{directory.name.lower()}"
    await admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    keys = Keys(where.cluster_id, namespace)
    redis = redis_py.Redis.from_url(where.redis_url, decode_responses=True)
    stack.push_async_callback(redis.aclose)
    logins = LoginsRedis(where.redis_url, where.redis_urls)
    stack.push_async_callback(logins.close)
    session = await stack.enter_async_context(aiohttp.ClientSession())
    livekit = api.LiveKitAPI(
        where.livekit_http_url, where.livekit_api_key, where.livekit_api_secret, session=session, failover=False
    )
    people = await stack.enter_async_context(People(where))
    operators = await stack.enter_async_context(Operators(where, namespace, directory))
    kube = Kube(where, namespace, admin)
    return Rig(where, kube, redis, keys, livekit, Gateway(logins, keys), people, operators)


def _kubeconfig(like: Path, line: TcpProxy, file: Path, own: Signed | None = None) -> None:
    """Write a kubeconfig that leads through the line, with a client certificate of its own beside the token."""
    config = yaml.safe_load(like.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    if own is not None:
        files = {"client-certificate": str(own.certificate), "client-key": str(own.key)}
        config["users"][0]["user"].update(files)
    file.write_text(yaml.safe_dump(config))


def _through(url: str, line: TcpProxy) -> str:
    parts = urlsplit(url)
    login, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{login}{at}127.0.0.1:{line.port}"))


async def _found(scene: Scene, alert: str, shown: str, cause: str) -> None:
    """The commands of the page show `shown`, and the table of the page says what that means."""

    async def condition() -> None:
        out, causes = await scene.page(alert)
        assert re.search(shown, out), f"{shown} is not in\n{out}"
        assert cause in causes

    await eventually(condition)


async def webhooks_go_to_an_address_where_nothing_listens(scene: Scene) -> None:
    await scene.rig.active("alice", "bob", name="call")
    await scene.prometheus.fires("RoomkeeperWebhooksMissing")
    await _found(scene, "RoomkeeperWebhooksMissing", "✗ webhook .*does not answer", "line `webhook` has ✗")
    await scene.rig.delete("call")


async def a_user_waits_and_there_is_no_matchmaker(scene: Scene) -> None:
    await scene.rig.enqueue("zoe")
    await scene.prometheus.fires("RoomkeeperOldestWaiter", 15)
    await _found(scene, "RoomkeeperOldestWaiter", "No resources found", "no Match is young, or there is none at all")
    await scene.rig.gateway.leave("zoe")


async def users_get_tokens_and_do_not_come(scene: Scene) -> None:
    await scene.rig.kube.create(manifests.match("carol", "dan", name="silent", timeouts={"connectSeconds": 1}))
    await scene.prometheus.fires("RoomkeeperPeopleDoNotConnect")
    await _found(scene, "RoomkeeperPeopleDoNotConnect", "silent .*NoShow", "REASON is mostly `NoShow`")
    await scene.rig.delete("silent")


async def a_match_asks_for_a_server_that_is_not_there(scene: Scene) -> None:
    placed = manifests.match("carol", "dan", name="placed", placement={"serverName": "mars"}, **_LASTING)
    await scene.rig.kube.create(placed)
    await scene.prometheus.fires("RoomkeeperErrors")
    await _found(scene, "RoomkeeperErrors", "NoServerFits", "a row of the errors with a code")
    await scene.rig.delete("placed")


async def a_match_was_paused_and_then_deleted(scene: Scene) -> None:
    await scene.rig.ready("carol", "dan", name="paused", **_LASTING)
    await scene.rig.kube.patch("Match", "paused", {"metadata": {"annotations": {PAUSED: "true"}}})
    await scene.rig.kube.delete("Match", "paused")
    await scene.prometheus.fires("RoomkeeperDeletionStuck")
    shown = r"Match +\S+ +paused +20\S+ +[^<\s]"
    await _found(scene, "RoomkeeperDeletionStuck", shown, "DELETED has a time, and PAUSED a sentence")
    await scene.rig.kube.patch("Match", "paused", {"metadata": {"annotations": {PAUSED: None}}})
    await scene.rig.kube.gone("Match", "paused")


async def livekit_is_away(scene: Scene) -> None:
    await scene.livekit_line.cut()
    labels = await scene.prometheus.fires("RoomkeeperLiveKitDown")
    assert labels["server"] == "default"
    await _found(scene, "RoomkeeperLiveKitDown", "✗ LiveKit .*", "it is down, or a network policy")
    await scene.rig.kube.create(manifests.match("carol", "dan", name="stuck", **_LASTING))
    labels = await scene.prometheus.fires("RoomkeeperMatchStuck")
    assert labels["phase"] == "Creating"
    await _found(scene, "RoomkeeperMatchStuck", "stuck .*LiveKit", "WHY names a backend")
    await scene.livekit_line.restore()
    await scene.prometheus.is_silent_about("RoomkeeperLiveKitDown")
    await scene.rig.delete("stuck")


async def redis_is_away(scene: Scene) -> None:
    await scene.redis_line.cut()
    await scene.prometheus.fires("RoomkeeperRedisDown")
    await _found(scene, "RoomkeeperRedisDown", "✗ Redis .*", "it is down, or a network policy")
    await scene.redis_line.restore()
    await scene.prometheus.is_silent_about("RoomkeeperRedisDown")


async def the_way_to_the_api_server_is_cut(scene: Scene) -> None:
    await scene.kubernetes_line.cut()
    await scene.prometheus.fires("RoomkeeperKubernetesDown")
    shown = r"a backend does not answer.*Kubernetes"
    await _found(scene, "RoomkeeperKubernetesDown", shown, "the way from the pod to the API server is cut")
    await scene.kubernetes_line.restore()
    await scene.prometheus.is_silent_about("RoomkeeperKubernetesDown")


async def the_operator_has_an_old_key_of_livekit(scene: Scene) -> None:
    await scene.restart(ROOMKEEPER_LIVEKIT_API_SECRET="an-old-secret-of-more-than-32-characters")
    await scene.prometheus.fires("RoomkeeperLiveKitDown")
    shown = "a backend refuses our credentials.*LiveKit"
    await _found(scene, "RoomkeeperLiveKitDown", shown, "a wrong or an old key or password")


async def a_client_certificate_is_about_to_end(scene: Scene) -> None:
    signed = Authority(scene.programs.parent / "authority").sign("operator", days=3)
    kubeconfig = scene.programs.parent / "kubeconfig-with-certificate"
    _kubeconfig(Path(scene.environment["KUBECONFIG"]), scene.kubernetes_line, kubeconfig, signed)
    await scene.restart(KUBECONFIG=str(kubeconfig))
    labels = await scene.prometheus.fires("RoomkeeperCertificateEnds")
    assert (labels["backend"], labels["use"]) == ("Kubernetes", "client")
    await _found(scene, "RoomkeeperCertificateEnds", "✓ API server", "the label `use` is `client`")


async def no_replica_starts_because_a_setting_is_wrong(scene: Scene) -> None:
    with pytest.raises(AssertionError, match="ended with"):
        await scene.restart(ROOMKEEPER_POLL_SECONDS="soon")
    await scene.prometheus.fires("RoomkeeperNoLeader")
    await _found(scene, "RoomkeeperNoLeader", "setting.* wrong", "it refuses to start")
    await scene.restart()
    await scene.prometheus.is_silent_about("RoomkeeperNoLeader")


async def no_panel_of_the_dashboards_is_empty(scene: Scene) -> None:
    """Like Grafana, it asks for the last minutes, in which there were calls and faults."""
    # LiveKit's webhooks go here.
    await scene.restart(ROOMKEEPER_WEBHOOK_PORT=scene.rig.where.operator_env["ROOMKEEPER_WEBHOOK_PORT"])
    await scene.rig.kube.create(manifests.match("carol", "dan", name="silent", timeouts={"connectSeconds": 1}))
    placed = manifests.match("erin", "frank", name="placed", placement={"serverName": "mars"}, **_LASTING)
    await scene.rig.kube.create(placed)
    await scene.rig.enqueue("alice", "bob")
    await scene.rig.active("alice", "bob", name="call", admission="Queued")
    await scene.rig.kube.patch("Match", "call", manifests.termination("Skip", "alice"))
    await scene.rig.kube.wait("Finished", "call")
    queries = {
        f"{board['title']}: {panel['title']}, {target['legendFormat']}": target["expr"]
        for text in dashboards().values()
        for board in [json.loads(text)]
        for panel in board["panels"]
        for target in panel.get("targets", ())
    }

    async def all_have_values() -> None:
        drawn = {name: await scene.prometheus.draws(_filled_in(expr)) for name, expr in queries.items()}
        assert [name for name, has_values in drawn.items() if not has_values] == []

    await eventually(all_have_values, 60)
    for name in ("call", "silent", "placed"):
        await scene.rig.delete(name)


def _filled_in(expr: str) -> str:
    return expr.replace("$namespace", "").replace("$job", "roomkeeper").replace("$__rate_interval", "10s")


FAULTS = (
    webhooks_go_to_an_address_where_nothing_listens,
    a_user_waits_and_there_is_no_matchmaker,
    users_get_tokens_and_do_not_come,
    a_match_asks_for_a_server_that_is_not_there,
    a_match_was_paused_and_then_deleted,
    livekit_is_away,
    redis_is_away,
    the_way_to_the_api_server_is_cut,
    the_operator_has_an_old_key_of_livekit,
    a_client_certificate_is_about_to_end,
    no_replica_starts_because_a_setting_is_wrong,
    no_panel_of_the_dashboards_is_empty,
)
"""In this order: later ones restart the operator, and the panels are drawn from all that happened before."""


async def test_from_each_alert_its_page_and_the_commands_on_it_lead_to_the_planted_fault(scene: Scene) -> None:
    for fault in FAULTS:
        try:
            await fault(scene)
        except BaseException as error:
            error.add_note(f"while this fault was planted: {fault.__name__}")
            raise
