"""When a certificate ends, of real certificates that openssl has made."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.rules.certificate_end import Validity, validities
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def _openssl_says(file: Path) -> Validity:
    # The only reader of the standard library, and not a public one.
    found = ssl._ssl._test_decode_cert(str(file))  # type: ignore[attr-defined]
    begins, ends = (
        datetime.fromtimestamp(ssl.cert_time_to_seconds(found[name]), UTC) for name in ("notBefore", "notAfter")
    )
    return Validity(begins, ends)


def test_the_begin_and_the_end_of_each_certificate_of_a_file_are_read(authority: Authority) -> None:
    # In ten days, and beyond 2049, from when on the year has four digits.
    files = [authority.certificate, *(authority.sign(f"of-{days}", days=days).certificate for days in (10, 20000))]
    read = validities("\n".join(file.read_text() for file in files))
    assert read == [_openssl_says(file) for file in files]
    assert read[2].ends.year > 2049


def test_a_text_without_certificates_has_no_end(authority: Authority) -> None:
    assert validities(authority.sign("one").key.read_text()) == []


@pytest.mark.parametrize("damage", [lambda pem: pem[:200] + "\n-----END", lambda pem: pem.replace("A", "!", 1)])
def test_a_damaged_certificate_is_refused(authority: Authority, damage: object) -> None:
    assert callable(damage)
    body = authority.certificate.read_text().splitlines()[1]
    pem = authority.certificate.read_text().replace(body, damage(body))
    with pytest.raises(ValueError, match="it "):
        validities(pem)
