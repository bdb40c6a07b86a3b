"""LiveKitServers and their Secrets are read into what is configured: by name, and never more than is needed."""

from __future__ import annotations

import asyncio
import base64
from typing import Any, cast

import pytest
import structlog

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.errors import Backend, BackendError, BackendUnavailable, Forbidden, NotFound
from controller.triggers.server_reader import ServerReader
from controller.views.cache import ObjectCache
from controller.views.lost_fields import LostFields
from tests.virtual_time import VirtualTime, run

HOME = "roomkeeper-system"
OURS = Credentials(ApiKeys(ApiKey("ours", "o" * 32)))


class Rig:
    """An API server with Secrets, which answers or fails as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str] | BackendError] = {}
        self.asked: list[str] = []
        self.slow = ""
        self.cache = ObjectCache(LiveKitServer)
        self.configs = ServerConfigs(ServerConfig("default", "http://lk", "ws://lk", OURS), LostFields())
        self.blanked: list[str] = []
        self.reader = ServerReader(self.cache, self.configs, cast("Any", self), HOME, self.blanked.extend)
        self._version = 0

    async def get(self, _resource: Any, namespace: str, name: str) -> dict[str, Any]:
        self.asked.append(f"{namespace}/{name}")
        if name == self.slow:
            await asyncio.Future()
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


async def test_servers_of_other_namespaces_are_not_configured() -> None:
    rig = Rig()
    rig.apply(namespace="calls", credentialsSecretName="")
    await rig.reader.first_read()
    assert (rig.configs.get("eu-1"), rig.asked) == (None, [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, ConditionReason.CREDENTIALS_MISSING),
        ({"apiKey": "key-2"}, ConditionReason.CREDENTIALS_INCOMPLETE),
        (
            Forbidden(Backend.KUBERNETES, "get", "secrets is forbidden", code="403"),
            ConditionReason.CREDENTIALS_FORBIDDEN,
        ),
        (Forbidden(Backend.KUBERNETES, "get", "Unauthorized", code="401"), ConditionReason.CREDENTIALS_UNREAD),
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


async def test_an_object_called_default_counts_before_its_secret_is_read() -> None:
    rig = Rig()
    rig.apply("default", url="http://lk")
    assert (rig.signs_with("default"), rig.trouble("default")) == ("", ConditionReason.CREDENTIALS_UNREAD)
    rig.secrets = {"default": keys("key-1")}
    await rig.reader.first_read()
    assert (rig.signs_with("default"), rig.trouble("default")) == ("key-1", None)


@pytest.mark.parametrize("name", ["default", "eu-1"])
async def test_an_object_that_cannot_be_read_has_no_stand_in_and_one_that_could_counts_on(name: str) -> None:
    rig = Rig()
    rig.apply(name, url=7)
    assert (rig.signs_with(name), rig.trouble(name)) == ("", ConditionReason.NOT_ASKED)
    rig.apply(name, url="http://lk", credentialsSecretName="")
    assert (rig.signs_with(name), rig.trouble(name)) == ("ours", None)
    rig.apply(name, url=8)
    assert (rig.signs_with(name), rig.trouble(name)) == ("ours", None)


@pytest.mark.parametrize(
    "url",
    ["http://[", "http://[x]", "http://[::1", "ws://lk:0x1", "http://a b", "ws://", "http://:80", "http://a\\b"],
)
async def test_a_url_that_no_client_can_use_is_told_and_concerns_no_other_server(url: str) -> None:
    rig = Rig()
    rig.secrets = {"odd": keys("key-1"), "eu-1": keys("key-2")}
    rig.apply("odd", url=url)
    rig.apply()
    await rig.reader.first_read()
    assert (rig.signs_with("odd"), rig.trouble("odd"), rig.signs_with()) == ("", ConditionReason.WRONG_URL, "key-2")


async def test_a_ca_that_is_no_pem_is_told_and_concerns_no_other_server() -> None:
    rig = Rig()
    rig.secrets = {"odd": {**keys("key-1"), "ca.crt": "-----BEGIN CERTIFICATE-----ä"}, "eu-1": keys("key-2")}
    rig.apply("odd")
    rig.apply()
    await rig.reader.first_read()
    assert (rig.trouble("odd"), rig.signs_with()) == (ConditionReason.CREDENTIALS_INCOMPLETE, "key-2")


async def test_a_follower_that_fails_with_one_server_stops_neither_the_watch_nor_the_others() -> None:
    rig = Rig()

    def fail(name: str) -> None:
        if name == "odd":
            raise ValueError("no code expected this")

    rig.configs.follow(fail)
    rig.secrets = {"odd": keys("key-1"), "eu-1": keys("key-2")}
    with structlog.testing.capture_logs() as logs:
        rig.apply("odd", url="http://odd")
        rig.apply()
        await rig.reader.first_read()
        rig.cache.forget(HOME, "odd", "odd")
    assert rig.signs_with() == "key-2"
    assert {entry["server"] for entry in logs if entry["log_level"] == "error"} == {"odd"}


def test_a_secret_that_is_slow_to_read_delays_no_other_server() -> None:
    async def main(_time: VirtualTime) -> None:
        rig = Rig()
        rig.secrets = {name: keys(name) for name in ("slow", "eu-1", "us-1")}
        rig.slow = "slow"
        for name in rig.secrets:
            rig.apply(name)
        await rig.reader.first_read()
        assert [rig.signs_with(name) for name in rig.secrets] == ["", "eu-1", "us-1"]

    run(main)
