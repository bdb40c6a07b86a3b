"""Certificates for tests: an authority of the test's own, and what it has signed. Made by the openssl command."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """An authority whose files are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._own = Signed(directory / "ca.crt", directory / "ca.key")
        _openssl(
            *("req", "-x509", *_new_key(self._own), "-subj", f"/CN={directory.name}", "-days", "2"),
            *("-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE"),
        )

    @property
    def certificate(self) -> Path:
        """The certificate of the authority: what a client must trust."""
        return self._own.certificate

    def sign(
        self, name: str, subject: str = "", *, for_names: str = "IP:127.0.0.1,DNS:localhost", days: int = 1
    ) -> Signed:
        """A certificate for these names and for a client `subject`; less than one day: it has expired."""
        made = Signed(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        request, extensions = self._directory / f"{name}.csr", self._directory / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={for_names}\nextendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n"
        )
        _openssl("req", *_new_key(Signed(request, made.key)), "-subj", f"/CN={subject or name}")
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(made.certificate), "-days", str(days)),
            *("-CA", str(self.certificate), "-CAkey", str(self._own.key), "-CAcreateserial"),
            *("-extfile", str(extensions)),
        )
        return made


def _new_key(to: Signed) -> tuple[str, ...]:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    return (*key, "-keyout", str(to.key), "-out", str(to.certificate))


def _openssl(*arguments: str) -> None:
    subprocess.run(("openssl", *arguments), check=True, capture_output=True)
