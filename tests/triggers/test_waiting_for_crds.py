"""The operator waits for its CRDs, in whatever state they are when it starts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from controller.api.match import Match
from controller.api.names import MATCH
from controller.clients.connection import KubernetesConnection
from controller.clients.kubernetes import Body, KubernetesClient, Resource
from controller.triggers import kubernetes
from controller.triggers.kubernetes import KubernetesTrigger
from controller.views.cache import ObjectCache

ESTABLISHED = {"conditions": [{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]}


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"conditions": None}, id="created a moment ago"),
        pytest.param({"conditions": []}, id="no conditions"),
        pytest.param({}, id="an empty status"),
        pytest.param(None, id="null"),
        pytest.param({"conditions": [{"type": "Established", "status": "False"}]}, id="not established"),
    ],
)
async def test_a_crd_that_is_not_established_yet_is_waited_for(status: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "_START_PAUSE_SECONDS", 0.0)
    answers: list[Body] = [{"metadata": {}, "status": status}]

    async def get(_resource: Resource, _namespace: str, _name: str) -> Body:
        return answers.pop() if answers else {"metadata": {}, "status": ESTABLISHED}

    client = cast("KubernetesClient", SimpleNamespace(get=get))
    trigger = KubernetesTrigger(cast("KubernetesConnection", None), client, {MATCH: ObjectCache(Match)}, ())
    with capture_logs() as logs:
        await trigger.wait_for_crds()
    assert [entry["event"] for entry in logs] == ["waiting"]
    assert "CRDs are not installed" in logs[0]["what"]
