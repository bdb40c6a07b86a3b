"""The Kubernetes client against a server of our own: the requests that it sends, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from controller.backends.objects import Objects
from controller.clients.kubernetes import KubernetesClient, Resource
from controller.clients.request import Limits
from controller.clock import ServerClock
from controller.errors import (
    AlreadyExists,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotServed,
)
from tests.clients.connections import connection_to
from tests.clients.counting import counted_since, errors_counted, public_methods, requests_counted

MATCHES, SECRETS = Resource("roomkeeper.dev", "v1alpha1", "matches"), Resource("", "v1", "secrets")
PATH = "/apis/roomkeeper.dev/v1alpha1/namespaces/calls/matches"

# What a real API server answers there.
DOCUMENTS: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
    "/apis/roomkeeper.dev": {"kind": "APIGroup", "name": "roomkeeper.dev", "versions": [{"version": "v1alpha1"}]},
    "/apis/roomkeeper.dev/v1alpha1": {
        "kind": "APIResourceList",
        "groupVersion": "roomkeeper.dev/v1alpha1",
        "resources": [{"name": "matches", "kind": "Match"}, {"name": "matches/status", "kind": "Match"}],
    },
}


@dataclass
class Api:
    """Gives the answers that a test has set, and remembers the requests."""

    status: int = 200
    body: bytes = b'{"kind": "Match", "metadata": {"resourceVersion": "7"}, "resources": []}'
    headers: dict[str, str] = field(default_factory=dict)
    pages: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], Any, str]] = field(default_factory=list)

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer one request."""
        sent = await request.read()
        body = orjson.loads(sent) if sent else None
        self.asked.append((request.method, request.path, dict(request.query), body, request.content_type))
        answer = orjson.dumps(self.pages.pop(0)) if self.pages else self.body
        return web.Response(
            status=self.status, body=answer, headers={"Content-Type": "application/json", **self.headers}
        )

    def refuse(self, status: int, reason: str = "", message: str = "because", **details: str) -> None:
        """Refuse all requests from now on, with a Status."""
        self.status = status
        self.body = orjson.dumps({"kind": "Status", "reason": reason, "message": message, "details": details})


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def clock() -> ServerClock:
    return ServerClock()


@pytest.fixture
async def client(api: Api, clock: ServerClock) -> AsyncIterator[KubernetesClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.__call__)
    async with TestServer(app) as server, connection_to(f"http://{server.host}:{server.port}") as connection:
        yield KubernetesClient(connection, clock)


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "subresource", "path"),
    [
        (MATCHES, "calls", "m", "", f"{PATH}/m"),
        (MATCHES, "calls", "m", "status", f"{PATH}/m/status"),
        (MATCHES, "calls", "", "", PATH),
        (MATCHES, "", "", "", "/apis/roomkeeper.dev/v1alpha1/matches"),
        (SECRETS, "calls", "s", "", "/api/v1/namespaces/calls/secrets/s"),
    ],
)
def test_every_resource_has_its_path(
    resource: Resource, namespace: str, name: str, subresource: str, path: str
) -> None:
    assert resource.path(namespace, name, subresource) == path


async def test_get_reads_one_object(client: KubernetesClient, api: Api) -> None:
    assert await client.get(MATCHES, "calls", "m") == orjson.loads(api.body)
    assert api.asked == [("GET", f"{PATH}/m", {}, None, "application/json")]


async def test_create_and_replace_name_their_manager(client: KubernetesClient, api: Api) -> None:
    await client.create(MATCHES, "calls", {"a": 1})
    await client.replace(MATCHES, "calls", "m", {"b": 2})
    managed = {"fieldManager": "roomkeeper"}
    assert api.asked == [
        ("POST", PATH, managed, {"a": 1}, "application/json"),
        ("PUT", f"{PATH}/m", managed, {"b": 2}, "application/json"),
    ]


