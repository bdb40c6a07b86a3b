"""The Kubernetes API as Roomkeeper needs it: plain JSON over one aiohttp session, every write guarded.

Rules that hold here and nowhere else need to be known (measured on the real server, Kubernetes API conventions):
a merge patch carries `metadata.resourceVersion` (a uid in a patch guards nothing), a delete carries
`preconditions.uid`, and only our own finalizer is removed (JSON patch `test` + `remove`), since a merge patch of the
list would also drop `foregroundDeletion`. Errors leave as those of `controller.errors`. Neighbours: `act.kubernetes`
and `backends.lease` call this, `views.cache` holds the answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from controller.clients.connection import KubernetesConnection
from controller.clock import ServerClock
from controller.errors import (
    AlreadyExists,
    Backend,
    BackendError,
    BackendUnavailable,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
)
from controller.telemetry import metrics

Body = dict[str, Any]

_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_JSON = "application/json"
_TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=3.0)


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection of the API: where its objects live."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """URL path of the collection, an object, or a subresource; an empty namespace means all namespaces."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        parts.extend(part for part in (name, subresource) if part)
        return "/".join(parts)


class KubernetesClient:
    """Typed verbs over one session; knows no kinds and no rules of Roomkeeper."""

    def __init__(self, connection: KubernetesConnection, clock: ServerClock) -> None:
        self._connection = connection
        self._clock = clock

    async def get(self, resource: Resource, namespace: str, name: str) -> Body:
        """One object. Raises NotFound."""
        return await self._call("get", "GET", resource.path(namespace, name))

    async def pages(self, resource: Resource, namespace: str = "", limit: int = 500) -> AsyncIterator[Body]:
        """The pages of a LIST, each a List object (a consistent one, from etcd)."""
        token = ""
        while True:
            params = {"limit": str(limit)} | ({"continue": token} if token else {})
            page = await self._call("list", "GET", resource.path(namespace), params=params)
            yield page
            token = page.get("metadata", {}).get("continue", "")
            if not token:
                return

    async def create(self, resource: Resource, namespace: str, body: Body) -> Body:
        """Create; the server's object. Raises AlreadyExists, Forbidden, Invalid."""
        return await self._call("create", "POST", resource.path(namespace), body, params=_MANAGED)

    async def replace(self, resource: Resource, namespace: str, name: str, body: Body) -> Body:
        """PUT; guarded by what `body` says of itself (resourceVersion, or uid for kinds we may not read)."""
        return await self._call("replace", "PUT", resource.path(namespace, name), body, params=_MANAGED)

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        resource_version: str,
        subresource: str = "",
    ) -> Body:
        """Merge-patch guarded by `resource_version`. Raises Conflict when the object has moved on."""
        body = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": resource_version}}
        path = resource.path(namespace, name, subresource)
        return await self._call("patch", "PATCH", path, body, params=_MANAGED, content_type=_MERGE)

    async def json_patch(self, resource: Resource, namespace: str, name: str, operations: list[Body]) -> Body:
        """JSON patch; a failing `test` is raised as Conflict."""
        path = resource.path(namespace, name)
        try:
            return await self._call("patch", "PATCH", path, operations, params=_MANAGED, content_type=_JSON_PATCH)
        except Invalid as error:
            # A failed `test` is an opaque 422; the caller observes again either way.
            raise Conflict(Backend.KUBERNETES, error.operation, error.message) from error

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str | None) -> Body | None:
        """Delete (background) the incarnation `uid` alone; without `uid` whatever has the name.

        The object as it waits for its finalizers, or None where it is gone already. Another incarnation of the name
        raises Conflict.
        """
        body: Body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            answer = await self._call("delete", "DELETE", resource.path(namespace, name), body)
        except NotFound:
            return None
        return None if answer.get("kind") == "Status" else answer

    async def _call(
        self,
        verb: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = _JSON,
    ) -> Body:
        sent = time.monotonic()
        try:
            async with self._connection.session.request(
                method,
                self._connection.server + path,
                data=None if body is None else orjson.dumps(body),
                params=params,
                headers={"Content-Type": content_type, "Accept": _JSON},
                timeout=_TIMEOUT,
            ) as response:
                payload = await response.read()
                status, date = response.status, response.headers.get("Date")
        except (TimeoutError, aiohttp.ClientError) as error:
            metrics.backend_call(Backend.KUBERNETES, verb, "unreachable", time.monotonic() - sent)
            raise BackendUnavailable(
                Backend.KUBERNETES,
                f"{verb} {path}",
                f"no answer from the API server ({type(error).__name__})",
                may_have_run=method != "GET",
            ) from error
        received = time.monotonic()
        if date is not None:
            self._clock.observe(date, sent, received)
        metrics.backend_call(Backend.KUBERNETES, verb, str(status), received - sent)
        if status >= 400:
            raise _error(verb, path, status, payload)
        try:
            result: Body = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise BackendUnavailable(
                Backend.KUBERNETES,
                f"{verb} {path}",
                f"HTTP {status} with a body that is no JSON; is there a proxy in between?",
                may_have_run=method != "GET",
            ) from error
        return result


_MANAGED = {"fieldManager": "roomkeeper"}


def _error(verb: str, path: str, status: int, payload: bytes) -> BackendError:
    try:
        answer = orjson.loads(payload)
        message, reason = str(answer.get("message", "")), str(answer.get("reason", ""))
    except (orjson.JSONDecodeError, AttributeError):
        message, reason = f"HTTP {status}", ""
    operation = f"{verb} {path}"
    if status == 404:
        return NotFound(Backend.KUBERNETES, operation, message)
    if status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
        return kind(Backend.KUBERNETES, operation, message)
    if status in {401, 403}:
        # A namespace that is being deleted refuses creations with 403: not a matter of rights, and it passes.
        return Forbidden(Backend.KUBERNETES, operation, message, retryable=True)
    if status in {400, 422}:
        return Invalid(Backend.KUBERNETES, operation, message)
    return BackendUnavailable(Backend.KUBERNETES, operation, message or f"HTTP {status}", may_have_run=status >= 500)
