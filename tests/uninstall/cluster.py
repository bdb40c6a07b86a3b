"""An installation with a Deployment, and the command `roomkeeper uninstall` as people and hooks run it.

The tests play the Deployment's controller and the kubelet: an operator is a process, with a Pod that stands for it.
When the Deployment is scaled to 0, the process gets SIGTERM, and the Pod goes after it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from controller.api.names import GROUP, KINDS, SERVICE_ACCOUNT, SYSTEM_NAMESPACE
from sandbox.administrator import Refused
from sandbox.cluster import Cluster, read_manifests
from sandbox.endpoints import Endpoints, kubeconfig_text
from sandbox.launch import launched
from sandbox.recipes import bare_environment
from sandbox.source import CRDS, FINALIZER_POLICY, INSTALL, ROOT
from sandbox.stack import Stack
from tests.support.kube import Body, Kube
from tests.support.operators import Operator, Operators
from tests.support.waiting import eventually, patience

DEPLOYMENT: Final = f"/apis/apps/v1/namespaces/{SYSTEM_NAMESPACE}/deployments/roomkeeper"
LEASE: Final = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/roomkeeper-shard-0"
POLICIES: Final = tuple(
    f"/apis/admissionregistration.k8s.io/v1/{plural}/roomkeeper-finalizer"
    for plural in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")
)
CRD: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_PODS: Final = f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/pods"
_LABELS: Final = {"app.kubernetes.io/name": "roomkeeper", "app.kubernetes.io/component": "operator"}
_CONTAINER: Final[Body] = {
    "name": "operator",
    "image": "ghcr.io/roomkeeper/roomkeeper",
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit status {self.status}\n{self.out}\n{self.err}"


class Site:
    """What `kubectl apply -f manifests/install.yaml` leaves, and a Deployment."""

    def __init__(self, stack: Stack, where: Endpoints, kube: Kube, operators: Operators, directory: Path) -> None:
        self.stack = stack
        self.where = where
        self.kube = kube
        self._operators = operators
        self._directory = directory
        self._ca = directory / "ca.crt"
        self._ca.write_text(where.ca)
        self._played: asyncio.Task[None] | None = None
        self.operator: Operator | None = None

    async def __aenter__(self) -> Self:
        await self.install()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_playing()
        await self.remove(DEPLOYMENT, f"{_PODS}/operator")
        await self.install()

    async def stop_playing(self) -> None:
        """No longer be the Deployment's controller."""
        if self._played is not None:
            self._played.cancel()
            await asyncio.gather(self._played, return_exceptions=True)

    # ---- the installation

    async def install(self) -> None:
        """Apply CRDs, namespace, rights and the finalizer policy; what is being deleted is waited for."""

        async def nothing_is_going() -> None:
            for kind in KINDS:
                crd = await self.get(f"{CRD}/{kind.crd}")
                assert crd is None or "deletionTimestamp" not in crd["metadata"], f"{kind.crd} is being deleted"

        await eventually(nothing_is_going)
        async with self._cluster() as cluster:
            await cluster.install(read_manifests((CRDS, INSTALL, FINALIZER_POLICY)))
            await cluster.wait_for_matches()

    async def start(self, replicas: int = 1, **settings: str) -> Operator:
        """Create the Deployment with a Pod, and run the operator until the Deployment is scaled to 0."""
        await self.deploy(replicas)
        spec = {"serviceAccountName": SERVICE_ACCOUNT, "containers": [_CONTAINER]}
        await self.kube.admin.call("POST", _PODS, {"metadata": {"name": "operator", "labels": _LABELS}, "spec": spec})
        await self.kube.admin.call("PATCH", f"{DEPLOYMENT}/status", {"status": {"replicas": 1, "readyReplicas": 1}})
        self.operator = await self._operators.start(**settings)
        await eventually(self.operator.leads)
        self._played = asyncio.create_task(self._play(self.operator))
        return self.operator

    async def deploy(self, replicas: int = 1, release: str = "") -> None:
        """Create the Deployment, as the chart does; without an operator."""
        environment = [{"name": "ROOMKEEPER_WATCH_NAMESPACES", "value": self.kube.namespace}]
        metadata: Body = {"name": "roomkeeper", "labels": _LABELS}
        if release:
            metadata["annotations"] = {"meta.helm.sh/release-name": release}
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {"containers": [_CONTAINER | {"env": environment}]},
            },
        }
        await self.kube.admin.call("POST", DEPLOYMENT.rpartition("/")[0], {"metadata": metadata, "spec": spec})

    async def _play(self, operator: Operator) -> None:
        while True:
            deployment = await self.get(DEPLOYMENT)
            if deployment is None or deployment["spec"]["replicas"] == 0:
                break
            await asyncio.sleep(0.05)
        if operator.running:
            await operator.end()
        await self.remove(f"{_PODS}/operator")

    # ---- requests of the administrator

    async def get(self, path: str) -> Body | None:
        """The object at this path, or None."""
        answer = await self.kube.admin.answer("GET", path)
        if answer.status == 404:
            return None
        assert answer.status == 200, f"GET {path}: {answer.message}"
        return answer.body

    async def stopped(self) -> None:
        """Wait until the operator and its Pod are gone, after the Deployment was scaled to 0."""
        assert self._played is not None
        await asyncio.wait_for(asyncio.shield(self._played), patience())

    async def remove(self, *paths: str) -> None:
        """Delete the objects that are there."""
        for path in paths:
            with contextlib.suppress(Refused):
                await self.kube.admin.call("DELETE", path)

    async def gone(self, *paths: str) -> None:
        """Check that none of these is there."""
        for path in paths:
            assert await self.get(path) is None, f"{path} is still there"

    # ---- the command

    async def uninstall(
        self, *arguments: str, kubeconfig: Path | None = None, status: int = 0, settings: bool = False
    ) -> Done:
        """Run `roomkeeper uninstall` to its end; it must end with `status`. `settings`: with those of the operator."""
        process = await self.begin(*arguments, kubeconfig=kubeconfig, settings=settings)
        ending = asyncio.create_task(process.communicate())
        await asyncio.wait({ending}, timeout=patience(30))
        if not ending.done():
            process.send_signal(signal.SIGINT)
        out, err = await ending
        assert process.returncode is not None
        done = Done(process.returncode, out.decode(), err.decode())
        assert done.status == status, f"roomkeeper uninstall {' '.join(arguments)}: {done}"
        assert "Traceback" not in done.err, done
        return done

    async def begin(
        self, *arguments: str, kubeconfig: Path | None = None, settings: bool = False
    ) -> asyncio.subprocess.Process:
        """Start `roomkeeper uninstall` without a terminal."""
        return await asyncio.create_subprocess_exec(
            *launched((sys.executable, "-m", "controller", "uninstall", *arguments)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                **bare_environment(),
                **(self.where.operator_env if settings else {}),
                "KUBECONFIG": str(kubeconfig or self.where.kubeconfig),
            },
            cwd=ROOT,
        )

    async def hook(self, *arguments: str, status: int = 0, whole_cluster: bool = True) -> Done:
        """Run the command as the chart's hook does, with the rights of its ServiceAccount."""
        kubeconfig = await self.hook_account(whole_cluster=whole_cluster)
        watched = ("--watch-namespaces", self.kube.namespace)
        return await self.uninstall("--hook", *watched, *arguments, kubeconfig=kubeconfig, status=status)

    async def hook_account(self, *, whole_cluster: bool) -> Path:
        """The kubeconfig of a ServiceAccount with the hook's rights."""
        name = f"uninstall-{'cluster' if whole_cluster else 'namespaces'}"
        async with self._cluster() as cluster:
            await cluster.install(hook_rights(name, self.kube.namespace, whole_cluster=whole_cluster))
            token = await cluster.service_account_token(SYSTEM_NAMESPACE, name, 3600)
        path = self._directory / f"{name}.kubeconfig"
        ca = base64.b64encode(self.where.ca.encode()).decode()
        path.write_text(kubeconfig_text(server=self.where.server, ca_base64=ca, user=name, token=token))
        return path

    @contextlib.asynccontextmanager
    async def _cluster(self) -> AsyncIterator[Cluster]:
        cluster = Cluster(self.where.server, self._ca, self.where.admin_token)
        try:
            yield cluster
        finally:
            await cluster.close()


