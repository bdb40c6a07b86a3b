"""What is read at the start: a scope that may not be read stops no other one, and what it holds is not known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

from structlog.testing import capture_logs

from controller.api.livekitserver import LiveKitServer
from controller.api.match import Match
from controller.api.names import LIVEKIT_SERVER, MATCH, ROOM
from controller.api.room import Room
from controller.errors import Backend, Forbidden
from controller.triggers.kubernetes import KubernetesTrigger
from controller.views.cache import ObjectCache

OWN = "roomkeeper-system"


def trigger(*refused: str, kinds: tuple[str, ...] = ("matches", "rooms", "livekitservers")) -> KubernetesTrigger:
    """A trigger of the namespaces day and night; LISTs of `kinds` in the `refused` namespaces are forbidden."""

    async def pages(resource: Any, namespace: str, *, of_metadata: bool) -> AsyncIterator[dict[str, Any]]:
        if namespace in refused and resource.plural in kinds:
            raise Forbidden(Backend.KUBERNETES, "list", f"{resource.plural} is forbidden", code="403")
        yield {"metadata": {"resourceVersion": "7"}, "items": []}

    async def served(_version: str) -> set[str]:
        return {"matches", "rooms", "livekitservers"}

    async def get(*_: Any) -> dict[str, Any]:
        raise Forbidden(Backend.KUBERNETES, "get", "customresourcedefinitions is forbidden", code="403")

    client = cast("Any", SimpleNamespace(pages=pages, served=served, get=get))
    caches: dict[Any, ObjectCache[Any]] = {MATCH: ObjectCache(Match), ROOM: ObjectCache(Room)}
    servers: dict[Any, ObjectCache[Any]] = {LIVEKIT_SERVER: ObjectCache(LiveKitServer)}
    return KubernetesTrigger(cast("Any", None), client, caches, ("day", "night"), servers, OWN)


async def test_an_operator_that_may_not_list_livekitservers_begins_with_that_of_the_settings_and_says_so() -> None:
    with capture_logs() as logs:
        await trigger(OWN).first_sync()
    (told,) = (entry["event"] for entry in logs if "LiveKitServers" in entry["event"])
    assert told == (
        f"the LiveKitServers of the namespace {OWN} are not served yet: livekitservers is forbidden; bind the Role of "
        "this version in the operator's own namespace; the LiveKit server of the settings is used"
    )


async def test_a_namespace_that_may_not_be_read_is_named_as_unread() -> None:
    found = trigger("night")
    assert found.unread_namespaces() == ("day", "night")
    await found.first_sync()
    assert (found.unread_namespaces(), found.read_namespaces()) == (("night",), ("day",))
