"""The API keys of one LiveKit server, in order: the newest signs, and all of them verify.

A key is replaced without a gap: for a while LiveKit and Roomkeeper know both, whichever of them signs. Neighbors:
`app.wiring` makes them from the settings, `act.tokens` signs, `triggers.webhook_signature` verifies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One API key, by its name, with its secret."""

    name: str
    secret: str = field(repr=False)


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
