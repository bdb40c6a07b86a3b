"""An administrator's access to one namespace of a real API server: kubectl as people use it, and plain calls."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, TypeVar

import aiohttp
import yaml

from controller.api.match import Match
from controller.api.meta import Condition
from controller.api.names import API_VERSION, KINDS
from controller.api.room import Room
from sandbox.endpoints import Endpoints
from sandbox.parts import locate
from sandbox.trust import ssl_context
from tests.support.waiting import TIMEOUT_SECONDS, eventually

Body = dict[str, Any]
R = TypeVar("R", Match, Room)

_PATHS = {kind.kind: f"/apis/{API_VERSION}/namespaces/{{}}/{kind.plural}" for kind in KINDS} | {
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Event": "/api/v1/namespaces/{}/events",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
}


class Refused(Exception):
    """The API server said no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Kube:
    """The administrator in `namespace`. `session` is the caller's."""

    where: Endpoints
    namespace: str
    session: aiohttp.ClientSession

    @property
    def server(self) -> str:
        return self.where.server

    @property
    def token(self) -> str:
        return self.where.admin_token

    @property
    def ca_path(self) -> Path:
        return self.where.directory / "data" / "kubernetes" / "apiserver.crt"

    # ---- kubectl

    def kubectl(self, *args: str, input: str | None = None) -> CompletedProcess[str]:
        """Run it to its end, whatever that is. The namespace is the caller's to name, as in the shell."""
        return subprocess.run(
            [str(locate("kubectl").path), *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "KUBECONFIG": str(self.where.kubeconfig)},
        )

    async def ask(self, *args: str, input: str | None = None, status: int = 0) -> str:
        """What kubectl prints in our namespace; it must end with `status`."""
        done = await asyncio.to_thread(self.kubectl, "-n", self.namespace, *args, input=input)
        assert done.returncode == status, f"kubectl {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    async def apply(self, *manifests: Body, options: tuple[str, ...] = ()) -> str:
        """`kubectl apply -f -`."""
        return await self.ask("apply", *options, "-f", "-", input=yaml.safe_dump_all(manifests))

    # ---- plain calls

    async def create(self, manifest: Body, *, dry_run: bool = False) -> Body:
        query = "?dryRun=All" if dry_run else ""
        return await self.call("POST", self._path(manifest["kind"]) + query, json=manifest)

    async def get(self, kind: str, name: str) -> Body | None:
        try:
            return await self.call("GET", self._path(kind, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def list(self, kind: str) -> list[Body]:
        items: list[Body] = (await self.call("GET", self._path(kind)))["items"]
        return items

    async def patch(self, kind: str, name: str, patch: Body) -> Body:
        headers = {"Content-Type": "application/merge-patch+json"}
        return await self.call("PATCH", self._path(kind, name), json=patch, headers=headers)

    async def delete(self, kind: str, name: str, *, propagation: str = "Background") -> None:
        """Ask for the deletion; what is not there is fine."""
        try:
            await self.call("DELETE", self._path(kind, name), json={"propagationPolicy": propagation})
        except Refused as refused:
            if refused.status != 404:
                raise

    async def call(self, method: str, path: str, **options: Any) -> Body:
        """One call as administrator; Refused unless it is answered with 2xx."""
        async with self.session.request(method, self.server + path, **options) as answer:
            body: Body = await answer.json(content_type=None)
            if answer.status >= 400:
                raise Refused(answer.status, str(body.get("message")))
            return body

    # ---- our kinds, typed

    async def match(self, name: str = "match") -> Match:
        """The Match as it is now; it must be there."""
        return await self._read(Match, name)

    async def room(self, name: str) -> Room:
        """The Room as it is now; it must be there."""
        return await self._read(Room, name)

    async def match_until(
        self, condition: Callable[[Match], bool], name: str = "match", timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Match:
        """The Match once `condition` holds for it."""
        return await self._until(Match, condition, name, timeout_seconds)

    async def room_until(
        self, condition: Callable[[Room], bool], name: str, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> Room:
        """The Room once `condition` holds for it."""
        return await self._until(Room, condition, name, timeout_seconds)

    async def gone(self, kind: str, name: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Return when there is no such object any more."""

        async def is_gone() -> None:
            body = await self.get(kind, name)
            assert body is None, f"{kind} {name} is still there:\n{yaml.safe_dump(_brief(body))}"

        await eventually(is_gone, timeout_seconds)

    async def _until(self, model: type[R], condition: Callable[[R], bool], name: str, timeout_seconds: float) -> R:
        async def holds() -> R:
            found = await self._read(model, name)
            assert condition(found), f"it is not there yet:\n{yaml.safe_dump(_brief(found.manifest()))}"
            return found

        return await eventually(holds, timeout_seconds)

    async def _read(self, model: type[R], name: str) -> R:
        body = await self.get(model.__name__, name)
        assert body is not None, f"there is no {model.__name__} {name}"
        return model.model_validate(body)

    def _path(self, kind: str, name: str = "") -> str:
        path = _PATHS[kind].format(self.namespace)
        return f"{path}/{name}" if name else path


def administrator(where: Endpoints) -> aiohttp.ClientSession:
    """A session of the administrator; close it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl_context(where.ca)),
        headers={"Authorization": f"Bearer {where.admin_token}"},
        timeout=aiohttp.ClientTimeout(total=20),
    )


def condition(found: Match | Room, type: str) -> Condition:
    """A condition of the status; it must be there."""
    conditions = {entry.type: entry for entry in found.status.conditions}
    assert type in conditions, f"there is no condition {type}, but {', '.join(conditions) or 'none'}"
    return conditions[type]


def is_true(found: Match | Room, type: str) -> bool:
    """Whether the condition is there and holds."""
    return any(entry.type == type and entry.status == "True" for entry in found.status.conditions)


def _brief(body: Body) -> Body:
    return {key: body[key] for key in ("metadata", "spec", "status") if key in body}
