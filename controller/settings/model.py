"""The settings of the operator: their names, bounds, defaults and descriptions.

docs/reference/settings.md is made from this module. A check of two settings together is a validator here. `load` makes
one sentence of each error.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from controller.settings.redis_address import (
    AddressError,
    RedisAddress,
    TlsOptions,
    parse_address,
    secrets_in,
    with_tls_files,
)

PREFIX = "ROOMKEEPER_"

Port = Annotated[int, Field(ge=0, le=65535)]

REDIS_TLS_FILES: Final = {"redis_ca_file": "ca_file", "redis_cert_file": "cert_file", "redis_key_file": "key_file"}
"""The settings that name a file for TLS with Redis, and what each is in TlsOptions."""

LIVEKIT_TLS_FILES: Final = {
    "livekit_ca_file": "ca_file",
    "livekit_cert_file": "cert_file",
    "livekit_key_file": "key_file",
}
"""The same for LiveKit."""

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Settings(BaseSettings):
    """What the operator needs to know before it starts."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    livekit_url: str = Field(description="URL of the LiveKit server: ws://, wss://, http:// or https://HOST:PORT")
    livekit_public_url: str = Field(
        default="", description="URL of LiveKit for participants; empty: the same as livekit-url"
    )
    livekit_api_key: str = Field(description="API key of LiveKit")
    livekit_api_secret: SecretStr = Field(description="API secret of LiveKit, at least 32 characters")
    livekit_ca_file: Path | None = Field(
        default=None, description="File with the CAs (PEM) that sign LiveKit's certificate; empty: those of the system"
    )
    livekit_cert_file: Path | None = Field(
        default=None, description="File with the client certificate (PEM) that LiveKit, or a proxy before it, asks for"
    )
    livekit_key_file: Path | None = Field(
        default=None, description="File with the private key (PEM) of that certificate; empty: it is in its file"
    )
    livekit_timeout_seconds: float = Field(
        default=4.0, ge=1, le=24, description="After how many seconds a request to LiveKit is given up"
    )
    livekit_old_api_key: str = Field(
        default="", description="API key that LiveKit used before: its webhooks are accepted too, and it signs nothing"
    )
    livekit_old_api_secret: SecretStr = Field(default=SecretStr(""), description="API secret of livekit-old-api-key")
    redis_url: str = Field(
        description="redis://HOST:PORT/DB, redis+sentinel://HOST,…/NAME/DB or redis+cluster://HOST,…; rediss…: TLS"
    )
    redis_ca_file: Path | None = Field(
        default=None, description="File with the CAs (PEM) that sign Redis's certificate; empty: those of the system"
    )
    redis_cert_file: Path | None = Field(
        default=None, description="File with the client certificate (PEM) that Redis asks for"
    )
    redis_key_file: Path | None = Field(
        default=None, description="File with the private key (PEM) of the client certificate; empty: it is in its file"
    )
    cluster_id: str = Field(
        default="default",
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
        description="Name of this cluster in Redis keys and LiveKit marks; no two clusters may share one",
    )
    namespace: str = Field(
        default="roomkeeper-system", description="The operator's own namespace: its Lease lives there"
    )
    lease_name: str = Field(
        default="roomkeeper-shard-0",
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$",
        description="Name of the Lease; the replicas of one installation share it, and no two installations do",
    )
    watch_namespaces: str = Field(
        default="", description="Namespaces to serve, separated by commas; empty: all of the cluster"
    )
    webhook_host: str = Field(default="0.0.0.0", description="Address to listen on for LiveKit's webhooks")  # noqa: S104
    webhook_port: Port = Field(default=8080, description="Port to listen on for LiveKit's webhooks (/livekit/webhook)")
    metrics_host: str = Field(default="0.0.0.0", description="Address of /metrics, /livez and /readyz")  # noqa: S104
    metrics_port: Port = Field(default=9090, description="Port of /metrics, /livez and /readyz")
    poll_seconds: float = Field(
        default=2.0, ge=0.2, le=60, description="Interval of the bulk ListRooms per LiveKit server"
    )
    heartbeat_seconds: float = Field(
        default=30.0, ge=0.5, le=600, description="Interval at which gateways beat for their users"
    )
    heartbeat_misses: int = Field(
        default=3, ge=2, le=20, description="Beats in a row that must be missing before a user counts as silent"
    )
    heartbeat_decides: Literal["Together", "Alone"] = Field(
        default="Together",
        description="Together: a silent user is lost unless LiveKit reports media; Alone: a silent user is always lost",
    )
    legacy_flags: bool = Field(
        default=True,
        description="Serve older clients: read their flags in Redis every 500 ms, and write force-disconnect for them",
    )
    resync_seconds: float = Field(
        default=300.0,
        ge=5,
        le=86400,
        description="Interval of our own LIST against deletions that the watch missed",
    )
    lease_seconds: float = Field(
        default=15.0,
        ge=10,
        le=60,
        description="How long the lease holds without being renewed (renewed every fifth of it)",
    )
    max_finished_per_namespace: int = Field(
        default=2000,
        ge=1,
        le=1_000_000,
        description="Finished Matches kept per namespace; beyond that the oldest are deleted before their TTL",
    )
    drain_calls_per_second: float = Field(
        default=20.0,
        gt=0,
        le=1000,
        description="Calls per second that end while LiveKit servers are drained with `maintenance` or `emergency`",
    )
    concurrency: int = Field(default=64, ge=1, le=1024, description="Reconciles at the same time")
    stop_message: str = Field(
        default="",
        max_length=256,
        description="Sentence that the users in calls receive when the operator stops: for a stop of the whole "
        "service. Empty: they receive none, since calls go on",
    )
    stop_seconds: float = Field(
        default=30.0, ge=0, le=600, description="How long running reconciles may take after SIGTERM"
    )
    release_seconds: float = Field(
        default=30.0,
        ge=1,
        le=86400,
        description="How long a deletion waits for LiveKit or Redis while it does not answer; then the finalizer is "
        "removed, and what is left is cleaned up when the backend answers again",
    )
    sweep: bool = Field(
        default=True,
        description="Clean up at intervals what calls, users and rooms have left behind in Redis and on LiveKit",
    )
    sweep_seconds: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="Interval of the light sweep: Matches and Rooms that went without the operator, reservations",
    )
    sweep_deep_seconds: float = Field(
        default=3600.0,
        ge=1,
        le=7 * 86400,
        description="Pause between two deep sweeps, which look at all keys in Redis",
    )
    sweep_max_age_seconds: int = Field(
        default=86400,
        ge=60,
        le=90 * 86400,
        description="How old a key in Redis is at least that a deep sweep cleans up because nothing names it",
    )
    sweep_batch: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="About how many keys a deep sweep looks at in one step, ten times a second",
    )
    sweep_notices: bool = Field(
        default=True, description="Whether a user whom a deep sweep puts right gets a notice on notify:<id>"
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="json: one line per record; console: for reading in a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged"
    )
    trace_endpoint: str = Field(
        default="",
        description="URL of a receiver of OpenTelemetry's OTLP over HTTP, http://HOST:4318, that gets a trace of each "
        "Match; empty: none, unless OpenTelemetry's own variables name one",
    )
    trace_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Which part of the Matches is traced; 1: all, or as OTEL_TRACES_SAMPLER says",
    )
    record_dir: Path | None = Field(
        default=None,
        description="Directory for dumps of what the planner saw and decided, for `roomkeeper replay`",
    )

    _redis_url_path: Path | None = PrivateAttr(default=None)
    """The file that holds the URL of Redis, if one does. `load` sets it."""

    @field_validator(
        *("livekit_url", "livekit_api_key", "livekit_api_secret", "livekit_old_api_key", "livekit_old_api_secret"),
        "redis_url",
        mode="before",
    )
    @classmethod
    def _exact(cls, value: object) -> object:
        """Refuse a newline or a blank around the value: a server would refuse it later, without the reason."""
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(text, str):
            return value
        if not text:
            raise ValueError("is empty")
        if text.endswith(("\n", "\r")):
            raise ValueError("ends in a newline, which is not part of the value")
        if text != text.strip():
            raise ValueError("begins or ends with white space, which is not part of the value")
        return value

    @field_validator("namespace")
    @classmethod
    def _own_namespace(cls, value: str) -> str:
        return _namespace(value)

    @field_validator("watch_namespaces")
    @classmethod
    def _watched_namespaces(cls, value: str) -> str:
        return ",".join(_namespace(name) for name in _split(value))

    @field_validator("livekit_url", "livekit_public_url")
    @classmethod
    def _livekit_url(cls, value: str) -> str:
        return _url(value, {"ws", "wss", "http", "https"}, "ws://HOST:PORT, wss://…, http://… or https://…").rstrip("/")

    @field_validator("trace_endpoint")
    @classmethod
    def _trace_url(cls, value: str) -> str:
        return _url(value, {"http", "https"}, "http://HOST:4318 or https://…") if value else value

    @model_validator(mode="after")
    def _livekit_files_fit(self) -> Settings:
        """The files of TLS are for a URL with TLS."""
        is_secure = urlsplit(self.livekit_url).scheme in {"wss", "https"}
        named = [field for field in LIVEKIT_TLS_FILES if getattr(self, field) is not None]
        if named and not is_secure:
            raise ValueError(f"{variable(named[0])} is set, but the LiveKit URL is one without TLS; use wss://")
        if self.livekit_key_file is not None and self.livekit_cert_file is None:
            raise ValueError(f"{variable('livekit_key_file')} is set without {variable('livekit_cert_file')}; set both")
        return self

    @model_validator(mode="after")
    def _lease_outlasts_requests(self) -> Settings:
        """Two requests to LiveKit, one after the other, fit between two renewals and the end of the lease."""
        least = 2.5 * self.livekit_timeout_seconds
        if self.lease_seconds < least:
            set_to = f"{variable('livekit_timeout_seconds')} is {self.livekit_timeout_seconds:g}"
            remedy = f"set {variable('lease_seconds')} to {least:g} or more"
            raise ValueError(f"{set_to}, and the lease must outlast two such requests; {remedy}")
        return self

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        if value:
            parse_address(value)
        return value

    @model_validator(mode="after")
    def _redis_files_fit(self) -> Settings:
        """The files of TLS are for a URL with TLS that does not name them itself."""
        if misfit := self._misfit(parse_address(self.redis_url)):
            raise ValueError(misfit)
        if self.redis_key_file is not None and self.redis_cert_file is None:
            raise ValueError(f"{variable('redis_key_file')} is set without {variable('redis_cert_file')}; set both")
        return self

    def _misfit(self, address: RedisAddress) -> str:
        """Why the address does not go together with the files of TLS; empty if it does."""
        tls = address.access.tls
        for field, option in REDIS_TLS_FILES.items():
            if getattr(self, field) is None:
                continue
            if tls is None:
                return f"{variable(field)} is set, but the Redis URL is one without TLS; use rediss://"
            if getattr(tls, option):
                return f"{variable(field)} is set, and the Redis URL names such a file too; give one of them"
        return ""

    @field_validator("livekit_api_secret", "livekit_old_api_secret")
    @classmethod
    def _api_secret(cls, value: SecretStr) -> SecretStr:
        length = len(value.get_secret_value())
        if length < 32:
            raise ValueError(f"is {length} characters long; LiveKit needs at least 32")
        return value

    @model_validator(mode="after")
    def _old_key_is_whole(self) -> Settings:
        key, secret = self.livekit_old_api_key, self.livekit_old_api_secret.get_secret_value()
        names = f"{variable('livekit_old_api_key')} and {variable('livekit_old_api_secret')}"
        if bool(key) != bool(secret):
            raise ValueError(f"of {names} only one is set; set both, or neither")
        if key and key == self.livekit_api_key:
            raise ValueError(f"{names} are those of {variable('livekit_api_key')}; set them to the key of before")
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Settings:
        if self.webhook_port == self.metrics_port != 0 and self.webhook_host == self.metrics_host:
            raise ValueError(f"webhook_port and metrics_port are both {self.webhook_port}; they need different ports")
        return self

    @property
    def public_url(self) -> str:
        """The URL that people connect to, with a WebSocket scheme."""
        url = self.livekit_public_url or self.livekit_url
        return re.sub(r"^http", "ws", url)

    @property
    def api_url(self) -> str:
        """The URL of LiveKit's API, with an HTTP scheme."""
        return re.sub(r"^ws", "http", self.livekit_url)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces to serve; empty for all."""
        return _split(self.watch_namespaces)

    @property
    def lease(self) -> str:
        """Namespace and name of the Lease. No two installations in one cluster have the same."""
        return f"{self.namespace}/{self.lease_name}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text of the operator may repeat: LiveKit's API secrets, and the passwords in the URL of Redis."""
        own = (self.livekit_api_secret.get_secret_value(), self.livekit_old_api_secret.get_secret_value())
        return (*filter(None, own), *secrets_in(self.redis_url))

    def livekit_tls(self) -> TlsOptions:
        """The files of TLS with LiveKit."""
        given = {option: getattr(self, field) for field, option in LIVEKIT_TLS_FILES.items()}
        paths = {option: str(path) for option, path in given.items() if path is not None}
        return replace(TlsOptions(), **paths)  # type: ignore[arg-type]  # all of them are texts

    def redis_url_now(self) -> str:
        """The URL of Redis; its file, if the URL is in one, is read again. Raises OSError, and ValueError for text
        that is not UTF-8."""
        return self.redis_url if self._redis_url_path is None else self._redis_url_path.read_text(encoding="utf-8")

    def redis_address(self, url: str | None = None) -> RedisAddress:
        """The address that the URL of Redis names: that of now, unless one is given.

        Raises AddressError if the URL is wrong or does not fit the files of TLS, OSError if its file cannot be read.
        """
        address = parse_address(self.redis_url_now() if url is None else url)
        if misfit := self._misfit(address):
            raise AddressError(f"does not fit the other settings: {misfit}")
        given = {option: getattr(self, field) for field, option in REDIS_TLS_FILES.items()}
        return with_tls_files(address, **{option: str(path) for option, path in given.items() if path is not None})


