"""The metric of certificates follows the files, and a file that cannot be read keeps its last end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controller.errors import Backend
from controller.rules.certificate_end import validities
from controller.triggers.certificates import CertificateSource, CertificateUse, CertificateWatch
from tests.support.certificates import Authority


def _shown(use: CertificateUse, name: str = "expiry_timestamp") -> float | None:
    labels = {"backend": str(Backend.REDIS), "use": str(use)}
    return REGISTRY.get_sample_value(f"roomkeeper_certificate_{name}_seconds", labels)


def _end(pem: str) -> float:
    return validities(pem)[0].ends.timestamp()


def test_the_end_follows_the_files(tmp_path: Path) -> None:
    authority, file = Authority(tmp_path / "ca"), tmp_path / "client.crt"
    first, second = (authority.sign(f"client-{days}", days=days).certificate.read_text() for days in (1, 30))
    # What follows in the file are intermediate certificates: they may end later.
    file.write_text(first + authority.certificate.read_text())
    bundle = authority.certificate.read_text() + authority.sign("next", days=40).certificate.read_text()
    found = [
        CertificateSource(Backend.REDIS, CertificateUse.CA, text=bundle),
        CertificateSource(Backend.REDIS, CertificateUse.CLIENT, path=str(file)),
        CertificateSource(Backend.REDIS, CertificateUse.CLIENT),
    ]
    watch = CertificateWatch(lambda: iter(found))
    watch.look()
    assert _shown(CertificateUse.CLIENT) == _end(first)
    assert _shown(CertificateUse.CLIENT, "lifetime") == 86_400
    assert _shown(CertificateUse.CA) == max(one.ends for one in validities(bundle)).timestamp()
    assert _shown(CertificateUse.CA, "lifetime") == 40 * 86_400
    file.write_text(second)
    watch.look()
    assert _shown(CertificateUse.CLIENT) == _end(second)
    assert _shown(CertificateUse.CLIENT, "lifetime") == 30 * 86_400
    file.unlink()
    with capture_logs() as lines:
        watch.look()
        watch.look()
    assert len(lines) == 1
    assert "client.crt" in lines[0]["why"]
    assert _shown(CertificateUse.CLIENT) == _end(second)


def test_a_certificate_that_the_settings_no_longer_name_has_no_end(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text(Authority(tmp_path / "ca").certificate.read_text())
    ca = CertificateSource(Backend.REDIS, CertificateUse.CA, path=str(file))
    client = CertificateSource(Backend.REDIS, CertificateUse.CLIENT, path=str(file))
    found: list[CertificateSource] = [ca, client]
    fails = [False]

    def find() -> Iterator[CertificateSource]:
        if fails[0]:
            raise OSError("the kubeconfig cannot be read")
        return iter(found)

    watch = CertificateWatch(find)
    watch.look()
    fails[0] = True
    watch.look()
    assert None not in (_shown(CertificateUse.CA), _shown(CertificateUse.CLIENT)), "what they name is not known"
    fails[0], found = False, [ca, CertificateSource(Backend.REDIS, CertificateUse.CLIENT)]
    watch.look()
    assert _shown(CertificateUse.CA) is not None
    assert [_shown(CertificateUse.CLIENT, name) for name in ("expiry_timestamp", "lifetime")] == [None, None]
    file.write_text("")
    watch.look()
    assert _shown(CertificateUse.CA) is None, "the file is there, and has no certificate"
