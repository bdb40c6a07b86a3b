"""What Pods refer to, read from the API server: Secrets, ConfigMaps, Services, tokens of ServiceAccounts."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandbox.administrator import Administrator
from sandbox.kubelet.errors import VolumeError

Body = dict[str, Any]
Data = Mapping[str, bytes]

# Where a Pod's spec names an object: the field, its kind, and the field within that holds the name.
_REFERENCES: Final = {
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
    "secret": ("Secret", "secretName"),
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "configMap": ("ConfigMap", "name"),
}
_PLURALS: Final = {"Secret": "secrets", "ConfigMap": "configmaps"}


@dataclass(frozen=True)
class Sources:
    """The Secrets and ConfigMaps of one Pod, by kind and name; None for one that does not exist."""

    found: Mapping[tuple[str, str], Data | None] = field(default_factory=dict, repr=False)

    def data(self, kind: str, name: str) -> Data | None:
        """The data of an object; None if it does not exist."""
        return self.found[kind, name]


async def read_sources(admin: Administrator, pod: Body) -> Sources:
    """Read everything that the Pod's spec names."""
    namespace = pod["metadata"]["namespace"]
    found: dict[tuple[str, str], Data | None] = {}
    for kind, name in set(references(pod["spec"])):
        answer = await admin.answer("GET", f"/api/v1/namespaces/{namespace}/{_PLURALS[kind]}/{name}")
        if answer.status not in (200, 404):
            raise VolumeError(f"{kind} {name} could not be read: {answer.message}")
        found[kind, name] = decoded(kind, answer.body) if answer.status == 200 else None
    return Sources(found)


async def read_services(admin: Administrator, namespace: str) -> list[Body]:
    """The Services of a namespace."""
    answer = await admin.call("GET", f"/api/v1/namespaces/{namespace}/services", what="the list of Services")
    items: list[Body] = answer["items"]
    return items


async def request_token(admin: Administrator, pod: Body, audience: str, seconds: int) -> str:
    """A token of the Pod's ServiceAccount that is valid as long as the Pod exists."""
    namespace, account = pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    spec: Body = {"expirationSeconds": seconds, "boundObjectRef": bound}
    if audience:
        spec["audiences"] = [audience]
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    answer = await admin.answer("POST", path, request)
    if answer.status >= 400:
        raise VolumeError(f"no token of ServiceAccount {account}: {answer.message}")
    return str(answer.body["status"]["token"])


def references(spec: Any) -> Iterator[tuple[str, str]]:
    """Every Secret and ConfigMap that is named below `spec`, as (kind, name)."""
    if isinstance(spec, list):
        for entry in spec:
            yield from references(entry)
    elif isinstance(spec, dict):
        for key, value in spec.items():
            if key in _REFERENCES and isinstance(value, dict):
                kind, name = _REFERENCES[key]
                # A projected volume calls the Secret `name`.
                if found := value.get(name) or value.get("name"):
                    yield kind, found
            yield from references(value)


def decoded(kind: str, body: Body) -> dict[str, bytes]:
    """The data of a Secret or ConfigMap, as bytes."""
    if kind == "Secret":
        return _from_base64(body.get("data"))
    texts = {key: value.encode() for key, value in (body.get("data") or {}).items()}
    return texts | _from_base64(body.get("binaryData"))


def _from_base64(data: Mapping[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (data or {}).items()}
