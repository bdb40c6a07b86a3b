"""An installation in a namespace of its own, and the commands of Helm that a user types."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Final

from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.parts import locate
from sandbox.people import Person
from sandbox.source import ROOT
from tests.support.kube import Kube
from tests.support.waiting import eventually, patience

CHART: Final = ROOT / "helm" / "roomkeeper"
Body = dict[str, Any]


@dataclass(frozen=True)
class Release:
    """One release. `values` go into each install and upgrade; `a__b` stands for `a.b`."""

    where: Endpoints
    admin: Administrator
    home: Path
    """Where Helm keeps its own files."""
    name: str
    namespace: str
    values: dict[str, str] = field(default_factory=dict)

    @property
    def fullname(self) -> str:
        """The name of its objects."""
        return self.name if "roomkeeper" in self.name else f"{self.name}-roomkeeper"

    @property
    def kube(self) -> Kube:
        """The administrator in its namespace."""
        return Kube(self.where, self.namespace, self.admin)

    async def prepare(self, *, secrets: bool = True) -> None:
        """Make its namespace, where only restricted Pods may run, and the Secrets."""
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        body = {"metadata": {"name": self.namespace, "labels": restricted}}

        async def is_made() -> None:
            # A namespace of an earlier test may still be going.
            answer = await self.admin.answer("POST", "/api/v1/namespaces", body)
            assert answer.status == 201, answer.message

        await eventually(is_made)
        if secrets:
            await self.secrets()

    async def secrets(self) -> None:
        """Create the two Secrets with the names and keys that are the defaults."""
        await self.secret(
            "roomkeeper-livekit",
            {"url": self.where.livekit_url, "api-key": self.where.livekit_api_key}
            | {"api-secret": self.where.livekit_api_secret},
        )
        await self.secret("roomkeeper-redis", {"url": self.where.redis_url})

    async def secret(self, name: str, data: dict[str, str]) -> None:
        """Create a Secret."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        await self.admin.call("POST", path, {"metadata": {"name": name}, "stringData": data})

    # ---- Helm

    async def helm(self, *words: str, status: int = 0) -> str:
        """Run `helm` in the release's namespace; return what it printed. It must end with `status`."""
        done = await asyncio.to_thread(self._helm, *words)
        said = done.stdout + done.stderr
        assert done.returncode == status, f"helm {' '.join(words)}: {done.returncode}\n{said}"
        return said

    async def install(self, *options: str, status: int = 0, wait: bool = True, **values: str) -> str:
        """`helm install` with the release's values and these."""
        waiting = ("--wait", f"--timeout={patience(60):g}s") if wait else ()
        chart = (self.name, str(CHART), *waiting)
        return await self.helm("install", *chart, *_set(self.values | values), *options, status=status)

    async def upgrade(self, *options: str, status: int = 0, **values: str) -> str:
        """`helm upgrade --wait` with the release's values and these."""
        chart = (self.name, str(CHART), "--wait", f"--timeout={patience(60):g}s")
        return await self.helm("upgrade", *chart, *_set(self.values | values), *options, status=status)

    async def uninstall(self, *options: str) -> str:
        """`helm uninstall --wait`."""
        return await self.helm("uninstall", self.name, "--wait", f"--timeout={patience(90):g}s", *options)

    @property
    def environment(self) -> dict[str, str]:
        """The variables for Helm and kubectl."""
        homes = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        return {**homes, "KUBECONFIG": str(self.where.kubeconfig)}

    def _helm(self, *words: str) -> CompletedProcess[str]:
        return subprocess.run(
            [str(locate("helm").path), "--namespace", self.namespace, *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(180),
            env={**os.environ, **self.environment},
        )

    # ---- what is there

    async def pods(self, component: str = "operator") -> list[Body]:
        """The Pods of the release, without those that are ending."""
        path = f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=app.kubernetes.io/component%3D{component}"
        items: list[Body] = (await self.admin.call("GET", path))["items"]
        return [body for body in items if "deletionTimestamp" not in body["metadata"]]

    async def has_ended_with(self, status: int) -> None:
        """Assert that the last run of every container of its Pods ended with this exit status."""
        containers = [entry for body in await self.pods() for entry in body["status"].get("containerStatuses", ())]
        ended = [entry["lastState"].get("terminated", {}).get("exitCode") for entry in containers]
        assert set(ended) == {status}, containers

    async def leader(self) -> str:
        """The name of the Pod that holds the Lease; empty if none does."""
        lease = await self.kube.get("Lease", f"{self.fullname}-shard-0")
        holder = "" if lease is None else lease["spec"].get("holderIdentity") or ""
        return str(holder.partition("_")[0])

    async def leads(self) -> str:
        """The name of the Pod that holds the Lease, once one of the Pods does."""

        async def one_leads() -> str:
            leader = await self.leader()
            assert leader in {body["metadata"]["name"] for body in await self.pods()}, f"{leader!r} leads"
            return leader

        return await eventually(one_leads)


def _set(values: dict[str, str]) -> list[str]:
    return [word for name, value in values.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]


def assert_undisturbed(*people: Person) -> None:
    """None of them has been disconnected, or has had to connect again."""
    for person in people:
        assert not person.seen("disconnected", "reconnecting"), person


async def left_of(where: Endpoints, admin: Administrator, namespace: str) -> set[str]:
    """What an installation has left, as `kind/name`: objects in its namespace, and cluster-scoped ones of ours.

    Not counted: what Kubernetes puts into every namespace, Events, and the two Secrets that a user makes.
    """
    kube = Kube(where, namespace, admin)
    listed = await kube.ask("api-resources", "--namespaced=true", "--verbs=list,delete", "-o", "name")
    kinds = sorted(set(listed.split()) - {"events", "events.events.k8s.io"})
    own = (await kube.ask("get", ",".join(kinds), "-o", "name", "--ignore-not-found")).split()
    usual = {"configmap/kube-root-ca.crt", "serviceaccount/default"}
    usual |= {"secret/roomkeeper-livekit", "secret/roomkeeper-redis"}
    return (set(own) - usual) | await global_objects(where, admin)


GLOBAL: Final = ",".join(
    (
        *("clusterroles", "clusterrolebindings", "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
        *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
    )
)
"""The cluster-scoped kinds of an installation, without the CRDs."""


async def global_objects(where: Endpoints, admin: Administrator) -> set[str]:
    """The cluster-scoped objects of any installation, without the CRDs."""
    kube = Kube(where, "default", admin)
    return set((await kube.ask("get", GLOBAL, "-l", "app.kubernetes.io/part-of=roomkeeper", "-o", "name")).split())