@pytest.mark.parametrize(
    ("patch", "sent"),
    [
        ({"status": {"phase": "Active"}}, {"status": {"phase": "Active"}, "metadata": {"resourceVersion": "41"}}),
        ({"metadata": {"finalizers": ["f"]}}, {"metadata": {"finalizers": ["f"], "resourceVersion": "41"}}),
    ],
)
async def test_every_merge_patch_carries_the_version_that_it_is_for(
    client: KubernetesClient, api: Api, patch: dict[str, Any], sent: dict[str, Any]
) -> None:
    original = orjson.dumps(patch)
    await client.merge_patch(MATCHES, "calls", "m", patch, "41", "status")
    managed = {"fieldManager": "roomkeeper"}
    assert api.asked == [("PATCH", f"{PATH}/m/status", managed, sent, "application/merge-patch+json")]
    assert orjson.dumps(patch) == original, "the caller's patch is left as it is"


async def test_a_json_patch_is_sent_as_it_is(client: KubernetesClient, api: Api) -> None:
    operations = [{"op": "test", "path": "/metadata/uid", "value": "u"}]
    await client.json_patch(MATCHES, "calls", "m", operations)
    assert api.asked[0][3:] == (operations, "application/json-patch+json")


async def test_a_test_that_fails_in_a_json_patch_is_a_conflict(client: KubernetesClient, api: Api) -> None:
    api.refuse(422, "Invalid")
    with pytest.raises(Conflict):
        await client.json_patch(MATCHES, "calls", "m", [])


async def test_delete_is_for_one_incarnation(client: KubernetesClient, api: Api) -> None:
    await client.delete(MATCHES, "calls", "m", "uid-1")
    await client.delete(MATCHES, "calls", "m", None)
    (with_uid, without) = [body for *_, body, _ in api.asked]
    assert with_uid["preconditions"] == {"uid": "uid-1"}
    assert with_uid["propagationPolicy"] == "Background"
    assert "preconditions" not in without


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"kind": "Status", "status": "Success"}, None),
        (200, {"kind": "Match", "metadata": {"deletionTimestamp": "…"}}, "Match"),
        (404, {"kind": "Status", "reason": "NotFound", "details": {"name": "m", "kind": "matches"}}, None),
    ],
)
async def test_delete_returns_the_object_that_waits_for_its_finalizers_or_none(
    client: KubernetesClient, api: Api, status: int, body: dict[str, Any], expected: str | None
) -> None:
    api.status, api.body = status, orjson.dumps(body)
    left = await client.delete(MATCHES, "calls", "m", "uid-1")
    assert (None if left is None else left["kind"]) == expected


async def test_delete_of_another_incarnation_is_a_conflict(client: KubernetesClient, api: Api) -> None:
    api.refuse(409, "Conflict")
    with pytest.raises(Conflict):
        await client.delete(MATCHES, "calls", "m", "uid-1")


def an_item(name: str) -> dict[str, Any]:
    """An object of a list."""
    return {"metadata": {"name": name, "uid": f"u-{name}", "resourceVersion": "1"}}


def a_page(items: Any, token: str = "") -> dict[str, Any]:
    """A page of a list."""
    return {"items": items, "metadata": {"resourceVersion": "7", "continue": token}}


@pytest.mark.parametrize("odd", [None, 7, [], {}, {"metadata": None}, {"metadata": {"name": "x", "uid": 7}}])
async def test_what_is_no_object_in_a_list_costs_no_other(client: KubernetesClient, api: Api, odd: Any) -> None:
    api.pages = [a_page([an_item("a"), odd, an_item("b")])]
    assert [page["items"] async for page in client.pages(MATCHES)] == [[an_item("a"), an_item("b")]]


@pytest.mark.parametrize("odd", [None, 7, {"metadata": None}])
async def test_a_list_that_has_to_be_whole_is_refused_for_one_row_that_makes_no_sense(
    client: KubernetesClient, api: Api, odd: Any
) -> None:
    api.pages = [a_page([an_item("a"), odd])]
    with pytest.raises(BackendRefused):
        await Objects(client).match_uids("calls")
    api.pages = [a_page([an_item("a")], "abc"), a_page([an_item("b")], "")]
    assert await Objects(client).match_uids("calls") == {"u-a", "u-b"}


