"""The metric of certificates follows the files, and a file that cannot be read keeps its last end."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from controller.errors import Backend
from controller.rules.certificate_end import ends
from controller.telemetry import metrics
from controller.triggers.certificates import CertificateSource, CertificateUse, CertificateWatch
from tests.support.certificates import Authority


def _shown(use: CertificateUse) -> float:
    return float(metrics.certificate_end.labels(str(Backend.REDIS), str(use))._value.get())


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
    assert _shown(CertificateUse.CLIENT) == ends(first)[0].timestamp()
    assert _shown(CertificateUse.CA) == max(ends(bundle)).timestamp()
    file.write_text(second)
    watch.look()
    assert _shown(CertificateUse.CLIENT) == ends(second)[0].timestamp()
    file.unlink()
    with capture_logs() as lines:
        watch.look()
        watch.look()
    assert len(lines) == 1
    assert "client.crt" in lines[0]["why"]
    assert _shown(CertificateUse.CLIENT) == ends(second)[0].timestamp()
