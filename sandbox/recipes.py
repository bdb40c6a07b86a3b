"""The command of each program of the stack, and how to see that it is ready.

`Wiring` holds the choices of one stack: parts, ports, secrets, files. There is one function per program.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
import yaml

from controller.clients.redis.keys import Role
from controller.clients.redis.rights import rules, user_name
from sandbox.cluster import Cluster
from sandbox.directory import Directory
from sandbox.endpoints import OPERATOR_ACCOUNT, OPERATOR_NAMESPACE
from sandbox.keys import random_secret, signing_key_pem
from sandbox.parts import Located
from sandbox.ports import PortLocks
from sandbox.program import Recipe
from sandbox.source import ROOT

HOST = "127.0.0.1"
# The sandbox's own needs; each further controller costs every stack time and memory.
_CONTROLLERS = ("garbage-collector-controller", "namespace-controller")
# What a Deployment, a Job, a Service and a PodDisruptionBudget need, and the contents of a Pod's default mounts.
_WORKLOAD_CONTROLLERS = (
    *("deployment-controller", "replicaset-controller", "job-controller", "disruption-controller"),
    *("endpointslice-controller", "endpoints-controller"),
    *("serviceaccount-controller", "root-ca-certificate-publisher-controller"),
    "clusterrole-aggregation-controller",
)
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=2)


@dataclass(frozen=True)
class Ports:
    """One port for each purpose, on loopback; LiveKit has no setting that binds its media ports to one address."""

    etcd: int
    etcd_peer: int
    kubernetes: int
    redis: int
    livekit: int
    livekit_tcp: int
    livekit_udp: int
    webhook: int
    metrics: int

    @classmethod
    def take(cls, locks: PortLocks) -> Ports:
        return cls(**{name: locks.take() for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class Wiring:
    """The choices of one stack."""

    parts: Mapping[str, Located]
    ports: Ports
    directory: Directory
    admin_token: str = field(default_factory=random_secret, repr=False)
    livekit_api_key: str = "sandbox"
    livekit_api_secret: str = field(default_factory=random_secret, repr=False)
    redis_passwords: Mapping[Role, str] = field(
        default_factory=lambda: {role: random_secret() for role in Role}, repr=False
    )

    @property
    def server(self) -> str:
        return f"https://{HOST}:{self.ports.kubernetes}"

    @property
    def ca_file(self) -> Path:
        return self.data("kubernetes") / "apiserver.crt"

    @property
    def livekit_url(self) -> str:
        return f"ws://{HOST}:{self.ports.livekit}"

    @property
    def redis_url(self) -> str:
        return f"redis://{HOST}:{self.ports.redis}/0"

    def redis_url_of(self, role: Role) -> str:
        """The URL with which this role logs in to Redis, with the rights of docs/reference/redis-rights.md."""
        return self.redis_url.replace("//", f"//{user_name(role)}:{self.redis_passwords[role]}@")

    @property
    def webhook_url(self) -> str:
        return f"http://{HOST}:{self.ports.webhook}/livekit/webhook"

    @property
    def operator_url(self) -> str:
        return f"http://{HOST}:{self.ports.metrics}"

    def data(self, program: str) -> Path:
        return self.directory.path / "data" / program

    def recipe(
        self,
        name: str,
        arguments: tuple[str, ...],
        ready: Callable[[], Awaitable[bool]],
        where: str,
        *,
        grace_seconds: float = 0.2,
    ) -> Recipe:
        """A recipe for a located part, with a bare environment."""
        return Recipe(
            name=name,
            command=(str(self.parts[name].path), *arguments),
            ready=ready,
            where=f"{self.parts[name].version:<8} {where}",
            environment=bare_environment(),
            directory=self.directory.path,
            grace_seconds=grace_seconds,
        )


def bare_environment() -> dict[str, str]:
    """The variables of our environment that a program needs, without any that could configure it."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in kept if name in os.environ}


def etcd(wiring: Wiring) -> Recipe:
    client = f"http://{HOST}:{wiring.ports.etcd}"
    peer = f"http://{HOST}:{wiring.ports.etcd_peer}"
    arguments = (
        f"--data-dir={wiring.data('etcd')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        # The data need not survive a crash of the machine.
        "--unsafe-no-fsync",
        "--log-level=warn",
    )
    return wiring.recipe("etcd", arguments, _answers(f"{client}/health"), client)


def kube_apiserver(wiring: Wiring, cluster: Cluster, audit_log: Path | None = None) -> Recipe:
    tokens = wiring.directory.write_secret("config/tokens.csv", f'{wiring.admin_token},admin,admin,"system:masters"\n')
    key = wiring.directory.write_secret("config/service-accounts.pem", signing_key_pem())
    arguments = (
        f"--etcd-servers=http://{HOST}:{wiring.ports.etcd}",
        f"--secure-port={wiring.ports.kubernetes}",
        f"--bind-address={HOST}",
        f"--advertise-address={HOST}",
        f"--cert-dir={wiring.data('kubernetes')}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--token-auth-file={tokens}",
        "--authorization-mode=RBAC",
        # Some clusters have it on. With it, the operator needs one right more.
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        *_audit(wiring, audit_log),
        # Otherwise it waits for the watches of its clients, although none of them comes back to this server.
        "--shutdown-send-retry-after=false",
    )
    recipe = wiring.recipe("kube-apiserver", arguments, cluster.is_ready, wiring.server, grace_seconds=0.3)
    return replace(recipe, why_not=lambda: cluster.why_not_ready)