async def test_a_list_without_a_version_is_refused(client: KubernetesClient, api: Api) -> None:
    api.pages = [{"items": [], "metadata": {}}]
    with pytest.raises(BackendRefused):
        [page async for page in client.pages(MATCHES)]


async def test_a_list_comes_in_pages_and_goes_on_where_it_stopped(client: KubernetesClient, api: Api) -> None:
    api.pages = [a_page([an_item("a")], "abc"), a_page([an_item("b")], "")]
    assert [page["items"] async for page in client.pages(MATCHES, limit=1)] == [[an_item("a")], [an_item("b")]]
    assert [query for _, _, query, *_ in api.asked] == [{"limit": "1"}, {"limit": "1", "continue": "abc"}]


async def test_an_empty_list_may_be_null_and_has_one_page(client: KubernetesClient, api: Api) -> None:
    api.pages = [{"items": None, "metadata": {"resourceVersion": "7", "continue": None}}]
    assert [page["items"] async for page in client.pages(MATCHES, "calls")] == [[]]
    assert api.asked[0][1] == PATH


ERRORS: list[tuple[int, str, type[BackendError], bool, bool]] = [
    (400, "BadRequest", Invalid, False, False),
    (401, "Unauthorized", Forbidden, True, False),
    (403, "Forbidden", Forbidden, True, False),
    (404, "NotFound", BackendUnavailable, True, False),
    (409, "Conflict", Conflict, True, False),
    (409, "AlreadyExists", AlreadyExists, False, False),
    (410, "Expired", BackendUnavailable, True, False),
    (422, "Invalid", Invalid, False, False),
    (429, "TooManyRequests", BackendUnavailable, True, False),
    (500, "InternalError", BackendUnavailable, True, True),
    (503, "ServiceUnavailable", BackendUnavailable, True, True),
    (504, "Timeout", BackendUnavailable, True, True),
]


@pytest.mark.parametrize(("status", "reason", "kind", "retryable", "may_have_run"), ERRORS)
async def test_a_refusal_becomes_one_of_ours(
    client: KubernetesClient,
    api: Api,
    status: int,
    reason: str,
    kind: type[BackendError],
    retryable: bool,
    may_have_run: bool,
) -> None:
    api.refuse(status, reason, "the sentence of the server")
    with pytest.raises(BackendError) as caught:
        await client.create(MATCHES, "calls", {})
    assert type(caught.value) is kind
    assert (caught.value.retryable, caught.value.may_have_run) == (retryable, may_have_run)
    if status != 401:  # whose sentence is one word
        assert "the sentence of the server" in str(caught.value)
    assert f"create {PATH}" in str(caught.value)


def not_found(**changes: Any) -> bytes:
    """What the API server answers for a Match `m` that does not exist."""
    details = {"name": "m", "group": "roomkeeper.dev", "kind": "matches"}
    said = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": '"m" not found'}
    return orjson.dumps({**said, "details": details, **changes})


async def test_only_a_status_about_this_very_object_says_that_it_is_not_there(
    client: KubernetesClient, api: Api
) -> None:
    api.status, api.body = 404, not_found()
    with pytest.raises(NotFound):
        await client.get(MATCHES, "calls", "m")


@pytest.mark.parametrize(
    "body",
    [
        b"<html>404 not found</html>",
        b"404 page not found\n",
        b"null",
        not_found(details={}),
        not_found(details=None),
        not_found(details={"name": "another"}),
        not_found(details={"name": "calls", "kind": "namespaces"}),
        not_found(reason="Other"),
        not_found(kind="Match"),
    ],
)
async def test_any_other_404_is_no_answer_about_the_object(client: KubernetesClient, api: Api, body: bytes) -> None:
    api.status, api.body = 404, body
    for request in (
        client.get(MATCHES, "calls", "m"),
        client.merge_patch(MATCHES, "calls", "m", {}, "1"),
        client.delete(MATCHES, "calls", "m", "uid-1"),
    ):
        with pytest.raises(BackendUnavailable, match="does not say whether the object exists"):
            await request


