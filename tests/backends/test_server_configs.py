"""Which LiveKit servers are configured: the one of the settings, and those of LiveKitServers with their Secrets."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import LiveKitServer
from controller.api.names import LIVEKIT_SERVER
from controller.backends.server_configs import ServerConfig, ServerConfigs
from controller.backends.server_secrets import credentials_in
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.clients.livekit_tls import Certificates
from controller.facts.server import Trouble
from controller.views.lost_fields import LostFields
from tests.support.certificates import Authority

OURS = Credentials(ApiKeys(ApiKey("ours", "o" * 32)))
KEYS = Credentials(ApiKeys(ApiKey("key", "k" * 32)))
MISSING = Trouble(ConditionReason.CREDENTIALS_MISSING, "the Secret does not exist")


def server(name: str = "eu-1", status: dict[str, Any] | None = None, **spec: Any) -> LiveKitServer:
    return LiveKitServer.model_validate(
        {
            "metadata": {"name": name, "namespace": "roomkeeper-system"},
            "spec": {"url": f"wss://{name}.example", **spec},
            "status": status or {},
        }
    )


class Configs:
    """The servers of a test, and the names that followers were told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.lost = LostFields()
        self.all = ServerConfigs(ServerConfig("default", "http://lk:7880", "ws://lk:7880", OURS), self.lost)
        self.all.follow(self.told.append)

    def __getitem__(self, name: str) -> ServerConfig:
        found = self.all.get(name)
        assert found is not None
        return found


@pytest.fixture
def configs() -> Configs:
    return Configs()


@pytest.mark.parametrize(
    ("spec", "url", "public_url"),
    [
        ({"url": "wss://a.example/"}, "https://a.example", "wss://a.example"),
        ({"url": "http://livekit:7880"}, "http://livekit:7880", "ws://livekit:7880"),
        (
            {"url": "http://livekit:7880", "publicUrl": "https://b.example/lk/"},
            "http://livekit:7880",
            "wss://b.example/lk",
        ),
    ],
)
def test_requests_go_to_http_and_clients_to_a_web_socket(
    configs: Configs, spec: dict[str, Any], url: str, public_url: str
) -> None:
    configs.all.keep(server(**spec), KEYS)
    assert (configs["eu-1"].url, configs["eu-1"].public_url) == (url, public_url)


def test_servers_of_objects_are_used_beside_that_of_the_settings(configs: Configs) -> None:
    configs.all.keep(server(), KEYS)
    assert [config.name for config in configs.all] == ["default", "eu-1"]
    assert configs.all.signers() == {
        "ours": {"o" * 32: frozenset({"default"})},
        "key": {"k" * 32: frozenset({"eu-1"})},
    }
    configs.all.drop("eu-1")
    assert [config.name for config in configs.all] == ["default"]
    assert configs.told == ["eu-1", "eu-1"]


def test_an_object_called_default_replaces_the_server_of_the_settings_until_it_goes(configs: Configs) -> None:
    configs.all.keep(server("default", url="ws://lk:7880/", cordoned=True), KEYS)
    assert (configs["default"].is_cordoned, list(configs.all.signers())) == (True, ["key"])
    configs.all.drop("default")
    assert (configs["default"].is_cordoned, configs["default"].credentials) == (False, OURS)


@pytest.mark.parametrize("url", ["http://elsewhere:7880", "http://me:secret@lk:7880"])
def test_an_object_called_default_with_another_url_is_told_so_and_the_server_of_the_settings_is_asked_on(
    configs: Configs, url: str
) -> None:
    configs.all.keep(server("default", url=url), KEYS)
    trouble = configs.all.troubles()["default"]
    assert (configs["default"].url, configs["default"].credentials) == ("http://lk:7880", OURS)
    assert trouble.reason is ConditionReason.WRONG_URL
    configs.all.keep(server("default", url="http://elsewhere:7880"), None)
    told = configs.all.troubles()["default"].sentence
    assert "the operator's settings, http://lk:7880, which a LiveKitServer called default replaces" in told
    assert told.endswith("until then, that of the settings is used alone")
    assert configs["default"].credentials == OURS


@pytest.mark.parametrize("url", ["ws://LK:7880/", "http://lk:7880"])
def test_another_spelling_of_one_address_is_the_same_url(configs: Configs, url: str) -> None:
    configs.all.keep(server("default", url=url, cordoned=True), KEYS)
    found = configs["default"]
    assert (found.url, found.is_cordoned, configs.all.troubles()) == ("http://lk:7880", True, {})


def test_without_a_secret_that_can_be_read_a_new_server_cannot_be_asked(configs: Configs) -> None:
    configs.all.keep(server(), None, MISSING)
    assert configs.all.get("eu-1") is None
    assert configs.all.troubles() == {"eu-1": MISSING}