def _audit(wiring: Wiring, log: Path | None) -> tuple[str, ...]:
    """The flags with which the API server notes in `log` what the operator's ServiceAccount asks for."""
    if log is None:
        return ()
    user = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR_ACCOUNT}"
    policy = {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [user]}, {"level": "None"}],
    }
    file = wiring.directory.write_secret("config/audit-policy.yaml", yaml.safe_dump(policy))
    return f"--audit-policy-file={file}", f"--audit-log-path={log}"


def kube_controller_manager(wiring: Wiring, cluster: Cluster, *, workloads: bool = False) -> Recipe:
    controllers = (*_CONTROLLERS, *_WORKLOAD_CONTROLLERS) if workloads else _CONTROLLERS
    arguments = (
        f"--kubeconfig={wiring.directory.path / 'kubeconfig'}",
        f"--controllers={','.join(controllers)}",
        f"--root-ca-file={wiring.ca_file}",
        "--leader-elect=false",
        "--use-service-account-credentials=false",
        # No port: its effects show that it works.
        "--secure-port=0",
    )
    ready = _GarbageProbe(cluster)
    what = "garbage collector, namespaces" + (", workloads" if workloads else "")
    return wiring.recipe("kube-controller-manager", arguments, ready, what)


def redis(wiring: Wiring, cluster_id: str) -> Recipe:
    """Redis with a user for each role. The administrator (`default`) has no password."""
    users = ["user default on nopass ~* &* +@all"]
    for role, password in wiring.redis_passwords.items():
        users.append(f"user {user_name(role)} {' '.join((*rules(role, cluster_id), f'>{password}'))}")
    acl = wiring.directory.write_secret("config/redis.acl", "\n".join(users) + "\n")
    folder = wiring.data("redis")
    folder.mkdir(exist_ok=True)
    arguments = (
        *("--bind", HOST, "--port", str(wiring.ports.redis)),
        *("--dir", str(folder), "--save", "", "--appendonly", "no"),
        *("--maxmemory-policy", "noeviction", "--loglevel", "notice", "--aclfile", str(acl)),
    )
    ready = _answers_ping(wiring.ports.redis)
    return wiring.recipe("redis-server", arguments, ready, wiring.redis_url)


def livekit(wiring: Wiring) -> Recipe:
    ports = wiring.ports
    settings = {
        "port": ports.livekit,
        "bind_addresses": [HOST],
        "rtc": {
            "tcp_port": ports.livekit_tcp,
            "udp_port": ports.livekit_udp,
            "use_external_ip": False,
            "node_ip": HOST,
            "enable_loopback_candidate": True,
        },
        "keys": {wiring.livekit_api_key: wiring.livekit_api_secret},
        # With auto_create, every client with an unexpired token could re-open a closed room.
        "room": {"auto_create": False, "empty_timeout": 300, "departure_timeout": 20},
        "webhook": {"api_key": wiring.livekit_api_key, "urls": [wiring.webhook_url]},
        "logging": {"level": "warn"},
    }
    file = wiring.directory.write_secret("config/livekit.yaml", yaml.safe_dump(settings, sort_keys=False))
    # After SIGTERM it runs on while people are in a room, so its grace period is short.
    ready = _answers(f"http://{HOST}:{ports.livekit}/")
    return wiring.recipe("livekit-server", ("--config", str(file)), ready, wiring.livekit_url)


def operator(wiring: Wiring, settings: Mapping[str, str]) -> Recipe:
    return Recipe(
        name="operator",
        command=(sys.executable, "-m", "controller", "operator"),
        ready=_answers(f"{wiring.operator_url}/readyz"),
        where=wiring.operator_url,
        environment={**bare_environment(), **settings},
        directory=ROOT,
        ready_timeout_seconds=30,
        grace_seconds=1.2,
    )


class _GarbageProbe:
    """Ready when an object without its owner is removed; from outside nothing else shows that the caches are synced."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._name = ""

    async def __call__(self) -> bool:
        if not self._name:
            self._name = f"sandbox-probe-{secrets.token_hex(4)}"
            await self._cluster.create_orphan(self._name)
        if await self._cluster.has_config_map(self._name):
            return False
        # The next start probes with an object of its own.
        self._name = ""
        return True


def _answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Ready when a GET is answered with 200."""

    async def ready() -> bool:
        try:
            async with aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session, session.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return ready


def _answers_ping(port: int) -> Callable[[], Awaitable[bool]]:
    """Ready when Redis answers PONG; before that, it loads its data or does not listen yet."""

    async def ready() -> bool:
        try:
            reader, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            async with asyncio.timeout(1):
                return (await reader.readline()).startswith(b"+PONG")
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return ready
