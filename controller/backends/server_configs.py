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
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import Drain, LiveKitServer, LiveKitServerSpec
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.facts.server import Trouble
from controller.settings.tls import are_authorities
from controller.views.cache import following


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A server that can be asked. `url` is that of its API, with an HTTP scheme; `is_leaving`: it is being deleted."""

    name: str
    url: str
    public_url: str
    credentials: Credentials
    labels: Mapping[str, str] = field(default_factory=dict)
    max_rooms: int = 0
    is_cordoned: bool = False
    drain: Drain | None = None
    is_leaving: bool = False


class ServerConfigs:
    """The configured servers by name. A LiveKitServer called `default` replaces the server of the settings."""

    def __init__(self, of_settings: ServerConfig) -> None:
        self._of_settings = of_settings
        self._configs: dict[str, ServerConfig] = {of_settings.name: of_settings}
        self._credentials: dict[str, Credentials] = {}
        self._problems: dict[str, Trouble] = {}
        self._objects: set[str] = set()
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

    def knows(self, name: str) -> bool:
        """Whether credentials of a LiveKitServer of this name were read."""
        return name in self._credentials

    def problem(self, name: str) -> Trouble | None:
        """What is wrong with the URL or the credentials of a server; None if nothing is."""
        return self._problems.get(name)

    def troubles(self) -> Mapping[str, Trouble]:
        """What is wrong with credentials, by the name of the server. One that never had any cannot be asked."""
        return dict(self._problems)

    def signers(self) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """For each API key that counts its secrets, each with the names of its servers: webhooks may be signed with any
        of them, and tell about rooms on these servers alone. What has one URL is one server under several names.
        """
        names: dict[str, frozenset[str]] = {}
        for config in self:
            names[config.url] = names.get(config.url, frozenset()) | {config.name}
        found: dict[str, dict[str, frozenset[str]]] = {}
        for config in self:
            for name, secret in config.credentials.keys.secrets.items():
                owners = found.setdefault(name, {})
                owners[secret] = owners.get(secret, frozenset()) | names[config.url]
        return found

    @property
    def credentials_of_settings(self) -> Credentials:
        """Those of a LiveKitServer that names no Secret."""
        return Credentials(self._of_settings.credentials.keys)

    def keep(self, server: LiveKitServer, found: Credentials | None, problem: Trouble | None = None) -> None:
        """Store a LiveKitServer with its credentials. Without them, those that it had before count.

        A server whose URL cannot be used is not asked; it keeps its credentials for the next URL. Under the name of
        the server of the settings, that one is asked instead: calls may be on it.
        """
        name = server.metadata.name
        self._objects.add(name)
        if found is not None:
            self._credentials[name] = found
        counted, misfit = self._credentials.get(name), url_trouble(server.spec) or self._other_url(server)
        is_default = name == self._of_settings.name
        if misfit is not None:
            config = self._of_settings if is_default else None
        else:
            config = config_of(server, counted) if counted is not None else None
            if config is not None and is_default:
                config = replace(config, url=self._of_settings.url)
        self._store(name, config, misfit or problem)

    def hold(self, name: str, problem: Trouble) -> None:
        """There is a LiveKitServer that cannot be read. What was read of it before counts; without that, it is not
        asked, and the server of the settings does not stand in for it."""
        if name not in self._objects:
            self._objects.add(name)
            self._store(name, None, problem)

    def drop(self, name: str) -> None:
        """The LiveKitServer is gone."""
        self._objects.discard(name)
        for known in (self._problems, self._configs, self._credentials):
            known.pop(name, None)
        if name == self._of_settings.name:
            self._configs[name] = self._of_settings
        self._tell(name)

    def _other_url(self, server: LiveKitServer) -> Trouble | None:
        """Why an object does not replace the server of the settings: rooms that are there would be looked for at
        another address."""
        ours = self._of_settings
        if server.metadata.name != ours.name or _address(api_url(server.spec)) == _address(ours.url):
            return None
        told = (
            f"spec.url is not the address of the server in the operator's settings, {self._of_settings.url}, which a "
            f"LiveKitServer called {self._of_settings.name} replaces; give both the same address, or this one another "
            "name; until then, that of the settings is used alone"
        )
        return Trouble(ConditionReason.WRONG_URL, told)

    def _store(self, name: str, config: ServerConfig | None, trouble: Trouble | None) -> None:
        was = (self._configs.get(name), self._problems.get(name))
        self._problems.pop(name, None)
        if trouble is not None:
            self._problems[name] = trouble
        self._configs.pop(name, None)
        if config is not None:
            self._configs[name] = config
        if was != (config, trouble):
            self._tell(name)

    def _tell(self, name: str) -> None:
        for changed in tuple(self._followers):
            changed(name)


def config_of(server: LiveKitServer, credentials: Credentials) -> ServerConfig:
    """What the object says about the server."""
    spec = server.spec
    return ServerConfig(
        name=server.metadata.name,
        url=api_url(spec),
        public_url=re.sub(r"^http", "ws", spec.public_url or spec.url).rstrip("/"),
        credentials=credentials,
        labels=dict(server.metadata.labels),
        max_rooms=spec.max_rooms,
        is_cordoned=spec.cordoned or server.metadata.deletion_timestamp is not None,
        drain=spec.drain,
        is_leaving=server.metadata.deletion_timestamp is not None,
    )


def api_url(spec: LiveKitServerSpec) -> str:
    """The URL of the server's API. A slash at the end means nothing."""
    return re.sub(r"^ws", "http", spec.url).rstrip("/")