def hook_rights(account: str, watched: str, *, whole_cluster: bool) -> list[Body]:
    """The ServiceAccount of the chart's hook, and its rights, as docs/uninstall.md says."""
    roomkeeper = {"apiGroups": [GROUP], "resources": ["matches", "rooms"], "verbs": ["list", "patch", "delete"]}
    policies = {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingadmissionpolicies", "mutatingadmissionpolicybindings"],
        "resourceNames": ["roomkeeper-finalizer"],
        "verbs": ["get", "delete"],
    }
    own = [
        {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["roomkeeper"], "verbs": ["get"]},
        {
            "apiGroups": ["apps"],
            "resources": ["deployments/scale"],
            "resourceNames": ["roomkeeper"],
            "verbs": ["patch"],
        },
        {"apiGroups": [GROUP], "resources": ["livekitservers"], "verbs": ["list", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["roomkeeper-shard-0"],
            "verbs": ["get", "delete"],
        },
    ]
    account_of_it = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account, "namespace": SYSTEM_NAMESPACE},
    }
    wide = _rights(account, "", [roomkeeper, policies]) if whole_cluster else _rights(account, watched, [roomkeeper])
    return [account_of_it, *_rights(account, SYSTEM_NAMESPACE, own), *wide]


def _rights(account: str, namespace: str, rules: list[Body]) -> list[Body]:
    """A Role, or a ClusterRole without a namespace, and its binding."""
    kind = "Role" if namespace else "ClusterRole"
    group = "rbac.authorization.k8s.io"
    metadata = {"name": account} | ({"namespace": namespace} if namespace else {})
    subject = {"kind": "ServiceAccount", "name": account, "namespace": SYSTEM_NAMESPACE}
    return [
        {"apiVersion": f"{group}/v1", "kind": kind, "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": f"{kind}Binding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": kind, "name": account},
            "subjects": [subject],
        },
    ]
