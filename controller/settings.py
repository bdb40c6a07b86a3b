"""All settings of the operator: environment and flags through pydantic-settings, checked once at start.

Each is `ROOMKEEPER_<NAME>` in the environment and `--<name>` on the command line (which wins). A wrong value, a
missing one and an unknown `ROOMKEEPER_…` name all stop the operator with one sentence per setting.
docs/reference/settings.md is made from this module.

Kubernetes puts variables into a pod for every Service of its namespace ("service links"). For a Service whose name
begins with `roomkeeper` they begin with our prefix, so they are recognized and ignored here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from controller.errors import SettingsError

PREFIX = "ROOMKEEPER_"

# Names with our prefix that are no settings of the operator: those of `sandbox up` and of the tests.
_NOT_OURS = re.compile(r"ROOMKEEPER_(WEBHOOK_URL|METRICS_URL|TEST_.*)")

# What Kubernetes calls the variables of a Service, after the name of the Service; <SERVICE>_PORT holds an address too.
_SERVICE_NAMES = re.compile(
    r"ROOMKEEPER(_[A-Z0-9_]+?)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"(?P<service>ROOMKEEPER(_[A-Z0-9_]+)?)_PORT")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
_NO_LINKS = "`enableServiceLinks: false` in the pod's spec keeps it away"

Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseSettings):
    """What the operator needs to know before it starts."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, validate_default=False
    )

    livekit_url: str = Field(description="URL of the LiveKit server: ws://, wss://, http:// or https://HOST:PORT")
    livekit_public_url: str = Field(
        default="", description="URL of LiveKit for participants; empty: the same as livekit-url"
    )
    livekit_api_key: str = Field(min_length=1, description="API key of LiveKit")
    livekit_api_secret: SecretStr = Field(description="API secret of LiveKit, at least 32 characters")
    redis_url: str = Field(description="redis://HOST:PORT/DB or rediss://USER:PASSWORD@HOST:PORT/DB")
    cluster_id: str = Field(
        default="default",
        pattern=r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
        description="Name of this cluster in Redis keys and LiveKit marks; no two clusters may share one",
    )
    namespace: str = Field(
        default="roomkeeper-system",
        min_length=1,
        description="The operator's own namespace: its Lease lives there",
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
        # Two requests to LiveKit, one after the other, must fit between two renewals and the end of the lease.
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
    concurrency: int = Field(default=64, ge=1, le=1024, description="Reconciles at the same time")
    stop_seconds: float = Field(
        default=30.0, ge=0, le=600, description="How long running reconciles may take after SIGTERM"
    )
    log_format: Literal["json", "console"] = Field(
        default="json", description="json: one line per record; console: for reading in a terminal"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged"
    )
    record_dir: Path | None = Field(
        default=None,
        description="Directory for dumps of what the planner saw and decided, for `roomkeeper replay`",
    )

    @field_validator("livekit_url", "livekit_public_url")
    @classmethod
    def _livekit_url(cls, value: str) -> str:
        return _url(value, {"ws", "wss", "http", "https"}, "ws://HOST:PORT, wss://…, http://… or https://…")

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        return _url(value, {"redis", "rediss", "unix"}, "redis://HOST:PORT/DB or rediss://…")

    @field_validator("livekit_api_secret")
    @classmethod
    def _api_secret(cls, value: SecretStr) -> SecretStr:
        length = len(value.get_secret_value())
        if length < 32:
            raise ValueError(f"is {length} characters long; LiveKit needs at least 32")
        return value

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
        return tuple(name for part in self.watch_namespaces.split(",") if (name := part.strip()))


@dataclass(frozen=True, slots=True)
class ServiceLink:
    """A variable with the name of a setting, which Kubernetes has set to the address of a Service."""

    field: str
    service: str

    @property
    def sentence(self) -> str:
        """What it means for the setting."""
        return (
            f"{variable(self.field)} holds the address of the Service {self.service}, set by Kubernetes: "
            f"it is ignored and the setting keeps its default; {_NO_LINKS}"
        )


def hidden_by_services(environ: Mapping[str, str]) -> list[ServiceLink]:
    """Settings whose variable Kubernetes has set for a Service, so that they keep their defaults.

    The other variables of the same Service prove it: its host and its port make the address.
    """
    return [
        ServiceLink(field, _service_of(match["service"]))
        for field in Settings.model_fields
        if (match := _SERVICE_PORT.fullmatch(variable(field))) and _is_injected(match["service"], environ)
    ]


def load_settings(flags: Mapping[str, Any]) -> Settings:
    """Settings from `flags` (by field name, only those that were given) over the environment.

    Raises SettingsError with one line per wrong, missing or unknown setting.
    """
    problems = list(_unknown_names(os.environ))
    defaults = {link.field: Settings.model_fields[link.field].get_default() for link in hidden_by_services(os.environ)}
    settings: Settings | None = None
    try:
        settings = Settings(**{**defaults, **flags})
    except ValidationError as error:
        problems.extend(_sentence(details) for details in error.errors())
    if settings is None or problems:
        raise SettingsError(_report(problems))
    return settings


def variable(field: str) -> str:
    """The environment variable of a field: `redis_url` → `ROOMKEEPER_REDIS_URL`."""
    return PREFIX + field.upper()


def _unknown_names(environ: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    known = {variable(field) for field in Settings.model_fields}
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or _NOT_OURS.fullmatch(name):
            continue
        if not _is_of_a_service(name, environ[name]):
            yield name, "is not a setting of the operator; `roomkeeper operator --help` lists them"


def _is_of_a_service(name: str, value: str) -> bool:
    """Whether the variable is one that Kubernetes sets for a Service."""
    if _SERVICE_NAMES.fullmatch(name):
        return True
    return _SERVICE_PORT.fullmatch(name) is not None and _SERVICE_ADDRESS.fullmatch(value) is not None


def _is_injected(service: str, environ: Mapping[str, str]) -> bool:
    """Whether <service>_PORT is the address that Kubernetes makes of the Service's host and port."""
    host, port = (environ.get(f"{service}_SERVICE_{what}", "") for what in ("HOST", "PORT"))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _, _, found = environ.get(f"{service}_PORT", "").partition("://")
    return bool(host and port) and found == address


def _service_of(service: str) -> str:
    """The name of the Service (Kubernetes writes a dash as an underscore)."""
    return service.lower().replace("_", "-")


def _sentence(details: Any) -> tuple[str, str]:
    if not details["loc"]:
        return "settings", str(details["msg"]).removeprefix("Value error, ")
    field = str(details["loc"][0])
    if details["type"] == "missing":
        return variable(field), f"is not set; it is the {Settings.model_fields[field].description}"
    message = str(details["msg"]).removeprefix("Value error, ")
    shown = "" if "secret" in field or "url" in field else f'"{details["input"]}": '
    match = _SERVICE_PORT.fullmatch(variable(field))
    if match and _SERVICE_ADDRESS.fullmatch(str(details["input"])):
        message += (
            f"; it looks like the address that Kubernetes sets for a Service {_service_of(match['service'])}, but the "
            f"other variables of that Service do not confirm it: set a port number, or {_NO_LINKS}"
        )
    return variable(field), f"{shown}{message}"


def _report(problems: list[tuple[str, str]]) -> str:
    count = f"{len(problems)} settings are wrong" if len(problems) > 1 else "a setting is wrong"
    width = max(len(name) for name, _ in problems)
    lines = [f"  {name:<{width}}   {sentence}" for name, sentence in problems]
    return "\n".join([f"roomkeeper operator: {count}", *lines])


def _url(value: str, schemes: set[str], expected: str) -> str:
    if not value:
        return value
    parts = urlsplit(value)
    # Only the scheme is repeated: the rest may hold a password.
    if parts.scheme not in schemes:
        found = f'scheme "{parts.scheme}"' if parts.scheme and "://" in value else "no scheme"
        raise ValueError(f"has {found}; expected {expected}")
    if not parts.hostname and parts.scheme != "unix":
        raise ValueError(f"names no host; expected {expected}")
    return value
