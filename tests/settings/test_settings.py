"""Settings: environment and flags, and the sentence of every wrong one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from controller.errors import SettingsError
from controller.settings import Settings, load_settings, variable
from controller.settings.redis_address import TlsOptions
from tests.support.certificates import Authority

SECRET = "a-secret-of-more-than-thirty-two-characters"
GOOD = {
    "ROOMKEEPER_LIVEKIT_URL": "ws://livekit.example:7880",
    "ROOMKEEPER_LIVEKIT_API_KEY": "APIkey",
    "ROOMKEEPER_LIVEKIT_API_SECRET": SECRET,
    "ROOMKEEPER_REDIS_URL": "redis://redis.example:6379/0",
}


@pytest.fixture(autouse=True)
def _only_good_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ROOMKEEPER_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def complaint(flags: dict[str, Any] | None = None) -> str:
    """The error for the settings as they are."""
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {})
    return str(caught.value)


def test_the_least_that_must_be_given_is_enough() -> None:
    settings = load_settings({})
    assert (settings.cluster_id, settings.namespace, settings.namespaces) == ("default", "roomkeeper-system", ())
    assert (settings.webhook_port, settings.metrics_port, settings.log_format) == (8080, 9090, "json")
    assert settings.livekit_api_secret.get_secret_value() == SECRET


def test_the_secret_does_not_show_when_settings_are_printed() -> None:
    assert SECRET not in repr(load_settings({})) + str(load_settings({}))


WRONG: list[tuple[str, str, str]] = [
    ("LIVEKIT_URL", "livekit.example:7880", "has no scheme; expected ws://HOST:PORT"),
    ("LIVEKIT_URL", "ftp://livekit.example", 'has scheme "ftp"; expected ws://'),
    ("LIVEKIT_URL", "ws://", "names no host"),
    ("LIVEKIT_URL", "ws://livekit:99999", "names no port between 0 and 65535; expected ws://HOST:PORT"),
    ("LIVEKIT_URL", "ws://user:hunter2@livekit", "holds a user or a password, which LiveKit does not ask for"),
    ("LIVEKIT_URL", "ws://livekit/?region=eu", "has something after a ? or a #"),
    ("LIVEKIT_TIMEOUT_SECONDS", "0.5", "greater than or equal to 1"),
    ("LIVEKIT_PUBLIC_URL", "redis://x", 'has scheme "redis"'),
    ("LIVEKIT_API_SECRET", "short", "is 5 characters long; LiveKit needs at least 32"),
    ("REDIS_URL", "http://redis", 'has scheme "http"; expected redis://HOST:PORT/DB'),
    ("REDIS_URL", "redis://", "names no host"),
    ("CLUSTER_ID", "Not Good!", '"Not Good!"'),
    ("CLUSTER_ID", "x" * 64, "should match pattern"),
    ("WEBHOOK_PORT", "70000", '"70000": Input should be less than or equal to 65535'),
    ("WEBHOOK_PORT", "http", "valid integer"),
    ("METRICS_PORT", "-1", "greater than or equal to 0"),
    ("POLL_SECONDS", "0.1", "greater than or equal to 0.2"),
    ("POLL_SECONDS", "61", "less than or equal to 60"),
    ("RESYNC_SECONDS", "4", "greater than or equal to 5"),
    ("RESYNC_SECONDS", "86401", "less than or equal to 86400"),
    ("LEASE_SECONDS", "61", "less than or equal to 60"),
    ("CONCURRENCY", "1025", "less than or equal to 1024"),
    ("LEASE_SECONDS", "9", "greater than or equal to 10"),
    ("CONCURRENCY", "0", "greater than or equal to 1"),
    ("STOP_SECONDS", "601", "less than or equal to 600"),
    ("LIVEKIT_API_KEY", "APIkey\n", "ends in a newline, which is not part of the value"),
    ("LIVEKIT_API_SECRET", SECRET + "\n", "ends in a newline, which is not part of the value"),
    ("LIVEKIT_OLD_API_SECRET", "short", "is 5 characters long; LiveKit needs at least 32"),
    ("LIVEKIT_URL", " ws://livekit", "begins or ends with white space, which is not part of the value"),
    ("REDIS_URL", "redis://redis\r", "ends in a newline, which is not part of the value"),
    ("NAMESPACE", "Ours", '"Ours" cannot be the name of a namespace: expected lower-case letters'),
    ("WATCH_NAMESPACES", "calls,Calls", '"Calls" cannot be the name of a namespace: expected lower-case letters'),
    ("WATCH_NAMESPACES", "calls;other", '"calls;other" cannot be the name of a namespace'),
    ("WATCH_NAMESPACES", "x" * 64, "at most 63 characters"),
    ("LEASE_NAME", "My_Lease", "should match pattern"),
    ("LOG_FORMAT", "xml", "'json' or 'console'"),
    ("LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_every_wrong_setting_is_named_with_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"ROOMKEEPER_{name}", value)
    text = complaint()
    assert text.startswith("roomkeeper operator: a setting is wrong\n")
    (line,) = text.splitlines()[1:]
    assert line.startswith(f"  ROOMKEEPER_{name}   ")
    assert words in line


@pytest.mark.parametrize(
    ("url", "api", "public"),
    [
        ("ws://livekit:7880/", "http://livekit:7880", "ws://livekit:7880"),
        ("https://calls.example/livekit//", "https://calls.example/livekit", "wss://calls.example/livekit"),
    ],
)
def test_the_url_of_livekit_may_have_a_path_and_a_slash(
    monkeypatch: pytest.MonkeyPatch, url: str, api: str, public: str
) -> None:
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_URL", url)
    settings = load_settings({})
    assert (settings.api_url, settings.public_url) == (api, public)


def test_the_lease_outlasts_two_requests_to_livekit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_TIMEOUT_SECONDS", "6")
    assert load_settings({}).livekit_timeout_seconds == 6
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_TIMEOUT_SECONDS", "8")
    assert "set ROOMKEEPER_LEASE_SECONDS to 20 or more" in complaint()
    monkeypatch.setenv("ROOMKEEPER_LEASE_SECONDS", "20")
    assert load_settings({}).livekit_timeout_seconds == 8


def test_certificates_for_livekit_are_for_a_url_with_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    signed = Authority(tmp_path / "ca").sign("client")
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_KEY_FILE", str(signed.key))
    assert "ROOMKEEPER_LIVEKIT_KEY_FILE is set, but the LiveKit URL is one without TLS; use wss://" in complaint()
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_URL", "wss://livekit.example")
    assert "ROOMKEEPER_LIVEKIT_KEY_FILE is set without ROOMKEEPER_LIVEKIT_CERT_FILE; set both" in complaint()
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_CERT_FILE", str(signed.certificate))
    assert load_settings({}).livekit_tls() == TlsOptions(cert_file=str(signed.certificate), key_file=str(signed.key))
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_CA_FILE", str(signed.key))
    assert "holds no certificates in PEM form" in complaint()
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_CA_FILE", "/nowhere/ca.crt")
    assert "ROOMKEEPER_LIVEKIT_CA_FILE   /nowhere/ca.crt does not exist; create it, or correct the path" in complaint()


def test_an_old_key_comes_with_its_secret_and_is_not_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = "ROOMKEEPER_LIVEKIT_OLD_API_KEY and ROOMKEEPER_LIVEKIT_OLD_API_SECRET"
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_OLD_API_KEY", "APIold")
    assert f"of {names} only one is set; set both, or neither" in complaint()
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_OLD_API_SECRET", "old-" + SECRET)
    settings = load_settings({})
    assert set(settings.secrets) == {SECRET, "old-" + SECRET}
    assert "old-" + SECRET not in repr(settings)
    monkeypatch.setenv("ROOMKEEPER_LIVEKIT_OLD_API_KEY", "APIkey")
    assert f"{names} are those of ROOMKEEPER_LIVEKIT_API_KEY; set them to the key of before" in complaint()


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("value", [None, ""])
def test_what_is_missing_is_named_with_what_it_is(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    text = complaint()
    field = name.removeprefix("ROOMKEEPER_").lower()
    assert f"{name}   is not set; it is the {Settings.model_fields[field].description}" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_URL", "htp://:hunter2@redis"), ("LIVEKIT_API_SECRET", "hunter2"), ("LIVEKIT_URL", "hunter2@livekit")],
)
def test_what_may_hold_a_password_is_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ROOMKEEPER_{name}", value)
    assert "hunter2" not in complaint()


def test_all_that_is_wrong_is_reported_at_once_in_aligned_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEEPER_LOG_LEVEL", "loud")
    monkeypatch.setenv("ROOMKEEPER_CONCURENCY", "9")
    monkeypatch.delenv("ROOMKEEPER_REDIS_URL")
    first, *lines = complaint().splitlines()
    assert first == "roomkeeper operator: 3 settings are wrong"
    assert len(lines) == 3
    assert len({line.index(line.split()[1]) for line in lines}) == 1, "the sentences begin in one column"


def test_a_name_that_is_no_setting_is_not_overlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEEPER_REDIS_URI", "redis://x")
    assert "ROOMKEEPER_REDIS_URI   is not a setting of the operator" in complaint()


@pytest.mark.parametrize("name", ["ROOMKEEPER_WEBHOOK_URL", "ROOMKEEPER_METRICS_URL", "ROOMKEEPER_TEST_X"])
def test_what_the_sandbox_tells_its_users_is_not_taken_for_a_setting(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:8080")
    assert load_settings({}).webhook_port == 8080


@pytest.mark.parametrize("name", ["livekit_url", "livekit_api_key", "livekit_api_secret", "redis_url"])
def test_a_flag_without_a_value_is_refused(name: str) -> None:
    assert f"{variable(name)}   is empty" in complaint({name: ""})


def test_the_password_for_redis_is_one_of_the_secrets_that_logs_blank() -> None:
    assert load_settings({"redis_url": "redis://:hunt%2Fer2@redis:6379/0"}).secrets == (
        SECRET,
        ":hunt%2Fer2@",
    )


def test_flags_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMKEEPER_CLUSTER_ID", "from-env")
    monkeypatch.setenv("ROOMKEEPER_WEBHOOK_PORT", "1111")
    settings = load_settings({"cluster_id": "from-flag"})
    assert (settings.cluster_id, settings.webhook_port) == ("from-flag", 1111)


def test_a_wrong_flag_is_named_like_its_variable() -> None:
    assert "ROOMKEEPER_WEBHOOK_PORT" in complaint({"webhook_port": "http"})


@pytest.mark.parametrize(
    ("settings", "is_wrong"),
    [
        ({"webhook_port": 9090}, True),
        ({"webhook_port": 9090, "webhook_host": "127.0.0.1"}, False),
        ({"webhook_port": 0, "metrics_port": 0}, False),
        ({"webhook_port": 9091}, False),
    ],
)
def test_two_endpoints_need_two_ports(settings: dict[str, Any], is_wrong: bool) -> None:
    if is_wrong:
        assert "webhook_port and metrics_port are both 9090" in complaint(settings)
    else:
        load_settings(settings)


@pytest.mark.parametrize(
    ("url", "public", "api", "given"),
    [
        ("ws://a:1", "", "http://a:1", "ws://a:1"),
        ("wss://a", "", "https://a", "wss://a"),
        ("http://a:1", "", "http://a:1", "ws://a:1"),
        ("https://a", "", "https://a", "wss://a"),
        ("http://inside", "https://outside", "http://inside", "wss://outside"),
    ],
)
def test_people_get_a_websocket_url_and_we_call_over_http(url: str, public: str, api: str, given: str) -> None:
    settings = load_settings({"livekit_url": url, "livekit_public_url": public})
    assert (settings.api_url, settings.public_url) == (api, given)


@pytest.mark.parametrize(
    ("text", "names"), [("", ()), ("calls", ("calls",)), (" a, b ,,c,a ", ("a", "b", "c")), (" , ", ())]
)
def test_namespaces_are_separated_by_commas(text: str, names: tuple[str, ...]) -> None:
    assert load_settings({"watch_namespaces": text}).namespaces == names


def test_a_unix_socket_needs_no_host() -> None:
    assert load_settings({"redis_url": "unix:///run/redis.sock"}).redis_url == "unix:///run/redis.sock"


def test_the_directory_for_dumps_is_a_path() -> None:
    assert load_settings({"record_dir": "/tmp/dumps"}).record_dir == Path("/tmp/dumps")


def test_every_setting_has_a_variable_and_a_description() -> None:
    assert variable("redis_url") == "ROOMKEEPER_REDIS_URL"
    assert all(field.description for field in Settings.model_fields.values())
