"""Which LiveKit servers are configured: that of the settings, called `default`, and one per LiveKitServer.

It outlives the terms of a replica, since every replica verifies webhooks. What has the credentials of a server is a
Secret; as long as it cannot be read, the keys that were read before count. Neighbors: `triggers.server_reader` reads
objects and Secrets into it, `backends.server_secrets` understands a Secret, `app.pollers` follows it for a term,
`app.endpoints` verifies webhooks with its keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from urllib.parse import urlsplit

from controller.api.conditions import ConditionReason
from controller.api.livekitserver import Drain, LiveKitServer, LiveKitServerSpec
from controller.api.names import LIVEKIT_SERVER
from controller.clients.livekit_keys import Credentials
from controller.facts.server import Trouble
from controller.rules.paused import is_paused
from controller.views.cache import following
from controller.views.lost_fields import LostFields


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """A server that can be asked. `url` is that of its API, with an HTTP scheme; `is_leaving`: it is being deleted.

    `noted_url` and `noted_public_url` are where it was asked last, as the status of its object says; empty if that says
    nothing yet, None where nothing will: for the server of the settings, and where the installed CRD has no such field.
    """

    name: str
    url: str
    public_url: str
    credentials: Credentials
    labels: Mapping[str, str] = field(default_factory=dict)
    max_rooms: int = 0
    is_cordoned: bool = False
    drain: Drain | None = None
    is_leaving: bool = False
    is_paused: bool = False
    noted_url: str | None = None
    noted_public_url: str = ""

    @property
    def is_noted(self) -> bool:
        """Whether a restart would find its address in the status, or no status will have it."""
        return self.noted_url in {None, self.url}

    def where_it_was(self) -> ServerConfig:
        """The same server at the address that its status says."""
        if self.is_noted or not self.noted_url:
            return self
        public_url = self.noted_public_url or re.sub(r"^http", "ws", self.noted_url)
        return replace(self, url=self.noted_url, public_url=public_url)

    def as_in(self, newer: ServerConfig) -> ServerConfig:
        """The same server, at the same address and with the same credentials, with all else that is configured now.

        It takes no new room."""
        return replace(
            self,
            labels=newer.labels,
            max_rooms=newer.max_rooms,
            is_cordoned=True,
            drain=newer.drain,
            is_leaving=newer.is_leaving,
            is_paused=newer.is_paused,
            noted_url=newer.noted_url,
            noted_public_url=newer.noted_public_url,
        )


class ServerConfigs:
    """The configured servers by name. A LiveKitServer called `default` replaces the server of the settings.

    `lost_fields` says whether a status can hold an address: no server waits for a note that the API server drops.
    """

    def __init__(self, of_settings: ServerConfig, lost_fields: LostFields) -> None:
        self._of_settings = of_settings
        self._lost_fields = lost_fields
        self._configs: dict[str, ServerConfig] = {of_settings.name: of_settings}
        self._credentials: dict[str, Credentials] = {}
        # Those of the address that the status still says, where they were replaced together with the URL.
        self._before: dict[str, Credentials] = {}
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

        A server that is asked at another address than its object says may sign with the credentials of before, which
        belong to that address, and with those that its Secret has now.
        """
        names: dict[str, frozenset[str]] = {}
        for config in self:
            names[config.url] = names.get(config.url, frozenset()) | {config.name}
        found: dict[str, dict[str, frozenset[str]]] = {}
        for config in self:
            owned = names[config.url] | names.get(config.noted_url or "", frozenset())
            for credentials in self._all_of(config):
                for name, secret in credentials.keys.secrets.items():
                    owners = found.setdefault(name, {})
                    owners[secret] = owners.get(secret, frozenset()) | owned
        return found

    def _all_of(self, config: ServerConfig) -> Iterator[Credentials]:
        yield config.credentials
        if config.name != self._of_settings.name:
            for others in (self._credentials, self._before):
                if config.name in others:
                    yield others[config.name]

    @property
    def credentials_of_settings(self) -> Credentials:
        """Those of a LiveKitServer that names no Secret."""
        return Credentials(self._of_settings.credentials.keys)

    def keep(self, server: LiveKitServer, found: Credentials | None, problem: Trouble | None = None) -> None:
        """Store a LiveKitServer with its credentials. Without them, those that it had before count.

        A server whose URL cannot be used is asked on at its last one, if there was one: calls may be on it. It keeps
        its credentials for the next URL. Under the name of the server of the settings, that one is asked instead.
        """
        name = server.metadata.name
        self._objects.add(name)
        if found is not None:
            self._credentials[name] = found
        counted, misfit = self._credentials.get(name), url_trouble(server.spec) or self._other_url(server)
        config = config_of(server, counted) if counted is not None else None
        if config is not None and not config.noted_url and self._lost_fields.has(LIVEKIT_SERVER, "url"):
            config = replace(config, noted_url=None)
        if name == self._of_settings.name:
            config = self._as_default(config, misfit)
        elif misfit is not None and config is not None:
            config = self._as_before(config)
        self._keep_before(name, config)
        self._store(name, config, misfit or problem)

    def _keep_before(self, name: str, config: ServerConfig | None) -> None:
        """Remember the credentials of the address that the status says, until that is the one of the spec."""
        was = self._configs.get(name)
        if config is None or config.is_noted or not config.noted_url:
            self._before.pop(name, None)
        elif was is not None and was.credentials != config.credentials:
            self._before.setdefault(name, was.credentials)

    def _as_default(self, config: ServerConfig | None, misfit: Trouble | None) -> ServerConfig | None:
        if misfit is not None:
            return self._of_settings
        return replace(config, url=self._of_settings.url, noted_url=None) if config is not None else None

    def _as_before(self, config: ServerConfig) -> ServerConfig | None:
        """The server where it was last, if its URL cannot be used now."""
        before = self._configs.get(config.name)
        if before is None and config.noted_url:
            before = config.where_it_was()
        return before.as_in(config) if before is not None else None

    def hold(self, name: str, problem: Trouble) -> None:
        """There is a LiveKitServer that cannot be read. What was read of it before counts; without that, it is not
        asked, and the server of the settings does not stand in for it."""
        if name not in self._objects:
            self._objects.add(name)
            self._store(name, None, problem)

    def drop(self, name: str) -> None:
        """The LiveKitServer is gone."""
        self._objects.discard(name)
        for known in (self._problems, self._configs, self._credentials, self._before):
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
        is_paused=is_paused(server.metadata),
        noted_url=server.status.url or "",
        noted_public_url=server.status.public_url or "",
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
