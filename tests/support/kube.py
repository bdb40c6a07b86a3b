"""The administrator in one namespace of a real API server: kubectl as people use it, and typed requests.

`sandbox.administrator` sends the requests.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any, TypeVar

import yaml

from controller.api.match import Match
from controller.api.meta import Condition
from controller.api.names import API_VERSION, KINDS
from controller.api.room import Room
from sandbox.administrator import Administrator, Answer, Refused
from sandbox.endpoints import Endpoints
from sandbox.parts import locate
from tests.support.waiting import eventually, patience

Body = dict[str, Any]
R = TypeVar("R", Match, Room)

_PATHS = {kind.kind: f"/apis/{API_VERSION}/namespaces/{{}}/{kind.plural}" for kind in KINDS} | {
    "Secret": "/api/v1/namespaces/{}/secrets",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "Event": "/api/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}


@dataclass(frozen=True)
class Kube:
    """The administrator in `namespace`. The caller closes `admin`."""

    where: Endpoints
    namespace: str
    admin: Administrator

    # ---- kubectl

    def kubectl(self, *args: str, input: str | None = None) -> CompletedProcess[str]:
        """Run kubectl to its end, with any exit status. The caller names the namespace, as in the shell."""
        return subprocess.run(
            [str(locate("kubectl").path), *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=patience(90),
            env={**os.environ, "KUBECONFIG": str(self.where.kubeconfig)},
        )

    async def ask(self, *args: str, input: str | None = None, status: int = 0) -> str:
        """Run kubectl in our namespace; return its output. It must end with `status`."""
        done = await asyncio.to_thread(self.kubectl, "-n", self.namespace, *args, input=input)
        assert done.returncode == status, f"kubectl {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    async def wait(self, condition: str, name: str = "match") -> str:
        """Run `kubectl wait` until a condition of a Match holds; return its output."""
        return await self.ask("wait", f"--for=condition={condition}", f"match/{name}", f"--timeout={patience():g}s")

    async def remove(self, *args: str) -> None:
        """Run `kubectl delete`, which waits until everything is gone."""
        await self.ask("delete", *args, f"--timeout={patience():g}s")

    async def apply(self, *manifests: Body, options: tuple[str, ...] = ()) -> str:
        """Run `kubectl apply -f -`; return its output."""
        return await self.ask("apply", *options, "-f", "-", input=yaml.safe_dump_all(manifests))

    # ---- plain requests

    async def create(self, manifest: Body, *, dry_run: bool = False) -> Body:
        """POST the manifest into our namespace; return the object. Raises Refused."""
        return await self.admin.call("POST", self._path_of_new(manifest, dry_run=dry_run), manifest)

    async def try_to_create(self, manifest: Body, *, dry_run: bool = False) -> Answer:
        """Do the same, for tests about the server's answer."""
        return await self.admin.answer("POST", self._path_of_new(manifest, dry_run=dry_run), manifest)

    async def get(self, kind: str, name: str) -> Body | None:
        """Return the object, or None if there is none."""
        try:
            return await self.admin.call("GET", self._path(kind, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def list(self, kind: str) -> list[Body]:
        """Return all objects of a kind in our namespace."""
        items: list[Body] = (await self.admin.call("GET", self._path(kind)))["items"]
        return items

    async def patch(self, kind: str, name: str, patch: Body, *, subresource: str = "") -> Body:
        """Send a merge patch; return the object. Raises Refused."""
        return await self.admin.call("PATCH", self._path(kind, name, subresource), patch)

    async def try_to_patch(
        self, kind: str, name: str, patch: Body, *, subresource: str = "", dry_run: bool = False
    ) -> Answer:
        """Do the same, for tests about the server's answer."""
        return await self.admin.answer("PATCH", self._path(kind, name, subresource) + _query(dry_run=dry_run), patch)

    async def delete(self, kind: str, name: str, *, propagation: str = "Background") -> None:
        """Request the deletion. It is no error if the object does not exist."""
        try:
            await self.admin.call("DELETE", self._path(kind, name), {"propagationPolicy": propagation})
        except Refused as refused:
            if refused.status != 404:
                raise

    # ---- our kinds, typed

    async def match(self, name: str = "match") -> Match:
        """Return the Match as it is now; it must exist."""
        return await self._read(Match, name)

    async def room(self, name: str) -> Room:
        """Return the Room as it is now; it must exist."""
        return await self._read(Room, name)

    async def match_until(
        self, condition: Callable[[Match], bool], name: str = "match", at_least_seconds: float = 0.0
    ) -> Match:
        """Return the Match once `condition` holds for it."""
        return await self._until(Match, condition, name, at_least_seconds)

    async def room_until(self, condition: Callable[[Room], bool], name: str, at_least_seconds: float = 0.0) -> Room:
        """Return the Room once `condition` holds for it."""
        return await self._until(Room, condition, name, at_least_seconds)

    async def gone(self, kind: str, name: str, at_least_seconds: float = 0.0) -> None:
        """Return once there is no such object."""

        async def is_gone() -> None:
            body = await self.get(kind, name)
            assert body is None, f"{kind} {name} is still there:\n{yaml.safe_dump(_brief(body))}"

        await eventually(is_gone, at_least_seconds)

    async def _until(self, model: type[R], condition: Callable[[R], bool], name: str, at_least_seconds: float) -> R:
        async def holds() -> R:
            found = await self._read(model, name)
            assert condition(found), f"it is not there yet:\n{yaml.safe_dump(_brief(found.manifest()))}"
            return found

        return await eventually(holds, at_least_seconds)

    async def _read(self, model: type[R], name: str) -> R:
        body = await self.get(model.__name__, name)
        assert body is not None, f"there is no {model.__name__} {name}"
        return model.model_validate(body)

    def _path(self, kind: str, *names: str) -> str:
        return "/".join((_PATHS[kind].format(self.namespace), *filter(None, names)))

    def _path_of_new(self, manifest: Body, *, dry_run: bool) -> str:
        return self._path(manifest["kind"]) + _query(dry_run=dry_run)


def condition(found: Match | Room, type: str) -> Condition:
    """Return a condition of the status; it must exist."""
    conditions = {entry.type: entry for entry in found.status.conditions}
    assert type in conditions, f"there is no condition {type}, but {', '.join(conditions) or 'none'}"
    return conditions[type]


def is_true(found: Match | Room, type: str) -> bool:
    """Whether the condition exists and is True."""
    return any(entry.type == type and entry.status == "True" for entry in found.status.conditions)


def _brief(body: Body) -> Body:
    return {key: body[key] for key in ("metadata", "spec", "status") if key in body}


def _query(*, dry_run: bool) -> str:
    return "?dryRun=All" if dry_run else ""
