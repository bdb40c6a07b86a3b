"""Whatever ends a watch, the next one begins with a LIST, and nothing that happened meanwhile is missed.

kopf watches an API server of the test: it answers discovery, and keeps each watch open until a test ends it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from structlog.testing import capture_logs

from controller.api.names import API_VERSION, MATCH, ROOM
from controller.clients.breaker import RULES, Breaker, Ticket
from controller.errors import Backend, BackendUnavailable, NotFound
from controller.triggers import scope as scope_module
from controller.triggers.crds import CrdGate
from controller.triggers.kopf_settings import kopf_settings
from controller.triggers.scope import Scope
from controller.views.cache import ObjectCache
from tests import values as b
from tests.support.pulses import a_pulse
from tests.support.waiting import eventually

PLURALS = {MATCH.plural: MATCH.kind, ROOM.plural: ROOM.kind}
NO_LEADER: dict[str, Any] = {
    "kind": "Status",
    "code": 500,
    "reason": "InternalError",
    "message": "etcdserver: no leader",
}


class ApiServer:
    """Objects by kind, and the watches that are open. `served` are the kinds that kopf's discovery finds."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict[str, Any]]] = {plural: [] for plural in PLURALS}
        self.served = set(PLURALS)
        self.refuses = False
        self.refused = 0
        self.watches: dict[str, list[web.StreamResponse]] = {plural: [] for plural in PLURALS}
        self._ended = asyncio.Event()
        # What our own client asked for: the LISTs, each with whether it was of metadata, and the names of the GETs.
        self.lists: list[tuple[str, bool]] = []
        self.gets: list[str] = []
        self.gone: set[str] = set()
        self.withheld: set[str] = set()
        # What kopf asked for: the versions from which it watches Matches, and how many objects it was given in LISTs.
        self.watched_from: list[str] = []
        self.version = 5

    async def answer(self, request: web.Request) -> web.StreamResponse:
        plural = request.path.rpartition("/")[2]
        if plural not in PLURALS:
            return web.json_response(self._discovery(request.path))
        if self.refuses:
            self.refused += 1
            return web.json_response(NO_LEADER, status=500)
        if request.query.get("watch") != "true":
            return web.json_response({**self._meta(PLURALS[plural] + "List"), "items": self.objects[plural]})
        if plural == MATCH.plural:
            self.watched_from.append(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self.watches[plural].append(response)
        try:
            await self._ended.wait()
        finally:
            self.watches[plural].remove(response)
        return response

    async def say(self, event: dict[str, Any]) -> None:
        """Send an event to all watches that are open."""
        for response in [open_ for found in self.watches.values() for open_ in found]:
            await response.write(json.dumps(event).encode() + b"\n")

    def end(self) -> None:
        """End all watches that are open."""
        self._ended.set()
        self._ended = asyncio.Event()

    async def is_watched(self) -> None:
        """Both kinds are watched."""
        assert all(self.watches.values()), {plural: len(found) for plural, found in self.watches.items()}

    # What our own client asks for

    async def pages(self, resource: Any, _namespace: str, *, of_metadata: bool) -> AsyncIterator[dict[str, Any]]:
        if self.refuses:
            self.refused += 1
            raise BackendUnavailable(Backend.KUBERNETES, "list", NO_LEADER["message"])
        self.lists.append((resource.plural, of_metadata))
        found = self.objects[resource.plural]
        items = [{"metadata": one["metadata"]} for one in found] if of_metadata else list(found)
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": items}
        self.version += 3

    async def get(self, resource: Any, _namespace: str, name: str) -> dict[str, Any]:
        self.gets.append(name)
        if name in self.withheld:
            raise BackendUnavailable(Backend.KUBERNETES, "get", "conversion webhook failed", code="500")
        for one in self.objects[resource.plural]:
            if one["metadata"]["name"] == name and name not in self.gone:
                return one
        raise NotFound(Backend.KUBERNETES, "get", f"{name} not found", code="404")

    async def served_kinds(self, _version: str) -> set[str]:
        return {*PLURALS, "livekitservers"}

    def _meta(self, kind: str) -> dict[str, Any]:
        return {"kind": kind, "apiVersion": API_VERSION, "metadata": {"resourceVersion": str(self.version)}}

    def _discovery(self, path: str) -> dict[str, Any]:
        group, _, version = API_VERSION.partition("/")
        if path == f"/apis/{API_VERSION}":
            verbs = ["get", "list", "watch", "patch"]
            return {
                "kind": "APIResourceList",
                "resources": [
                    {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": True, "verbs": verbs}
                    for plural, kind in PLURALS.items()
                    if plural in self.served
                ],
            }
        if path == "/apis":
            known = {"groupVersion": API_VERSION, "version": version}
            return {"groups": [{"name": group, "versions": [known], "preferredVersion": known}]}
        if path == "/api/v1":
            namespaces = {"name": "namespaces", "singularName": "namespace", "kind": "Namespace", "namespaced": False}
            return {"resources": [{**namespaces, "verbs": ["get", "list", "watch"]}]}
        return {"versions": ["v1"]}


class Watching:
    """A scope of the whole cluster that watches the API server of a test."""

    def __init__(self, api: ApiServer, url: str) -> None:
        self.api = api
        self.caches = {MATCH: ObjectCache(_MODELS[MATCH]), ROOM: ObjectCache(_MODELS[ROOM])}
        self._sessions: list[aiohttp.ClientSession] = []
        self._url = url
        self.breaker = Breaker(RULES[Backend.KUBERNETES])
        self.pulse = a_pulse()
        client = cast(
            "Any", SimpleNamespace(pages=api.pages, get=api.get, served=api.served_kinds, breaker=self.breaker)
        )
        connection = cast("Any", SimpleNamespace(for_kopf=self._session))
        self.scope = Scope("", connection, client, self.caches, CrdGate(client, self.caches))

    def _session(self, _answered: Any, answers: type[aiohttp.ClientResponse]) -> kopf.AiohttpSession:
        session = aiohttp.ClientSession(response_class=answers)
        self._sessions.append(session)
        return kopf.AiohttpSession(server=self._url, aiohttp_session=session)

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()

    async def knows(self, *names: str) -> None:
        """The cache has exactly these Matches."""
        assert sorted(name for _, name in self.caches[MATCH].names()) == sorted(names)


_MODELS: dict[Any, Any] = {MATCH: b.a_match().__class__, ROOM: b.a_room().__class__}


@pytest.fixture
async def watching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watching]:
    """A scope that runs; a failed request is repeated at once."""
    monkeypatch.setattr(scope_module, "kopf_settings", _impatient)
    monkeypatch.setattr(scope_module, "_AWAY_SECONDS", 0.05)
    monkeypatch.setattr(scope_module, "_DISCOVERED_SECONDS", 1.0)
    monkeypatch.setattr(scope_module, "_LOOK_AGAIN_SECONDS", 0.01)
    api = ApiServer()
    app = web.Application()
    app.router.add_get("/{path:.*}", api.answer)
    async with TestServer(app) as server:
        made = Watching(api, str(server.make_url("")).rstrip("/"))
        running = asyncio.create_task(made.scope.run(made.pulse, lambda: None))
        yield made
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        api.end()
        await made.close()


def _impatient() -> kopf.OperatorSettings:
    settings = kopf_settings()
    settings.networking.error_backoffs = (0.1, 0.1)
    settings.queueing.error_delays = (0.01,)
    return settings


def a_match(name: str, version: int) -> dict[str, Any]:
    manifest = b.a_match(name=name, uid=f"uid-of-{name}").manifest()
    manifest["metadata"]["resourceVersion"] = str(version)
    return manifest


async def test_an_error_in_a_watch_ends_it_and_nothing_that_came_meanwhile_is_missed(watching: Watching) -> None:
    api = watching.api
    api.objects[MATCH.plural] = [a_match("one", 3)]
    await eventually(api.is_watched)
    await watching.knows("one")
    api.objects[MATCH.plural].append(a_match("two", 6))
    with capture_logs() as logs:
        await api.say({"type": "ERROR", "object": NO_LEADER})
        await eventually(lambda: watching.knows("one", "two"))
        await eventually(api.is_watched)
    assert any("the watch of all namespaces has ended and begins again" in entry["event"] for entry in logs)


async def test_a_watch_goes_on_from_our_own_list_so_nothing_between_the_two_is_missed(watching: Watching) -> None:
    """Users skip while the operator starts: that is no news to a LIST of kopf, which comes later."""
    api = watching.api
    api.objects[MATCH.plural] = [a_match("one", 3)]
    await eventually(api.is_watched)
    assert api.watched_from == ["5"]


async def test_a_watch_from_a_version_that_is_too_old_begins_with_a_list_of_what_is_there(watching: Watching) -> None:
    api = watching.api
    api.objects[MATCH.plural] = [a_match("one", 3)]
    await eventually(api.is_watched)
    api.objects[MATCH.plural].append(a_match("two", 20))
    api.version = 21
    await api.say({"type": "ERROR", "object": {"kind": "Status", "code": 410}})
    api.end()
    await eventually(lambda: watching.knows("one", "two"))
    await eventually(api.is_watched)
    assert api.watched_from[-1] == "21"


async def test_what_our_list_could_not_read_is_in_the_list_of_the_watch_after_it(watching: Watching) -> None:
    api = watching.api
    api.objects[MATCH.plural] = [a_match("one", 3)]
    await eventually(api.is_watched)
    api.objects[MATCH.plural] = [a_match("one", 4)]
    api.withheld = {"one"}
    await api.say({"type": "ERROR", "object": NO_LEADER})

    async def is_known() -> None:
        assert watching.caches[MATCH].knows("uid-of-one", 4)

    await eventually(is_known)


async def test_an_api_server_that_refuses_watches_for_longer_than_kopf_tries_is_watched_again(
    watching: Watching,
) -> None:
    api = watching.api
    api.objects[MATCH.plural] = [a_match("one", 3)]
    await eventually(api.is_watched)
    api.refuses = True
    api.end()

    async def was_asked_again_and_again() -> None:
        assert api.refused > 9, "kopf gives up after six, and begins again"

    await eventually(was_asked_again_and_again)
    api.objects[MATCH.plural] = [a_match("two", 6)]
    api.refuses = False
    await eventually(lambda: watching.knows("two"))
    await eventually(api.is_watched)


async def test_a_kind_that_an_api_server_does_not_name_yet_is_watched_once_it_does(watching: Watching) -> None:
    """One API server of several learns of a CRD later: kopf's discovery may come to it, and ours to another one."""
    api = watching.api
    api.served.discard(ROOM.plural)
    with capture_logs() as logs:

        async def was_noticed() -> None:
            assert any("rooms" in entry["event"] and "begins again" in entry["event"] for entry in logs)

        await eventually(was_noticed)
        api.served.add(ROOM.plural)
        await eventually(api.is_watched)


async def test_a_watch_is_no_dead_loop_while_the_api_server_answers_no_request(watching: Watching) -> None:
    """kopf goes on trying without a word, and a restart of the pod would not help."""
    await eventually(watching.api.is_watched)
    away = BackendUnavailable(Backend.KUBERNETES, "get", "no answer")
    for sent_at in (0.0, 1.0, 10.0):
        watching.breaker.failed(away, Ticket.ORDINARY, sent_at=sent_at, now=sent_at)
    went_at = time.monotonic()

    async def beats() -> None:
        assert time.monotonic() - watching.pulse.age_seconds > went_at

    await eventually(beats)


async def test_a_resync_reads_metadata_and_of_the_objects_only_what_is_newer(watching: Watching) -> None:
    api, cache = watching.api, watching.caches[MATCH]
    api.objects[MATCH.plural] = [a_match(name, 3) for name in ("same", "newer", "missing", "vanishing")]
    await eventually(api.is_watched)
    await watching.knows("same", "newer", "missing", "vanishing")
    api.objects[MATCH.plural] = [a_match("same", 3), *(a_match(name, 4) for name in ("newer", "unknown", "vanishing"))]
    api.gone.add("vanishing")
    api.lists.clear()
    await watching.scope.sync()
    assert api.lists.count((MATCH.plural, True)) == 1
    assert (MATCH.plural, False) not in api.lists
    assert sorted(api.gets) == ["newer", "unknown", "vanishing"]
    # One that was deleted since the LIST is left to the watch.
    await watching.knows("same", "newer", "unknown", "vanishing")
    assert cache.knows("uid-of-newer", 4)


async def test_a_resync_that_finds_much_that_is_newer_reads_everything_at_once(watching: Watching) -> None:
    api = watching.api
    api.objects[MATCH.plural] = [a_match("one", 3)]
    await eventually(api.is_watched)
    names = [f"new-{number}" for number in range(60)]
    api.objects[MATCH.plural] = [a_match(name, 4) for name in names]
    await watching.scope.sync()
    assert api.gets == []
    await watching.knows(*names)


async def test_one_object_that_the_api_server_does_not_give_costs_a_resync_no_other_one(watching: Watching) -> None:
    api, cache = watching.api, watching.caches[MATCH]
    api.objects[MATCH.plural] = [a_match(name, 3) for name in ("a", "b", "c")]
    await eventually(api.is_watched)
    api.objects[MATCH.plural] = [a_match(name, 4) for name in ("a", "b", "c")]
    api.withheld = {"a"}
    await watching.scope.sync()
    assert [cache.knows(f"uid-of-{name}", 4) for name in ("a", "b", "c")] == [False, True, True]
    api.objects[MATCH.plural] = [a_match(name, 5) for name in ("a", "b", "c")]
    api.withheld = {"a", "b", "c"}
    with pytest.raises(BackendUnavailable, match="conversion webhook failed"):
        await watching.scope.sync()
