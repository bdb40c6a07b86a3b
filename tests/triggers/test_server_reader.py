"""The credentials of LiveKit servers, read from Secrets: no log may repeat them from then on."""

from __future__ import annotations

import base64
from typing import Any, cast

from controller.api.livekitserver import LiveKitServer
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.clients.kubernetes import KubernetesClient
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.triggers.server_reader import ServerReader
from controller.views.cache import ObjectCache
from tests import values as b

OURS = ApiKeys(ApiKey("settings", "secret-of-the-settings-which-is-long"))


class Secrets:
    """What the operator may ask the API server. `secret` is what the Secret says now."""

    secret = "first-" * 8

    async def get(self, _resource: Any, _namespace: str, _name: str) -> dict[str, Any]:
        """What the client's method of this name does."""
        words = {"apiKey": "key", "apiSecret": self.secret, "oldApiKey": "old", "oldApiSecret": "before-" * 8}
        return {"data": {name: base64.b64encode(word.encode()).decode() for name, word in words.items()}}


async def test_the_secrets_of_a_server_are_blanked_before_they_are_used() -> None:
    secrets, blanked, used = Secrets(), list[str](), list[tuple[str, ...]]()
    configs = ServerConfigs(ServerConfig("default", "http://lk:7880", "ws://lk:7880", OURS))
    configs.follow(lambda _: used.append(tuple(blanked)))
    cache: ObjectCache[Any] = ObjectCache(LiveKitServer)
    reader = ServerReader(cache, configs, cast("KubernetesClient", secrets), "system", blanked.extend)
    body = {
        "apiVersion": "roomkeeper.dev/v1alpha1",
        "kind": "LiveKitServer",
        "metadata": {
            "name": "eu-1", "namespace": "system", "uid": "u", "resourceVersion": "1",
            "creationTimestamp": b.at(0).isoformat(),
        },
        "spec": {"url": "wss://eu-1.example", "credentialsSecretName": "eu-1"},
    }  # fmt: skip
    cache.offer(body)
    await reader.first_read()
    assert set(blanked) == {secrets.secret, "before-" * 8}
    assert used == [tuple(blanked)]
    secrets.secret = "second-" * 8
    await reader.first_read()
    assert secrets.secret in blanked