def variable(field: str) -> str:
    """The environment variable of a field: `redis_url` → `ROOMKEEPER_REDIS_URL`."""
    return PREFIX + field.upper()


def _split(names: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in names.split(",") if (name := part.strip())))


def _namespace(name: str) -> str:
    if not _NAMESPACE.fullmatch(name):
        raise ValueError(
            f'"{name}" cannot be the name of a namespace: expected lower-case letters, digits and dashes, '
            "a letter or a digit at both ends, and at most 63 characters"
        )
    return name


def _url(value: str, schemes: set[str], expected: str) -> str:
    if not value:
        return value
    parts = urlsplit(value)
    # Only the scheme is repeated: the rest may hold a password.
    if parts.scheme not in schemes:
        found = f'scheme "{parts.scheme}"' if parts.scheme and "://" in value else "no scheme"
        raise ValueError(f"has {found}; expected {expected}")
    if not parts.hostname:
        raise ValueError(f"names no host; expected {expected}")
    try:
        _ = parts.port
    except ValueError:
        raise ValueError(f"names no port between 0 and 65535; expected {expected}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"holds a user or a password, which LiveKit does not ask for; expected {expected}")
    if parts.query or parts.fragment:
        raise ValueError(f"has something after a ? or a #, which no request would have; expected {expected}")
    return value