def test_a_secret_that_goes_leaves_the_keys_of_before_until_there_is_another(configs: Configs) -> None:
    configs.all.keep(server(), KEYS)
    configs.all.keep(server(), None, MISSING)
    assert (configs["eu-1"].credentials, configs.all.troubles()) == (KEYS, {"eu-1": MISSING})
    newer = Credentials(ApiKeys(ApiKey("newer", "n" * 32)))
    configs.all.keep(server(), newer)
    assert (configs["eu-1"].credentials, dict(configs.all.troubles())) == (newer, {})


def test_an_object_called_default_without_its_secret_does_not_borrow_the_keys_of_the_settings(configs: Configs) -> None:
    configs.all.keep(server("default", url="http://lk:7880"), None, MISSING)
    assert configs.all.get("default") is None


def test_one_name_of_a_key_may_have_another_secret_on_another_server(configs: Configs) -> None:
    configs.all.keep(server("eu-1"), KEYS)
    configs.all.keep(
        server("eu-2"), Credentials(ApiKeys(ApiKey("key", "z" * 32), (ApiKey("key-of-before", "b" * 32),)))
    )
    configs.all.keep(server("eu-3"), KEYS)
    signers = configs.all.signers()
    assert signers["key"] == {"k" * 32: frozenset({"eu-1", "eu-3"}), "z" * 32: frozenset({"eu-2"})}
    assert signers["key-of-before"] == {"b" * 32: frozenset({"eu-2"})}


def test_a_key_of_one_server_signs_for_all_names_of_its_url(configs: Configs) -> None:
    other = Credentials(ApiKeys(ApiKey("other", "z" * 32)))
    configs.all.keep(server("eu-1"), KEYS)
    configs.all.keep(server("eu-2", url="https://eu-1.example/"), other)
    both = frozenset({"eu-1", "eu-2"})
    signers = configs.all.signers()
    assert (signers["key"], signers["other"]) == ({"k" * 32: both}, {"z" * 32: both})


def test_a_server_whose_url_becomes_unusable_is_asked_on_at_the_last_good_one_as_it_is_configured_otherwise(
    configs: Configs,
) -> None:
    configs.all.keep(server(publicUrl="wss://public.example"), KEYS)
    other = Credentials(ApiKeys(ApiKey("other", "z" * 32)))
    configs.all.keep(server(url="http://me:secret@eu-1", maxRooms=7, drain={"type": "graceful"}), other)
    found = configs["eu-1"]
    assert (found.url, found.public_url, found.credentials) == ("https://eu-1.example", "wss://public.example", KEYS)
    assert (found.max_rooms, found.drain is not None, found.is_cordoned) == (7, True, True)
    assert configs.all.troubles()["eu-1"].reason is ConditionReason.WRONG_URL


def test_after_a_restart_the_last_good_url_is_that_of_the_status(configs: Configs) -> None:
    noted = {"url": "https://old.example", "publicUrl": "wss://old.example"}
    configs.all.keep(server(url="http://me:secret@eu-1", status=noted), KEYS)
    assert (configs["eu-1"].url, configs["eu-1"].public_url) == ("https://old.example", "wss://old.example")


def test_followers_are_told_of_changes_only(configs: Configs) -> None:
    for _ in range(3):
        configs.all.keep(server(), KEYS)
    configs.all.keep(server(cordoned=True), KEYS)
    assert configs.told == ["eu-1", "eu-1"]


def data(**texts: str) -> dict[str, object]:
    return {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}


def test_a_secret_has_the_key_that_signs_and_the_one_of_before() -> None:
    found = credentials_in("s", data(apiKey="new\n", apiSecret="n" * 32, oldApiKey="old", oldApiSecret="o" * 32))
    assert found == Credentials(ApiKeys(ApiKey("new", "n" * 32), (ApiKey("old", "o" * 32),)))
    assert credentials_in("s", data(apiKey="new", apiSecret="n" * 32)) == Credentials(ApiKeys(ApiKey("new", "n" * 32)))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, "the Secret s has no text under apiKey and apiSecret; it has the keys none"),
        (
            data(api_key="a", apiSecret="n" * 32),
            "the Secret s has no text under apiKey; it has the keys apiSecret, api_key",
        ),
        ({"apiKey": "%%%", **data(apiSecret="n" * 32)}, "the Secret s has no text under apiKey; it has the keys"),
        (data(apiKey="a", apiSecret="short"), "the Secret s has an API secret of less than 32 characters"),
        (
            data(apiKey="a", apiSecret="n" * 32, oldApiKey="b"),
            "the Secret s has one of oldApiKey and oldApiSecret; give both, or none of them",
        ),
        (
            data(apiKey="a", apiSecret="n" * 32, oldApiKey="a", oldApiSecret="o" * 32),
            "the Secret s has one name under apiKey and oldApiKey for two secrets; give the new secret a key of",
        ),
        (
            data(apiKey="a", apiSecret="n" * 32) | data(**{"ca.crt": "nonsense"}),
            "the Secret s has no certificates in PEM form under ca.crt",
        ),
    ],
)
def test_a_secret_that_cannot_be_used_is_told_in_one_sentence(found: dict[str, object], told: str) -> None:
    problem = credentials_in("s", found)
    assert isinstance(problem, Trouble)
    assert problem.sentence.startswith(told)
    assert "nnn" not in problem.sentence


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"url": "wss://me:hunter2@lk"}, "spec.url holds a user or a password, which LiveKit does not ask for"),
        ({"url": "wss://lk:99999"}, "spec.url names no port between 0 and 65535"),
        ({"publicUrl": "wss://lk?token=hunter2"}, "spec.publicUrl has something after a ? or a #"),
    ],
)
def test_a_url_that_no_request_can_use_is_told_and_repeats_nothing(
    configs: Configs, spec: dict[str, Any], told: str
) -> None:
    configs.all.keep(server(), KEYS)
    configs.all.keep(server(**spec), KEYS)
    trouble = configs.all.troubles()["eu-1"]
    assert (trouble.reason, trouble.sentence.startswith(told)) == (ConditionReason.WRONG_URL, True)
    assert (configs["eu-1"].url, "hunter2" in trouble.sentence) == ("https://eu-1.example", False)
    configs.all.keep(server("new", **spec), KEYS)
    assert configs.all.get("new") is None
    configs.all.drop("new")
    configs.all.keep(server(), None)
    assert (configs["eu-1"].credentials, dict(configs.all.troubles())) == (KEYS, {})