def _address(url: str) -> tuple[str, str, int | None, str]:
    """What a URL leads to, however its host is spelled and whether it names the usual port."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", port, parts.path.rstrip("/")


def url_trouble(spec: LiveKitServerSpec) -> Trouble | None:
    """Why no request can be sent to one of the URLs; None if nothing is wrong. A path is no mistake."""
    for field_name, url in (("url", spec.url), ("publicUrl", spec.public_url)):
        if why := _misfit(url):
            told = f"spec.{field_name} {why}; expected an address such as wss://livekit.example.com"
            return Trouble(ConditionReason.WRONG_URL, told)
    return None


_NOT_IN_HOST = re.compile(r"[\s\\%]")


def _misfit(url: str) -> str:
    # What is wrong is named, and not repeated: it may hold a password.
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        if "[" in parts.netloc:
            IPv6Address(parts.hostname or "")
    except ValueError:
        return "is no valid address"
    if not parts.hostname or _NOT_IN_HOST.search(parts.netloc):
        return "names no host"
    try:
        _ = parts.port
    except ValueError:
        return "names no port between 0 and 65535"
    if parts.username is not None or parts.password is not None:
        return "holds a user or a password, which LiveKit does not ask for"
    return "has something after a ? or a #, which no request would have" if parts.query or parts.fragment else ""


_API_KEY, _API_SECRET, _CA = "apiKey", "apiSecret", "ca.crt"
_OLD_API_KEY, _OLD_API_SECRET = "oldApiKey", "oldApiSecret"
_LEAST_SECRET = 32


def credentials_in(secret_name: str, data: Mapping[str, object]) -> Credentials | Trouble:
    """The credentials in the `data` of a Secret: `apiKey` and `apiSecret`; if they are there, the key of before
    (`oldApiKey`, `oldApiSecret`) and the CAs of the server's certificate (`ca.crt`).
    """
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
    if _CA in texts and not are_authorities(texts[_CA]):
        told = f"the Secret {secret_name} has no certificates in PEM form under {_CA}"
        return Trouble(ConditionReason.CREDENTIALS_INCOMPLETE, told)
    newest = ApiKey(texts[_API_KEY], texts[_API_SECRET])
    older = (ApiKey(texts[_OLD_API_KEY], texts[_OLD_API_SECRET]),) if _OLD_API_KEY in texts else ()
    if any(key.name == newest.name and key != newest for key in older):
        told = (
            f"the Secret {secret_name} has one name under {_API_KEY} and {_OLD_API_KEY} for two secrets; give the new "
            "secret a key of another name, since a token names its key alone"
        )
        return Trouble(ConditionReason.CREDENTIALS_INCOMPLETE, told)
    keys = ApiKeys(newest, tuple(key for key in older if key.name != newest.name))
    return Credentials(keys, texts.get(_CA, ""))


def _text(value: object) -> str:
    """A value of a Secret as text, without the line break that editors leave; empty if it is none."""
    try:
        return base64.b64decode(str(value), validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return ""
