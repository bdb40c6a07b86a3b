"""The line of the log that a replica begins with: which program this is, where it works, and how it is set up.

`app.life` writes it as soon as it knows the API server. It holds no secret: the URL of Redis has lost its user and
password, and secret settings are left out.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr

from controller.settings import Settings
from controller.version import VERSION

log = structlog.get_logger(__name__)

# What the line has under a name of its own.
_TOLD: Final = frozenset({"cluster_id", "watch_namespaces", "livekit_url", "redis_url"})


def tell_of_start(settings: Settings, api_server: str) -> None:
    """Write the line."""
    log.info(
        "roomkeeper operator starts",
        version=VERSION,
        cluster=settings.cluster_id,
        namespaces=", ".join(settings.namespaces) or "all",
        kubernetes=api_server,
        livekit=settings.livekit_url,
        redis=without_user(settings.redis_url),
        settings=changed_settings(settings),
    )


def changed_settings(settings: Settings) -> dict[str, Any]:
    """The settings that differ from their defaults, without secrets."""
    changed: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        if name in _TOLD or isinstance(value, SecretStr) or value == field.get_default(call_default_factory=True):
            continue
        changed[name] = value if isinstance(value, bool | int | float) else str(value)
    return changed


def without_user(url: str) -> str:
    """The URL without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