def test_a_private_ca_of_a_secret_is_trusted_from_the_next_connection_on(tmp_path: Path) -> None:
    text = Authority(tmp_path).certificate.read_text()
    found = credentials_in("s", data(apiKey="a", apiSecret="n" * 32) | data(**{"ca.crt": text}))
    assert isinstance(found, Credentials)
    certificates = Certificates()
    assert certificates.context() is True
    certificates.trust(found.ca)
    trusting = certificates.context()
    assert isinstance(trusting, ssl.SSLContext)
    assert len(trusting.get_ca_certs()) >= 1
    certificates.trust("")
    assert certificates.context() is True


def test_a_server_whose_address_no_status_can_hold_is_not_new_for_ever(configs: Configs) -> None:
    """The installed CRD is older: the API server drops `status.url` of each status that is written."""
    configs.all.keep(server(), KEYS)
    assert [config.is_noted for config in configs.all] == [True, False]
    configs.lost.answered(LIVEKIT_SERVER, {"url": "https://eu-1.example", "rooms": 0}, {"status": {"rooms": 0}})
    configs.all.keep(server(status={"rooms": 0}), KEYS)
    assert configs["eu-1"].is_noted
    kept = {"url": "https://eu-1.example", "rooms": 0}
    configs.lost.answered(LIVEKIT_SERVER, kept, {"status": kept})
    configs.all.keep(server(url="https://new.example", status=kept), KEYS)
    assert (configs["eu-1"].is_noted, configs["eu-1"].where_it_was().url) == (False, "https://eu-1.example")


OTHER = Credentials(ApiKeys(ApiKey("other", "z" * 32)))


def test_a_server_that_is_asked_at_its_old_url_signs_with_its_old_key_until_the_status_has_the_new_one(
    configs: Configs,
) -> None:
    """URL and Secret change at once, while rooms are on the server: they go on there."""
    old = {"url": "https://eu-1.example"}
    configs.all.keep(server(status=old), KEYS)
    configs.all.keep(server(url="https://new.example", status=old), None)  # the Secret is read a moment later
    for _ in range(2):
        configs.all.keep(server(url="https://new.example", status=old), OTHER)
    eu = frozenset({"eu-1"})
    assert configs.all.signers() == {
        "ours": {"o" * 32: frozenset({"default"})},
        "key": {"k" * 32: eu},
        "other": {"z" * 32: eu},
    }
    configs.all.keep(server(url="https://new.example", status={"url": "https://new.example"}), OTHER)
    assert list(configs.all.signers()) == ["ours", "other"]


def test_a_key_that_is_replaced_while_the_url_cannot_be_used_signs_at_once_and_the_old_one_too(
    configs: Configs,
) -> None:
    configs.all.keep(server(), KEYS)
    configs.all.keep(server(url="http://me:secret@eu-1"), OTHER)
    assert configs["eu-1"].credentials == KEYS
    assert set(configs.all.signers()) == {"ours", "key", "other"}


def test_a_key_that_is_replaced_at_one_url_no_longer_signs(configs: Configs) -> None:
    configs.all.keep(server(status={"url": "https://eu-1.example"}), KEYS)
    configs.all.keep(server(status={"url": "https://eu-1.example"}), OTHER)
    assert list(configs.all.signers()) == ["ours", "other"]


def test_a_key_of_a_secret_that_stands_for_the_server_of_the_settings_elsewhere_does_not_sign_for_it(
    configs: Configs,
) -> None:
    configs.all.keep(server("default", url="http://elsewhere:7880"), OTHER)
    assert list(configs.all.signers()) == ["ours"]
