"""The API keys of one LiveKit server, in order: the newest signs, and all of them verify.

A key is replaced without a gap: for a while LiveKit and Roomkeeper know both, whichever of them signs. Neighbors:
`app.wiring` makes them from the settings, `act.tokens` signs, `triggers.webhook_signature` verifies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key, by its name, with its secret."""

    name: str
    secret: str = field(repr=False)

    @property
    def digest(self) -> str:
        """A short digest of the secret: it shows that a key has another secret, and cannot be turned back into one."""
        return _digest(self.name, self.secret)


@lru_cache(maxsize=256)
def _digest(name: str, secret: str) -> str:
    return hashlib.sha256(f"{name}\n{secret}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """All keys that count; the newest signs tokens and requests."""

    newest: ApiKey
    older: tuple[ApiKey, ...] = ()

    @property
    def secrets(self) -> Mapping[str, str]:
        """The secret of each key, by its name."""
        return {key.name: key.secret for key in (self.newest, *self.older)}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client of one server needs: its keys, and the CAs (PEM) that sign its certificate, if they are private."""

    keys: ApiKeys
    ca: str = ""
