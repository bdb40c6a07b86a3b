"""Which LiveKit servers are configured: that of the settings, called `default`, and one per LiveKitServer.

It outlives the terms of a replica, since every replica verifies webhooks. What has the credentials of a server is a
Secret; as long as it cannot be read, the keys that were read before count. Neighbors: `triggers.server_reader` reads
objects and Secrets into it, `app.pollers` follows it for a term, `app.endpoints` verifies webhooks with its keys.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import Drain, LiveKitServer, LiveKitServerSpec
from controller.clients.livekit_keys import ApiKey, ApiKeys
from controller.facts.server import Trouble
from controller.views.cache import following


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A server that can be asked. `url` is that of its API, with an HTTP scheme."""

    name: str
    url: str
    public_url: str
    keys: ApiKeys
    labels: Mapping[str, str] = field(default_factory=dict)
    max_rooms: int = 0
    is_cordoned: bool = False
    drain: Drain | None = None


class ServerConfigs:
    """The configured servers by name. A LiveKitServer called `default` replaces the server of the settings."""

    def __init__(self, of_settings: ServerConfig) -> None:
        self._of_settings = of_settings
        self._configs: dict[str, ServerConfig] = {of_settings.name: of_settings}
        self._problems: dict[str, Trouble] = {}
        self._followers: list[Callable[[str], None]] = []

    def follow(self, changed: Callable[[str], None]) -> Callable[[], None]:
        """Call `changed` with the name of each server that is new, has changed or is gone. Returns a function that
        ends this."""
        return following(self._followers, changed)

    def __iter__(self) -> Iterator[ServerConfig]:
        return iter(tuple(self._configs.values()))

    def get(self, name: str) -> ServerConfig | None:
        """The server of this name, if it can be asked."""
        return self._configs.get(name)

    def problem(self, name: str) -> Trouble | None:
        """What is wrong with the credentials of a server; None if nothing is."""
        return self._problems.get(name)

    def troubles(self) -> Mapping[str, Trouble]:
        """What is wrong with credentials, by the name of the server. One that never had any cannot be asked."""
        return dict(self._problems)

    def signers(self) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """For each API key that counts its secrets, each with the names of its servers: webhooks may be signed with any
        of them, and tell about rooms on these servers alone.
        """
        found: dict[str, dict[str, frozenset[str]]] = {}
        for config in self:
            for name, secret in config.keys.secrets.items():
                owners = found.setdefault(name, {})
                owners[secret] = owners.get(secret, frozenset()) | {config.name}
        return found

    @property
    def keys_of_settings(self) -> ApiKeys:
        """The credentials of a LiveKitServer that names no Secret."""
        return self._of_settings.keys

    def keep(self, server: LiveKitServer, keys: ApiKeys | None, problem: Trouble | None = None) -> None:
        """Store a LiveKitServer. Without `keys`, those that it had before count."""
        name = server.metadata.name
        before = self._configs.get(name) if self._is_of_object(name) else None
        counted = keys or (before.keys if before is not None else None)
        was = (before, self._problems.get(name))
        if problem is not None:
            self._problems[name] = problem
        else:
            self._problems.pop(name, None)
        if counted is not None:
            self._configs[name] = config_of(server, counted)
        else:
            self._configs.pop(name, None)
        if was != (self._configs.get(name), problem):
            self._tell(name)

    def drop(self, name: str) -> None:
        """The LiveKitServer is gone."""
        self._problems.pop(name, None)
        self._configs.pop(name, None)
        if name == self._of_settings.name:
            self._configs[name] = self._of_settings
        self._tell(name)

    def _is_of_object(self, name: str) -> bool:
        return self._configs.get(name) is not self._of_settings

    def _tell(self, name: str) -> None:
        for changed in tuple(self._followers):
            changed(name)


def config_of(server: LiveKitServer, keys: ApiKeys) -> ServerConfig:
    """What the object says about the server."""
    spec = server.spec
    return ServerConfig(
        name=server.metadata.name,
        url=api_url(spec),
        public_url=re.sub(r"^http", "ws", spec.public_url or spec.url).rstrip("/"),
        keys=keys,
        labels=dict(server.metadata.labels),
        max_rooms=spec.max_rooms,
        is_cordoned=spec.cordoned or server.metadata.deletion_timestamp is not None,
        drain=spec.drain,
    )


def api_url(spec: LiveKitServerSpec) -> str:
    """The URL of the server's API. A slash at the end means nothing."""
    return re.sub(r"^ws", "http", spec.url).rstrip("/")


_API_KEY, _API_SECRET = "apiKey", "apiSecret"
_OLD_API_KEY, _OLD_API_SECRET = "oldApiKey", "oldApiSecret"
_LEAST_SECRET = 32


def keys_in(secret_name: str, data: Mapping[str, object]) -> ApiKeys | Trouble:
    """The API keys in the `data` of a Secret: `apiKey` and `apiSecret`, and those of before, if there are any."""
    texts = {name: text for name, value in data.items() if (text := _text(value))}
    missing = [name for name in (_API_KEY, _API_SECRET) if name not in texts]
    if missing:
        found = ", ".join(sorted(data)) or "none"
        return Trouble(
            ConditionReason.CREDENTIALS_INCOMPLETE,
            f"the Secret {secret_name} has no text under {' and '.join(missing)}; it has the keys {found}",
        )
    if (_OLD_API_KEY in texts) is not (_OLD_API_SECRET in texts):
        return Trouble(
            ConditionReason.CREDENTIALS_INCOMPLETE,
            f"the Secret {secret_name} has one of {_OLD_API_KEY} and {_OLD_API_SECRET}; give both, or none of them",
        )
    if any(len(texts[name]) < _LEAST_SECRET for name in (_API_SECRET, _OLD_API_SECRET) if name in texts):
        return Trouble(
            ConditionReason.CREDENTIALS_INCOMPLETE,
            f"the Secret {secret_name} has an API secret of less than {_LEAST_SECRET} characters, which can be guessed",
        )
    newest = ApiKey(texts[_API_KEY], texts[_API_SECRET])
    older = (ApiKey(texts[_OLD_API_KEY], texts[_OLD_API_SECRET]),) if _OLD_API_KEY in texts else ()
    return ApiKeys(newest, tuple(key for key in older if key.name != newest.name))


def _text(value: object) -> str:
    """A value of a Secret as text, without the line break that editors leave; empty if it is none."""
    try:
        return base64.b64decode(str(value), validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return ""