async def test_a_sentence_of_the_server_is_cut_where_no_status_could_hold_it(
    client: KubernetesClient, api: Api
) -> None:
    api.refuse(403, "Forbidden", "the policy denies it " * 5000)
    with pytest.raises(Forbidden) as caught:
        await client.create(MATCHES, "calls", {})
    assert caught.value.message.startswith("the policy denies it the policy")
    assert len(caught.value.sentence) < 2000
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"7", b"", b"{}", b'{"message": ""}'])
async def test_a_refusal_without_a_status_is_reported_by_its_number(
    client: KubernetesClient, api: Api, body: bytes
) -> None:
    api.status, api.body = 503, body
    with pytest.raises(BackendUnavailable, match="503"):
        await client.get(MATCHES, "calls", "m")


@pytest.mark.parametrize("body", [b"<html>a proxy</html>", b"", b"[]", b'"m"', b"{}", b'{"metadata": null}'])
async def test_an_answer_that_is_no_object_is_no_answer(client: KubernetesClient, api: Api, body: bytes) -> None:
    api.body = body
    with pytest.raises(BackendUnavailable) as caught:
        await client.replace(MATCHES, "calls", "m", {})
    assert caught.value.may_have_run


@pytest.mark.parametrize(("path", "answer"), DOCUMENTS.items())
async def test_a_document_of_the_api_is_read_although_it_is_no_object(
    client: KubernetesClient, api: Api, path: str, answer: dict[str, Any]
) -> None:
    api.body = orjson.dumps(answer)
    assert await client.read(path) == answer


@pytest.mark.parametrize("body", [b"<html>a proxy</html>", b"", b"[]", b'"m"'])
async def test_a_document_that_no_api_server_sends_is_no_answer(
    client: KubernetesClient, api: Api, body: bytes
) -> None:
    api.body = body
    with pytest.raises(BackendUnavailable, match="is there a proxy in between"):
        await client.read("/version")


async def test_what_a_group_serves_is_read_from_its_discovery(client: KubernetesClient, api: Api) -> None:
    api.body = orjson.dumps(DOCUMENTS["/apis/roomkeeper.dev/v1alpha1"])
    assert await client.served("roomkeeper.dev/v1alpha1") == {"matches", "matches/status"}
    api.body = b"{}"
    with pytest.raises(BackendRefused, match="cannot be read"):
        await client.served("roomkeeper.dev/v1alpha1")
    api.status, api.body = 404, b"404 page not found\n"
    assert await client.served("roomkeeper.dev/v1alpha1") == set()
    api.body = b"<html>a proxy</html>"
    with pytest.raises(BackendUnavailable, match="404"):
        await client.served("roomkeeper.dev/v1alpha1")


async def test_a_kind_that_is_not_served_is_told_from_an_object_that_does_not_exist(
    client: KubernetesClient, api: Api
) -> None:
    api.status, api.body = 404, b"404 page not found\n"
    with pytest.raises(NotServed):
        await client.get(MATCHES, "calls", "m")
    with pytest.raises(NotServed):
        await all_pages(client)


@pytest.mark.parametrize(("verb", "may_have_run"), [("get", False), ("create", True)])
async def test_no_answer_at_all(unused_tcp_port: int, verb: str, may_have_run: bool) -> None:
    async with connection_to(f"http://127.0.0.1:{unused_tcp_port}") as connection:
        client = KubernetesClient(connection, ServerClock())
        with pytest.raises(BackendUnavailable) as caught:
            await (client.get(MATCHES, "calls", "m") if verb == "get" else client.create(MATCHES, "calls", {}))
    assert caught.value.may_have_run is may_have_run
    assert "no answer from the API server" in str(caught.value)


