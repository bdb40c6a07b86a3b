"""The Kubernetes API as Roomkeeper needs it: plain JSON over one aiohttp session, every write guarded.

This module alone knows three rules of the API server. A merge patch carries `metadata.resourceVersion`, because a uid
in a patch guards nothing. A delete carries `preconditions.uid`. Our finalizer is removed with a JSON patch (`test`,
then `remove`), because a merge patch of the list would also drop `foregroundDeletion`. Neighbors: `clients.request`
limits and measures each request, `act.kubernetes` and `backends.lease` use this client, `views.cache` has the answers.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from controller.api.names import FIELD_MANAGER
from controller.clients.breaker import Breaker
from controller.clients.connection import KubernetesConnection
from controller.clients.reading import reading, rows
from controller.clients.request import Limits, Requests
from controller.clock import ServerClock
from controller.errors import (
    AlreadyExists,
    Backend,
    BackendError,
    BackendUnavailable,
    Code,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotServed,
)
from controller.telemetry import tracing

Body = dict[str, Any]

_MERGE = "application/merge-patch+json"
_JSON_PATCH = "application/json-patch+json"
_JSON = "application/json"
_METADATA = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
# An API server that does not know a path, such as that of a CRD, is not away.
_ANSWERS = frozenset({"404"})
_NO_RIGHT = " cannot "
_GRANT = "; grant it as the manifests and the chart of this version do"
_MANAGED = {"fieldManager": FIELD_MANAGER}
# `clients.request` keeps the deadline of the whole request.
_LONGEST_WAIT_SECONDS = 60.0
_TRANSPORT_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3.0)


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection of the API: the path of its objects."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Return the URL path of the collection, an object or a subresource. An empty namespace means all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root]
        if namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        parts.extend(part for part in (name, subresource) if part)
        return "/".join(parts)


class KubernetesClient:
    """Typed verbs over one session. It knows no kinds and no rules of Roomkeeper.

    Every method raises BackendUnavailable when the API server does not answer, and a BackendRefused for a refusal.
    """

    def __init__(self, connection: KubernetesConnection, clock: ServerClock, *, limits: Limits | None = None) -> None:
        self._connection = connection
        self._clock = clock
        self._requests = Requests(Backend.KUBERNETES, _RAISED, limits=limits, answers=_ANSWERS)

    @property
    def breaker(self) -> Breaker:
        """Says whether requests are sent to the API server at the moment. Those about a Lease always are."""
        return self._requests.breaker

    async def get(self, resource: Resource, namespace: str, name: str) -> Body:
        """Return one object. Raises NotFound."""
        return await self._send(
            "get", "GET", resource.path(namespace, name), name=name, is_essential=_decides(resource)
        )

    async def read(self, path: str) -> Body:
        """Return what is at a path of the API, such as the discovery document of a group. Raises NotServed."""
        return await self._send("read", "GET", path, is_document=True)

    async def served(self, api_version: str) -> set[str]:
        """Return the plural names of what a version of a group serves; none if the group or the version is missing."""
        try:
            found = await self.read(f"/apis/{api_version}")
        except NotServed:
            return set()
        with reading(Backend.KUBERNETES, "read"):
            return {str(entry["name"]) for entry in found["resources"]}

    async def pages(
        self,
        resource: Resource,
        namespace: str = "",
        limit: int = 500,
        labels: str = "",
        *,
        of_metadata: bool = False,
        without_gaps: bool = False,
    ) -> AsyncIterator[Body]:
        """Yield the pages of a LIST as List objects. All pages show the state of one moment (etcd, not a cache).

        `labels` is a label selector; empty for all objects. Pages `of_metadata` have nothing else of each object, at a
        third of the cost. An object that makes no sense is left out; a list `without_gaps` raises BackendRefused then.
        """
        token = ""
        while True:
            params = {"limit": str(limit)} | ({"continue": token} if token else {})
            params |= {"labelSelector": labels} if labels else {}
            accept = _METADATA if of_metadata else _JSON
            page = await self._send("list", "GET", resource.path(namespace), params=params, accept=accept)
            with reading(Backend.KUBERNETES, "list"):
                int(page["metadata"]["resourceVersion"])
                token = page["metadata"].get("continue") or ""
                # Go writes an empty list as null.
                found = page.get("items") or ()
                items = rows(Backend.KUBERNETES, resource.plural, found, _item)
                if without_gaps and len(items) < len(found):
                    raise ValueError("an object of the list makes no sense")
            yield {**page, "items": items}
            if not token:
                return

    async def create(self, resource: Resource, namespace: str, body: Body) -> Body:
        """Create an object; return it as the server stores it. Raises AlreadyExists, Forbidden, Invalid."""
        path, is_essential = resource.path(namespace), _decides(resource)
        return await self._send("create", "POST", path, body, params=_MANAGED, is_essential=is_essential)

    async def replace(self, resource: Resource, namespace: str, name: str, body: Body) -> Body:
        """Replace an object (PUT). `body` has the guard: resourceVersion, or uid for kinds that we may not read."""
        path, is_essential = resource.path(namespace, name), _decides(resource)
        return await self._send("replace", "PUT", path, body, name=name, params=_MANAGED, is_essential=is_essential)

    async def would_replace(self, resource: Resource, namespace: str, name: str, body: Body) -> None:
        """Do as `replace`, but let the server store nothing (a dry run): it only says whether it would be refused."""
        params = {**_MANAGED, "dryRun": "All"}
        await self._send("replace", "PUT", resource.path(namespace, name), body, name=name, params=params)

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Mapping[str, Any],
        resource_version: str,
        subresource: str = "",
    ) -> Body:
        """Merge-patch an object, guarded by `resource_version`. Raises Conflict if the object changed since then."""
        body = {**patch, "metadata": {**patch.get("metadata", {}), "resourceVersion": resource_version}}
        path = resource.path(namespace, name, subresource)
        return await self._send("patch", "PATCH", path, body, name=name, params=_MANAGED, content_type=_MERGE)

    async def json_patch(self, resource: Resource, namespace: str, name: str, operations: list[Body]) -> Body:
        """JSON-patch an object. Raises Conflict if a `test` fails."""
        path = resource.path(namespace, name)
        try:
            return await self._send(
                "patch", "PATCH", path, operations, name=name, params=_MANAGED, content_type=_JSON_PATCH
            )
        except Invalid as error:
            # A failed `test` is an opaque 422. The caller observes again in any case.
            raise Conflict(Backend.KUBERNETES, error.operation, error.message, code=error.code) from error

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str | None) -> Body | None:
        """Delete (background) the incarnation `uid`; without `uid`, any object with this name.

        Return the object as it waits for its finalizers, or None if it is already gone. Raises Conflict if the name
        belongs to another incarnation.
        """
        body: Body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            answer = await self._send("delete", "DELETE", resource.path(namespace, name), body, name=name)
        except NotFound:
            return None
        return None if answer.get("kind") == "Status" else answer

    async def reconnect(self, silent_seconds: float) -> None:
        """Send further requests over new connections: a request that was given up after so long was not answered."""
        message = f"no answer from the API server within {silent_seconds:g} s"
        failure = BackendUnavailable(Backend.KUBERNETES, "reconnect", message, code=Code.TIMEOUT)
        self._requests.given_up(failure, silent_seconds)
        await self._connection.reconnect()

    def introduce(self, address: str) -> None:
        """Say in the log whether the API server answers, and of which version it is. `address` holds no secret."""

        async def version() -> str:
            found = await self.read("/version")
            return str(found.get("gitVersion") or "")

        self._requests.availability.introduce(address, version)

    async def _send(
        self,
        verb: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        name: str = "",
        params: Mapping[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        is_document: bool = False,
        is_essential: bool = False,
    ) -> Body:
        """Send one request about the object `name`, or about a collection where the name is empty.

        `is_document`: the answer is no object, but a document of the API such as a discovery document. `is_essential`:
        it is sent even if the API server has not answered others.
        """

        async def attempt() -> Body:
            if tracing.is_on():
                template = _template(path)
                tracing.note({"url.path": path, "url.template": template}, f"{method} {template}")
            answer = await self._exchange(method, path, body, params, content_type, accept)
            if not isinstance(answer, dict) or not (is_document or _is_object(answer)):
                raise _Malformed
            return answer

        return await self._requests.send(
            verb,
            attempt,
            lambda error: _translate(error, verb, method, path, name),
            is_essential=is_essential,
        )

    async def _exchange(
        self, method: str, path: str, body: Any, params: Mapping[str, str] | None, content_type: str, accept: str
    ) -> Any:
        """Send one request and return the JSON of its answer; raise _HttpError for a refusal.

        Credentials that are refused may have been replaced: then the request, which was not executed, is sent again.
        """
        used = self._connection.credentials
        try:
            answer = await self._ask(method, path, body, params, content_type, accept)
        except aiohttp.ClientSSLError:
            if not await self._connection.renew(used):
                raise
            answer = await self._ask(method, path, body, params, content_type, accept)
        if answer.status == 401 and await self._connection.renew(used):
            answer = await self._ask(method, path, body, params, content_type, accept)
        self._connection.answered(is_refused=answer.status == 401)
        if answer.status >= 400:
            raise _HttpError(answer)
        return _json(answer.payload)

    async def _ask(
        self, method: str, path: str, body: Any, params: Mapping[str, str] | None, content_type: str, accept: str
    ) -> _Answer:
        """Send one request, and set the clock by its answer."""
        sent = time.monotonic()
        async with self._connection.session.request(
            method,
            self._connection.server + path,
            data=None if body is None else orjson.dumps(body),
            params=params,
            headers={"Content-Type": content_type, "Accept": accept},
            timeout=_TRANSPORT_TIMEOUT,
        ) as response:
            payload = await response.read()
        if (date := response.headers.get("Date")) is not None:
            self._clock.observe(date, sent, time.monotonic())
        return _Answer(response.status, payload, _seconds(response.headers.get("Retry-After", "")))


def _template(path: str) -> str:
    """The path of an object without its name and namespace: `/api/v1/namespaces/{namespace}/secrets/{name}`."""
    parts = path.split("/")
    if "namespaces" in parts[:-1]:
        at = parts.index("namespaces")
        parts[at + 1] = "{namespace}"
        if len(parts) > at + 3:
            parts[at + 3] = "{name}"
    return "/".join(parts)


def _decides(resource: Resource) -> bool:
    """Whether its objects say who leads: a lease that could be renewed must not be lost to a breaker that is open."""
    return resource.plural == "leases"


def _is_object(answer: Body) -> bool:
    return answer.get("kind") == "Status" or isinstance(answer.get("metadata"), dict)


@dataclass(frozen=True, slots=True)
class _Answer:
    """Status and body of an answer, and how long it asks to wait before the next request."""

    status: int
    payload: bytes
    retry_after_seconds: float = 0.0


def _seconds(text: str) -> float:
    """A header Retry-After; 0 where it is a date or makes no sense. Nothing is put off for more than a minute."""
    return min(float(text), _LONGEST_WAIT_SECONDS) if text.isascii() and text.isdigit() else 0.0


class _HttpError(Exception):
    """The API server's answer is a refusal."""

    def __init__(self, answer: _Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _Malformed(Exception):
    """The answer has a status of success, but its body is not what an API server sends."""


# An API server says in plain text that it knows no such group, version or kind; about an object it answers a Status.
_NO_SUCH_PATH = b"404 page not found"
_RAISED = (_HttpError, _Malformed, TimeoutError, aiohttp.ClientError)


def _translate(error: Exception, verb: str, method: str, path: str, name: str) -> BackendError:
    operation = f"{verb} {path}"
    if isinstance(error, _HttpError):
        refusal = _refusal(operation, name, error.answer.status, error.answer.payload)
        refusal.retry_after_seconds = error.answer.retry_after_seconds
        return refusal
    if isinstance(error, _Malformed):
        message = "the answer is none of an API server; is there a proxy in between?"
        code = Code.MALFORMED
    elif isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or type(error).__name__
        message = f"the certificate of the API server is not trusted ({why}): check certificate-authority in KUBECONFIG"
        code = Code.UNREACHABLE
    else:
        message = f"no answer from the API server ({type(error).__name__})"
        code = Code.TIMEOUT if isinstance(error, TimeoutError) else Code.UNREACHABLE
    return BackendUnavailable(Backend.KUBERNETES, operation, message, may_have_run=method != "GET", code=code)


def _refusal(operation: str, name: str, status: int, payload: bytes) -> BackendError:
    if status == 404 and payload.strip() == _NO_SUCH_PATH:
        sentence = "HTTP 404 that does not say whether the object exists: nothing is served at this path"
        return NotServed(Backend.KUBERNETES, operation, sentence, code="404")
    answer = _json(payload)
    said = answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}
    message, reason = str(said.get("message") or f"HTTP {status}"), str(said.get("reason") or "")
    code = str(status)
    if status == 404:
        return _not_found(operation, name, message, said)
    if status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
        return kind(Backend.KUBERNETES, operation, message, code=code)
    if status == 401:
        sentence = (
            "the API server does not accept the operator's credentials (401): check that its ServiceAccount exists and "
            "that its token is mounted, or check KUBECONFIG"
        )
        return Forbidden(Backend.KUBERNETES, operation, sentence, retryable=True, code=code)
    if status == 403:
        # The server's own words name the missing right.
        remedy = _GRANT if _NO_RIGHT in message else ""
        # A namespace that is being deleted refuses creations with 403. That is not a lack of rights, and it passes.
        return Forbidden(Backend.KUBERNETES, operation, f"{message}{remedy}", retryable=True, code=code)
    if status in {400, 422}:
        return Invalid(Backend.KUBERNETES, operation, message, code=code)
    return BackendUnavailable(Backend.KUBERNETES, operation, message, may_have_run=status >= 500, code=code)


def _not_found(operation: str, name: str, message: str, said: Body) -> BackendError:
    """Only a Status about this very object says that it does not exist.

    A proxy, an API server that does not serve the kind (yet), and a namespace that is missing answer 404 as well.
    """
    details = said.get("details")
    names_it = isinstance(details, dict) and bool(name) and details.get("name") == name
    if said.get("reason") == "NotFound" and names_it:
        return NotFound(Backend.KUBERNETES, operation, message, code="404")
    sentence = f"HTTP 404 that does not say whether the object exists: {message}"
    return BackendUnavailable(Backend.KUBERNETES, operation, sentence, code="404")


def _item(item: Any) -> Body:
    """An object of a list. Raises TypeError or LookupError for anything else."""
    words = (item["metadata"]["name"], item["metadata"]["uid"], item["metadata"]["resourceVersion"])
    if not all(isinstance(word, str) for word in words):
        raise TypeError("expected an object with metadata")
    found: Body = item
    return found


def _json(payload: bytes) -> Any:
    """The body as JSON; None for a body that is none."""
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None
