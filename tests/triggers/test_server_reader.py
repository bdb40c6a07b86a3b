"""LiveKitServers and their Secrets are read into what is configured: by name, and never more than is needed."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.errors import Backend, BackendError, BackendUnavailable, Forbidden, NotFound
from controller.triggers.server_reader import ServerReader
from controller.views.cache import ObjectCache

HOME = "roomkeeper-system"
OURS = Credentials(ApiKeys(ApiKey("ours", "o" * 32)))


class Rig:
    """An API server with Secrets, which answers or fails as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str] | BackendError] = {}
        self.asked: list[str] = []
        self.cache = ObjectCache(LiveKitServer)
        self.configs = ServerConfigs(ServerConfig("default", "http://lk", "ws://lk", OURS))
        self.blanked: list[str] = []
        self.reader = ServerReader(self.cache, self.configs, cast("Any", self), HOME, self.blanked.extend)
        self._version = 0

    async def get(self, _resource: Any, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append(f"{namespace}/{name}")
        found = self.secrets.get(name)
        if found is None:
            raise NotFound(Backend.KUBERNETES, "get", f'secrets "{name}" not found')
        if isinstance(found, BackendError):
            raise found
        return {"data": {key: base64.b64encode(text.encode()).decode() for key, text in found.items()}}

    def apply(self, name: str = "eu-1", namespace: str = HOME, **spec: Any) -> None:
        """Store a LiveKitServer that names the Secret of its own name."""
        self._version += 1
        metadata = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": str(self._version)}
        made = {"url": "http://eu-1:7880", "credentialsSecretName": name, **spec}
        self.cache.offer({"metadata": metadata, "spec": made})

    def signs_with(self, name: str = "eu-1") -> str:
        """The key of a server; empty if it cannot be asked."""
        config = self.configs.get(name)
        return config.credentials.keys.newest.name if config is not None else ""

    def trouble(self, name: str = "eu-1") -> ConditionReason | None:
        found = self.configs.problem(name)
        return found.reason if found is not None else None


def keys(name: str) -> dict[str, str]:
    return {"apiKey": name, "apiSecret": "s" * 32}


async def test_exactly_the_secret_that_a_server_names_is_read() -> None:
    rig = Rig()
    rig.secrets = {"eu-1": keys("key-1"), "another": keys("key-2")}
    rig.apply()
    assert rig.signs_with() == ""
    await rig.reader.first_read()
    assert (rig.signs_with(), rig.trouble(), rig.asked) == ("key-1", None, [f"{HOME}/eu-1"])


async def test_a_server_without_a_secret_has_the_credentials_of_the_settings_at_once() -> None:
    rig = Rig()
    rig.apply(credentialsSecretName="")
    assert (rig.signs_with(), rig.asked) == ("ours", [])


async def test_servers_of_other_namespaces_are_nothing_to_us() -> None:
    rig = Rig()
    rig.apply(namespace="calls", credentialsSecretName="")
    await rig.reader.first_read()
    assert (rig.configs.get("eu-1"), rig.asked) == (None, [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, ConditionReason.CREDENTIALS_MISSING),
        ({"apiKey": "key-2"}, ConditionReason.CREDENTIALS_INCOMPLETE),
        (Forbidden(Backend.KUBERNETES, "get", "secrets is forbidden"), ConditionReason.CREDENTIALS_FORBIDDEN),
        (BackendUnavailable(Backend.KUBERNETES, "get", "no answer"), ConditionReason.CREDENTIALS_UNREAD),
    ],
)
async def test_a_secret_that_cannot_be_used_is_told_and_the_keys_of_before_count_on(
    answer: dict[str, str] | BackendError | None, reason: ConditionReason
) -> None:
    rig = Rig()
    rig.secrets = {"eu-1": keys("key-1")}
    rig.apply()
    await rig.reader.first_read()
    rig.secrets = {} if answer is None else {"eu-1": answer}
    await rig.reader.first_read()
    assert (rig.signs_with(), rig.trouble()) == ("key-1", reason)
    rig.secrets = {"eu-1": keys("key-3")}
    await rig.reader.first_read()
    assert (rig.signs_with(), rig.trouble()) == ("key-3", None)


async def test_what_an_object_says_counts_at_once_with_the_credentials_that_are_known() -> None:
    rig = Rig()
    rig.secrets = {"eu-1": keys("key-1")}
    rig.apply()
    await rig.reader.first_read()
    rig.apply(cordoned=True)
    config = rig.configs.get("eu-1")
    assert (config is not None and config.is_cordoned, len(rig.asked)) == (True, 1)


async def test_a_server_that_is_deleted_is_no_longer_configured() -> None:
    rig = Rig()
    rig.secrets = {"eu-1": keys("key-1")}
    rig.apply()
    await rig.reader.first_read()
    rig.cache.forget(HOME, "eu-1", "eu-1")
    assert (rig.configs.get("eu-1"), rig.configs.knows("eu-1")) == (None, False)


async def test_the_secrets_of_a_server_are_blanked_before_they_are_used() -> None:
    rig, used = Rig(), list[tuple[str, ...]]()
    rig.configs.follow(lambda _: used.append(tuple(rig.blanked)))
    rig.secrets = {
        "eu-1": {**keys("key"), "apiSecret": "first-" * 8, "oldApiKey": "old", "oldApiSecret": "before-" * 8}
    }
    rig.apply()
    await rig.reader.first_read()
    assert set(rig.blanked) == {"first-" * 8, "before-" * 8}
    assert used[-1] == tuple(rig.blanked)
    rig.secrets = {"eu-1": {**keys("key"), "apiSecret": "second-" * 8}}
    await rig.reader.first_read()
    assert "second-" * 8 in rig.blanked
