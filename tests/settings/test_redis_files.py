"""The certificates for Redis: settings that name files, and the sentence of every file that TLS cannot begin with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controller.errors import SettingsError
from controller.settings import load_settings
from controller.settings.redis_address import Node, TlsOptions
from controller.settings.redis_source import RedisSource
from tests.settings.test_settings import GOOD
from tests.support.certificates import Authority, Signed


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates") / "ca")


@pytest.fixture(scope="module")
def signed(authority: Authority) -> Signed:
    return authority.sign("client")


@pytest.fixture(autouse=True)
def _good(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROOMKEEPER_REDIS_URL", "rediss://redis.example:6379/0")


def complaint(**flags: object) -> str:
    """The one sentence about the settings, with the name before it."""
    with pytest.raises(SettingsError) as caught:
        load_settings({name: str(value) for name, value in flags.items()})
    first, line = str(caught.value).splitlines()
    assert first == "roomkeeper operator: a setting is wrong"
    return " ".join(line.split())


def test_the_files_become_part_of_the_address(authority: Authority, signed: Signed) -> None:
    files = {
        "redis_ca_file": authority.certificate,
        "redis_cert_file": signed.certificate,
        "redis_key_file": signed.key,
    }
    settings = load_settings({name: str(path) for name, path in files.items()})
    assert settings.redis_address().access.tls == TlsOptions(
        ca_file=str(authority.certificate), cert_file=str(signed.certificate), key_file=str(signed.key)
    )


@pytest.mark.parametrize("url", ["redis://redis.example", "rediss://redis.example?ssl_ca_certs=/other.crt"])
def test_a_secret_that_no_longer_fits_the_files_changes_nothing(
    url: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROOMKEEPER_REDIS_URL")
    file = tmp_path / "url"
    file.write_text("rediss://redis.example")
    flags = {"redis_url_file": str(file), "redis_ca_file": str(authority.certificate)}
    source = RedisSource(load_settings(flags), lambda _: None)
    before = source()
    file.write_text(url)
    with capture_logs() as logs:
        assert source() == before
    assert "does not fit the other settings: ROOMKEEPER_REDIS_CA_FILE is set" in logs[0]["event"]
    file.write_text("rediss://other.example")
    assert source().nodes == (Node("other.example"),)


def test_a_password_that_changes_is_known_as_a_secret_before_the_url_is_used_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROOMKEEPER_REDIS_URL")
    file, blanked = tmp_path / "url", list[str]()
    file.write_text("redis://ann:first@redis.example")
    source = RedisSource(load_settings({"redis_url_file": str(file)}), blanked.extend)
    file.write_text("redis://ann:second@redis.example")
    assert source().access.password == "second"
    file.write_text("redis://ann:third@")
    assert source().access.password == "second"
    assert blanked == [":first@", ":second@", ":third@"]


def test_a_certificate_may_hold_its_key(signed: Signed, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_text(signed.certificate.read_text() + signed.key.read_text())
    assert load_settings({"redis_cert_file": str(both)}).redis_address().access.tls == TlsOptions(cert_file=str(both))


def test_a_key_with_a_password_needs_the_password(signed: Signed, tmp_path: Path) -> None:
    secret = tmp_path / "secret.key"
    words = ("openssl", "ec", "-in", str(signed.key), "-aes128", "-passout", "pass:hunter2", "-out", str(secret))
    subprocess.run(words, check=True, capture_output=True)
    files = {"redis_cert_file": str(signed.certificate), "redis_key_file": str(secret)}
    assert complaint(**files) == (
        f"ROOMKEEPER_REDIS_KEY_FILE names a key, {secret}, which has a password; name one without, or, for Redis, give "
        "it as ssl_password in the URL"
    )
    text = complaint(**files, redis_url="rediss://redis.example?ssl_password=hunter3")
    assert "which has another password than ssl_password" in text
    assert "hunter" not in text
    assert load_settings({**files, "redis_url": "rediss://redis.example?ssl_password=hunter2"})


def test_every_file_that_cannot_be_used_has_its_sentence(authority: Authority, signed: Signed, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    other = authority.sign("other")
    here, missing = signed.certificate, tmp_path / "none"
    for flags, words in (
        ({"redis_ca_file": missing}, f"ROOMKEEPER_REDIS_CA_FILE {missing} does not exist; create it"),
        ({"redis_ca_file": tmp_path}, f"ROOMKEEPER_REDIS_CA_FILE {tmp_path} is a directory"),
        ({"redis_ca_file": text}, f"ROOMKEEPER_REDIS_CA_FILE names a file, {text}, which holds no certificates in PEM"),
        (
            {"redis_cert_file": text},
            f"ROOMKEEPER_REDIS_CERT_FILE names a certificate, {text}, with the key {text}: one",
        ),
        (
            {"redis_cert_file": here, "redis_key_file": other.key},
            f"ROOMKEEPER_REDIS_KEY_FILE names a key, {other.key}, which does not belong to the certificate {here}",
        ),
        ({"redis_key_file": signed.key}, "ROOMKEEPER_REDIS_KEY_FILE is set without ROOMKEEPER_REDIS_CERT_FILE"),
        (
            {"redis_ca_file": authority.certificate, "redis_url": "redis://redis.example"},
            "ROOMKEEPER_REDIS_CA_FILE is set, but the Redis URL is one without TLS; use rediss://",
        ),
        (
            {"redis_ca_file": authority.certificate, "redis_url": "rediss://redis.example?ssl_ca_certs=/ca.crt"},
            "ROOMKEEPER_REDIS_CA_FILE is set, and the Redis URL names such a file too; give one of them",
        ),
        (
            {"redis_url": f"rediss://redis.example?ssl_ca_certs={missing}"},
            f"ROOMKEEPER_REDIS_URL names a file, {missing}, which does not exist",
        ),
        (
            {"redis_url": f"rediss://redis.example?ssl_ca_path={missing}"},
            f"ROOMKEEPER_REDIS_URL names a directory of CAs, {missing}, which does not exist",
        ),
        ({"redis_url": "rediss://redis.example?ssl_ca_data=x"}, "ROOMKEEPER_REDIS_URL has ssl_ca_data, which holds no"),
    ):
        assert words in complaint(**flags)


def test_a_certificate_that_is_missing_from_its_secret_is_named_with_the_keys_that_are_there(tmp_path: Path) -> None:
    secret = tmp_path / "etc" / "roomkeeper" / "secrets" / "redis-tls"
    secret.mkdir(parents=True)
    (secret / "tls.crt").write_text("")
    assert complaint(redis_ca_file=secret / "ca.crt").startswith(
        f"ROOMKEEPER_REDIS_CA_FILE {secret}/ca.crt does not exist: the Secret redis-tls has no key ca.crt "
        "(it has tls.crt)"
    )


def test_every_password_of_the_url_is_one_of_the_secrets_that_logs_blank() -> None:
    url = "rediss://ann:hunter%2F2@redis.example?ssl_password=hunter3"
    assert load_settings({"redis_url": url}).secrets[1:] == (":hunter%2F2@", "ssl_password=hunter3")
