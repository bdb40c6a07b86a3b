"""The files that a stack writes for its users: kubeconfigs, env files and `endpoints.json`.

`stack` calls these functions when the programs that a file speaks of run. All files are readable for their owner only,
because they hold credentials.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from controller.clients.redis.keys import Role
from sandbox.directory import Directory
from sandbox.endpoints import OPERATOR_NAMESPACE, Endpoints, kubeconfig_text
from sandbox.envfile import render
from sandbox.recipes import HOST, Wiring


def write_kubeconfig(wiring: Wiring, name: str, user: str, token: str) -> None:
    """Write the kubeconfig `name`, with which `user` reaches the API server."""
    text = kubeconfig_text(
        server=wiring.server,
        ca_base64=base64.b64encode(wiring.ca_file.read_bytes()).decode(),
        user=user,
        token=token,
    )
    wiring.directory.write_secret(name, text)


def write_endpoints(directory: Directory, endpoints: Endpoints) -> None:
    """Write where everything is: for shells, for the operator, and for programs."""
    directory.write_secret("env", render(endpoints.env()))
    directory.write_secret("operator.env", render(endpoints.operator_env))
    directory.write_secret("endpoints.json", endpoints.to_json())


def describe(wiring: Wiring, cluster_id: str, operator_settings: Mapping[str, str]) -> Endpoints:
    """Where everything is, and the environment of the operator. `operator_settings` override the latter's values."""
    safe = wiring.directory.safe_path
    operator_env = {
        "KUBECONFIG": str(safe / "operator.kubeconfig"),
        "ROOMKEEPER_LIVEKIT_URL": wiring.livekit_url,
        "ROOMKEEPER_LIVEKIT_API_KEY": wiring.livekit_api_key,
        "ROOMKEEPER_LIVEKIT_API_SECRET": wiring.livekit_api_secret,
        "ROOMKEEPER_REDIS_URL": wiring.redis_url_of(Role.OPERATOR),
        "ROOMKEEPER_CLUSTER_ID": cluster_id,
        "ROOMKEEPER_NAMESPACE": OPERATOR_NAMESPACE,
        "ROOMKEEPER_WEBHOOK_HOST": HOST,
        "ROOMKEEPER_WEBHOOK_PORT": str(wiring.ports.webhook),
        "ROOMKEEPER_METRICS_HOST": HOST,
        "ROOMKEEPER_METRICS_PORT": str(wiring.ports.metrics),
        **operator_settings,
    }
    return Endpoints(
        directory=wiring.directory.path,
        kubeconfig=safe / "kubeconfig",
        server=wiring.server,
        ca=wiring.ca_file.read_text(),
        admin_token=wiring.admin_token,
        livekit_url=wiring.livekit_url,
        livekit_api_key=wiring.livekit_api_key,
        livekit_api_secret=wiring.livekit_api_secret,
        redis_url=wiring.redis_url,
        redis_urls={role.value: wiring.redis_url_of(role) for role in Role},
        webhook_url=wiring.webhook_url,
        metrics_url=f"{wiring.operator_url}/metrics",
        cluster_id=cluster_id,
        operator_env=operator_env,
    )
