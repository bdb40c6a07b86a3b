"""Shows when the certificates end that this replica uses: those of CAs that it trusts, and its own.

An API key of LiveKit and a password have no end, so they are not here. Neighbors: `rules.certificate_end` reads a
certificate, `app.life` runs this in every replica.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from controller.clients.connection import KubernetesConnection
from controller.errors import Backend
from controller.rules.certificate_end import validities
from controller.settings import Settings
from controller.settings.redis_address import TlsOptions
from controller.telemetry import metrics
from controller.telemetry.pulse import Pulse

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS: Final = 30.0


class CertificateUse(StrEnum):
    """What a certificate is for, as the label `use` names it."""

    CA = "ca"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class CertificateSource:
    """Where certificates are: the path of a file, or their text. A text may be PEM, or base64 of it."""

    backend: Backend
    use: CertificateUse
    path: str = ""
    text: str = ""

    def read(self) -> str:
        """The certificates as PEM. Raises OSError and ValueError."""
        if self.path:
            return Path(self.path).read_text(encoding="utf-8")
        return self.text if "-----BEGIN" in self.text else base64.b64decode(self.text).decode("ascii")


def sources(settings: Settings, connection: KubernetesConnection) -> Iterator[CertificateSource]:
    """All certificates that the settings and the kubeconfig of the moment name. Raises OSError and ValueError."""
    info = connection.credentials.info
    for use, path, text in (
        (CertificateUse.CA, info.ca_path, info.ca_data),
        (CertificateUse.CLIENT, info.certificate_path, info.certificate_data),
    ):
        yield CertificateSource(Backend.KUBERNETES, use, os.fsdecode(path or ""), os.fsdecode(text or ""))
    yield from _of_tls(Backend.LIVEKIT, settings.livekit_tls())
    tls = settings.redis_address(settings.redis_url_now()).access.tls
    if tls is not None:
        yield from _of_tls(Backend.REDIS, tls)


def _of_tls(backend: Backend, tls: TlsOptions) -> Iterator[CertificateSource]:
    yield CertificateSource(backend, CertificateUse.CA, tls.ca_file, tls.ca_data)
    yield CertificateSource(backend, CertificateUse.CLIENT, tls.cert_file)


class CertificateWatch:
    """Reads the certificates at intervals: files are replaced without a restart. `find` names them."""

    def __init__(self, find: Callable[[], Iterator[CertificateSource]]) -> None:
        self._find = find
        self._said: dict[tuple[str, str], str] = {}
        self._shown: set[tuple[str, str]] = set()

    async def run(self, pulse: Pulse) -> None:
        """Look until cancelled."""
        while True:
            pulse.beat()
            await asyncio.to_thread(self.look)
            await asyncio.sleep(_INTERVAL_SECONDS)

    def look(self) -> None:
        """Look once. What cannot be read shows its last end: the clients tell about a file that they need.

        What is no longer named, or has no certificate any longer, is shown no longer.
        """
        try:
            found = [one for one in self._find() if one.path or one.text]
        except (OSError, ValueError) as error:
            self._say(("", ""), str(error))
            return
        gone = set(self._shown)
        for one in found:
            labels = (str(one.backend), str(one.use))
            try:
                known = validities(one.read())
            except (OSError, ValueError) as error:
                self._say(labels, str(error))
                gone.discard(labels)
                continue
            self._said.pop(labels, None)
            if known:
                # Of several CAs one is enough; the first certificate of a client's file is its own.
                held = max(known, key=lambda each: each.ends) if one.use is CertificateUse.CA else known[0]
                metrics.certificate_end.labels(*labels).set(held.ends.timestamp())
                metrics.certificate_lifetime.labels(*labels).set((held.ends - held.begins).total_seconds())
                self._shown.add(labels)
                gone.discard(labels)
        for labels in gone:
            self._shown.discard(labels)
            for gauge in (metrics.certificate_end, metrics.certificate_lifetime):
                gauge.remove(*labels)

    def _say(self, labels: tuple[str, str], why: str) -> None:
        if self._said.get(labels) != why:
            self._said[labels] = why
            log.info("the end of a certificate cannot be read", backend=labels[0], use=labels[1], why=why)