async def test_a_connection_that_breaks_in_the_middle_is_no_answer(clock: ServerClock) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connection_to(f"http://127.0.0.1:{port}") as connection:
        with pytest.raises(BackendUnavailable):
            await KubernetesClient(connection, clock).get(MATCHES, "calls", "m")


@pytest.mark.parametrize("status", [200, 404])
async def test_every_answer_sets_the_clock(client: KubernetesClient, api: Api, clock: ServerClock, status: int) -> None:
    api.status, api.headers = status, {"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}
    try:
        await client.get(MATCHES, "calls", "m")
    except BackendUnavailable:
        assert status == 404
    assert f"{clock.now():%Y-%m-%d %H:%M}" == "2100-01-01 00:00"


async def all_pages(client: KubernetesClient) -> list[dict[str, Any]]:
    return [page async for page in client.pages(MATCHES)]


async def test_missing_rights_and_unknown_credentials_say_what_to_do(client: KubernetesClient, api: Api) -> None:
    api.refuse(403, "Forbidden", 'secrets is forbidden: User "roomkeeper" cannot create resource "secrets"')
    with pytest.raises(Forbidden, match='cannot create resource "secrets"; grant it as the manifests and the chart'):
        await client.create(MATCHES, "calls", {})
    api.refuse(403, "Forbidden", "unable to create new content in namespace calls because it is being terminated")
    with pytest.raises(Forbidden, match=r"being terminated$"):
        await client.create(MATCHES, "calls", {})
    api.refuse(401, "Unauthorized", "Unauthorized")
    with pytest.raises(Forbidden, match=r"does not accept the operator's credentials \(401\): check that its Service"):
        await client.create(MATCHES, "calls", {})


REQUESTS: dict[str, tuple[Callable[[KubernetesClient], Awaitable[object]], str]] = {
    "read": (lambda client: client.read("/apis/roomkeeper.dev"), "read"),
    "served": (lambda client: client.served("roomkeeper.dev/v1alpha1"), "read"),
    "get": (lambda client: client.get(MATCHES, "calls", "m"), "get"),
    "pages": (all_pages, "list"),
    "create": (lambda client: client.create(MATCHES, "calls", {}), "create"),
    "replace": (lambda client: client.replace(MATCHES, "calls", "m", {}), "replace"),
    "would_replace": (lambda client: client.would_replace(MATCHES, "calls", "m", {}), "replace"),
    "merge_patch": (lambda client: client.merge_patch(MATCHES, "calls", "m", {}, "41"), "patch"),
    "json_patch": (lambda client: client.json_patch(MATCHES, "calls", "m", []), "patch"),
    "delete": (lambda client: client.delete(MATCHES, "calls", "m", "uid-1"), "delete"),
}


def test_the_table_of_requests_has_every_method_of_the_client() -> None:
    assert {*REQUESTS, "reconnect"} == public_methods(KubernetesClient)


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_method_is_counted_when_it_is_answered_and_when_it_is_not(
    client: KubernetesClient, api: Api, name: str
) -> None:
    request, operation = REQUESTS[name]
    before, errors = requests_counted("Kubernetes"), errors_counted("Kubernetes", operation, "503")
    await request(client)
    api.refuse(503, "ServiceUnavailable")
    with pytest.raises(BackendUnavailable):
        await request(client)
    assert counted_since(before, "Kubernetes") == {operation: 2}
    assert errors_counted("Kubernetes", operation, "503") == errors + 1


async def test_a_server_that_hangs_is_given_up() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, connection_to(f"http://127.0.0.1:{port}") as connection:
        limits = Limits(deadline_seconds=0.05, slow_seconds=0.01)
        client = KubernetesClient(connection, ServerClock(), limits=limits)
        with pytest.raises(BackendUnavailable, match="no answer from the API server") as caught:
            await client.get(MATCHES, "calls", "m")
    assert caught.value.code == "timeout"
