"""Which namespaces exist: asked of Kubernetes, remembered for a while, and told once where a pool has none."""

from __future__ import annotations

from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from controller.backends.namespaces import Namespaces
from controller.clients.kubernetes import KubernetesClient
from controller.errors import Backend, BackendUnavailable, Forbidden, NotFound


class Kubernetes:
    """Answers GETs of namespaces, or raises `trouble`."""

    def __init__(self, *names: str, trouble: Exception | None = None) -> None:
        self.names = names
        self.trouble = trouble
        self.asked: list[str] = []

    async def get(self, _resource: Any, _namespace: str, name: str) -> dict[str, Any]:
        self.asked.append(name)
        if self.trouble is not None:
            raise self.trouble
        if name not in self.names:
            raise NotFound(Backend.KUBERNETES, "get", "not found")
        return {}


def over(kubernetes: Kubernetes) -> Namespaces:
    return Namespaces(cast("KubernetesClient", kubernetes))


async def test_a_namespace_is_asked_for_once_in_a_while_whether_or_not_it_exists() -> None:
    kubernetes = Kubernetes("calls")
    namespaces = over(kubernetes)
    for _ in range(3):
        assert await namespaces.exists("calls")
        assert not await namespaces.exists("nowhere")
    assert kubernetes.asked == ["calls", "nowhere"]


async def test_a_pool_without_a_namespace_is_told_once() -> None:
    namespaces = over(Kubernetes())
    with capture_logs() as logs:
        for _ in range(3):
            await namespaces.exists("nowhere")
    assert [(line["namespace"], line["why"]) for line in logs] == [
        ("nowhere", "the namespace does not exist in Kubernetes")
    ]


@pytest.mark.parametrize("name", ["", "Calls", "a/b", "..", "a" * 64, "x y", "-a", "ä"])
async def test_what_is_no_name_of_a_namespace_is_not_asked_for(name: str) -> None:
    kubernetes = Kubernetes(name)
    assert not await over(kubernetes).exists(name)
    assert kubernetes.asked == []


async def test_an_operator_that_may_not_read_namespaces_serves_them_all() -> None:
    assert await over(Kubernetes(trouble=Forbidden(Backend.KUBERNETES, "get", "no"))).exists("calls")


async def test_an_api_server_that_does_not_answer_says_nothing_about_a_namespace() -> None:
    kubernetes = Kubernetes("calls", trouble=BackendUnavailable(Backend.KUBERNETES, "get", "no answer"))
    namespaces = over(kubernetes)
    with pytest.raises(BackendUnavailable):
        await namespaces.exists("calls")
    kubernetes.trouble = None
    assert await namespaces.exists("calls")
