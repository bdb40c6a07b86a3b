"""ServiceAccounts with rights of their own, for operators that are installed otherwise than the sandbox installs them.

The rules are those of the shipped ClusterRole, so a test with a Role alone fails if a rule is missing there.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from sandbox.cluster import Manifest, read_manifests
from sandbox.endpoints import kubeconfig_text
from sandbox.source import INSTALL
from tests.support.kube import Kube

NAME: Final = "roomkeeper"
_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_TOKEN_SECONDS: Final = 24 * 3600


def shipped_rules() -> list[dict[str, Any]]:
    """The rules of the operator in the namespaces that it serves."""
    (role,) = (
        manifest
        for manifest in read_manifests([INSTALL])
        if manifest["kind"] == "ClusterRole" and manifest["metadata"]["name"] == NAME
    )
    rules: list[dict[str, Any]] = role["rules"]
    return rules


class Account:
    """A ServiceAccount `roomkeeper` in `home`, without any right at first."""

    def __init__(self, kube: Kube, home: str) -> None:
        self._kube = kube
        self._home = home
        self.user = f"system:serviceaccount:{home}:{NAME}"

    async def create(self, directory: Path) -> Path:
        """Create the ServiceAccount with the rights on Leases of its namespace; return its kubeconfig."""
        await self._post(f"/api/v1/namespaces/{self._home}/serviceaccounts", {"metadata": {"name": NAME}})
        verbs = ["get", "create", "update"]
        lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs}
        await self.bind(self._home, [lease], "lease")
        where = self._kube.where
        path = directory / f"{self._home}-{secrets.token_hex(3)}.kubeconfig"
        token = await self._token()
        ca = base64.b64encode(where.ca.encode()).decode()
        path.write_text(kubeconfig_text(server=where.server, ca_base64=ca, user=NAME, token=token))
        return path

    async def bind(self, namespace: str, rules: Iterable[Manifest], name: str = NAME) -> None:
        """Give the account a Role with these rules in `namespace`."""
        await self._post(f"{_RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": name}, "rules": [*rules]})
        binding = {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": self._home}],
        }
        await self._post(f"{_RBAC}/namespaces/{namespace}/rolebindings", binding)

    async def rules(self, namespace: str, name: str = NAME) -> list[Manifest]:
        """The rules of the account's Role in `namespace`."""
        found = await self._kube.admin.call("GET", f"{_RBAC}/namespaces/{namespace}/roles/{name}")
        rules: list[Manifest] = found["rules"]
        return rules

    async def change(self, namespace: str, rules: Iterable[Manifest], name: str = NAME) -> None:
        """Replace the rules of the account's Role in `namespace`."""
        await self._kube.admin.call("PATCH", f"{_RBAC}/namespaces/{namespace}/roles/{name}", {"rules": [*rules]})

    async def revocable_token(self, name: str) -> str:
        """A token that is good as long as the Secret `name` exists, which this makes."""
        made = await self._kube.create({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name}})
        bound = {"kind": "Secret", "apiVersion": "v1", "name": name, "uid": made["metadata"]["uid"]}
        return await self._token(boundObjectRef=bound)

    async def _token(self, **spec: Any) -> str:
        path = f"/api/v1/namespaces/{self._home}/serviceaccounts/{NAME}/token"
        answer = await self._kube.admin.call("POST", path, {"spec": {"expirationSeconds": _TOKEN_SECONDS, **spec}})
        return str(answer["status"]["token"])

    async def _post(self, path: str, body: Manifest) -> None:
        await self._kube.admin.call("POST", path, body)
