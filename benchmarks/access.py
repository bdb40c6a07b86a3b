"""The addresses of the stack's programs and the credentials for them. Every child process receives them first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml

from controller.api.names import API_VERSION
from sandbox.endpoints import Endpoints
from sandbox.trust import ssl_context

Body = dict[str, Any]

NAMESPACE = "benchmark"
_TIMEOUT = aiohttp.ClientTimeout(total=60.0)


@dataclasses.dataclass(frozen=True)
class Access:
    """Addresses and credentials. `operator_token` is the ServiceAccount's: every subject works with its RBAC."""

    server: str
    ca: str = dataclasses.field(repr=False)
    admin_token: str = dataclasses.field(repr=False)
    operator_token: str = dataclasses.field(repr=False)
    livekit_url: str
    livekit_http_url: str
    livekit_api_key: str
    livekit_api_secret: str = dataclasses.field(repr=False)
    redis_url: str
    cluster_id: str
    namespace: str = NAMESPACE

    @classmethod
    def of(cls, endpoints: Endpoints) -> Access:
        """Access to a running stack."""
        kubeconfig = yaml.safe_load(Path(endpoints.operator_env["KUBECONFIG"]).read_text(encoding="utf-8"))
        return cls(
            server=endpoints.server,
            ca=endpoints.ca,
            admin_token=endpoints.admin_token,
            operator_token=kubeconfig["users"][0]["user"]["token"],
            livekit_url=endpoints.livekit_url,
            livekit_http_url=endpoints.livekit_http_url,
            livekit_api_key=endpoints.livekit_api_key,
            livekit_api_secret=endpoints.livekit_api_secret,
            redis_url=endpoints.redis_url,
            cluster_id=endpoints.cluster_id,
        )

    def to_json(self) -> Body:
        """A message for a child process."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, message: Body) -> Access:
        """The inverse."""
        return cls(**message)

    def collection(self, plural: str) -> str:
        """URL of one of our kinds' collections in the benchmark's namespace."""
        return f"{self.server}/apis/{API_VERSION}/namespaces/{self.namespace}/{plural}"

    def core(self, plural: str) -> str:
        """URL of a collection of the core group in the benchmark's namespace."""
        return f"{self.server}/api/v1/namespaces/{self.namespace}/{plural}"


def kubernetes_session(access: Access, token: str) -> aiohttp.ClientSession:
    """A session for the API server. Build it inside a running loop, and close it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=ssl_context(access.ca), limit=100, keepalive_timeout=60.0),
        headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
        timeout=_TIMEOUT,
    )


class CallFailed(Exception):
    """A program refused a request that the benchmark needs."""


async def call(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: Mapping[str, Any] | list[Body] | None = None,
    content_type: str = "application/json",
) -> Body:
    """Send one request with JSON both ways, without retries. Raises CallFailed for a refusal."""
    data = None if body is None else orjson.dumps(body)
    async with session.request(method, url, data=data, headers={"Content-Type": content_type}) as response:
        payload = await response.read()
    if response.status >= 400:
        raise CallFailed(f"{method} {url}: {response.status} {payload[:300].decode(errors='replace')}")
    answer: Body = orjson.loads(payload)
    return answer
