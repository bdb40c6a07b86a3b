"""The addresses and credentials of a running stack: an object for Python code, and files for other programs.

`D/env` is for people and test harnesses: the administrator's kubeconfig and the addresses. `D/operator.env` contains
all that `roomkeeper operator` needs to run as its ServiceAccount. With `D/endpoints.json` another process can attach
(`load_endpoints`).
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sandbox.directory import is_alive
from sandbox.errors import NotRunningError

OPERATOR_NAMESPACE = "roomkeeper-system"
OPERATOR_ACCOUNT = "roomkeeper"


@dataclass(frozen=True)
class Endpoints:
    """Addresses and credentials of one stack. Its repr shows no secret.

    `redis_url` is the administrator's; `redis_urls` has one for each role of docs/reference/redis-rights.md.
    """

    directory: Path
    kubeconfig: Path
    server: str
    ca: str = field(repr=False)
    admin_token: str = field(repr=False)
    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: str = field(repr=False)
    redis_url: str
    redis_urls: dict[str, str] = field(repr=False)
    webhook_url: str
    metrics_url: str
    cluster_id: str
    operator_env: dict[str, str] = field(repr=False)

    @property
    def livekit_http_url(self) -> str:
        """The URL of LiveKit's API."""
        return self.livekit_url.replace("ws", "http", 1)

    @property
    def operator_url(self) -> str:
        """The URL below which the operator serves /metrics, /livez and /readyz."""
        return self.metrics_url.removesuffix("/metrics")

    @property
    def log_directory(self) -> Path:
        return self.directory / "logs"

    def env(self) -> dict[str, str]:
        """The variables of `D/env`."""
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "ROOMKEEPER_LIVEKIT_URL": self.livekit_url,
            "ROOMKEEPER_LIVEKIT_API_KEY": self.livekit_api_key,
            "ROOMKEEPER_LIVEKIT_API_SECRET": self.livekit_api_secret,
            "ROOMKEEPER_REDIS_URL": self.redis_url,
            "ROOMKEEPER_WEBHOOK_URL": self.webhook_url,
            "ROOMKEEPER_METRICS_URL": self.metrics_url,
            "ROOMKEEPER_CLUSTER_ID": self.cluster_id,
        }

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), default=str, indent=2)


def load_endpoints(directory: Path) -> Endpoints:
    """Attach to the stack that another process runs in `directory`. Raises NotRunningError if there is none."""
    file = directory / "endpoints.json"
    if not is_alive(directory) or not file.exists():
        raise NotRunningError(f"no sandbox is running in {directory}; `roomkeeper sandbox up` starts one")
    fields: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    paths = {name: Path(fields[name]) for name in ("directory", "kubeconfig")}
    return Endpoints(**{**fields, **paths})


def kubeconfig_text(*, server: str, ca_base64: str, user: str, token: str) -> str:
    """A kubeconfig with one cluster, one user and one context."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {"server": server, "certificate-authority-data": ca_base64}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user}}],
        "current-context": "sandbox",
    }
    return yaml.safe_dump(document, sort_keys=False)
