"""The calls that the sandbox itself sends to the API server, as administrator.

It installs `crds/` and the rights of `manifests/` by server-side apply, and requests the operator's token. (To start
kubectl once per file would take longer than the whole installation.)
"""

from __future__ import annotations

import asyncio
import ssl
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from controller.api.names import API_VERSION, FINALIZER, MANAGED_LABEL, MATCH
from sandbox.administrator import APPLY_PATCH, MERGE_PATCH, Administrator
from sandbox.errors import ClusterError

Manifest = dict[str, Any]

_FIELD_MANAGER = "roomkeeper-sandbox"
_ESTABLISHED_TIMEOUT_SECONDS = 20.0
_POLL_SECONDS = 0.02
_PROBE_SECONDS = 0.1
_POLICIES = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
_MATCHES = f"/apis/{API_VERSION}/namespaces/default/{MATCH.plural}"
_PROBE: Manifest = {
    "apiVersion": API_VERSION,
    "kind": MATCH.kind,
    "metadata": {"name": "probe"},
    "spec": {"participants": [{"identity": "probe-a"}, {"identity": "probe-b"}]},
}
_REQUEST_TIMEOUT_SECONDS = 15.0
_CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
# The operator is a process of the stack: without a kubelet, its pods would wait for ever.
_NEEDS_KUBELET = ("Deployment",)
# The parser in C takes a tenth of the time.
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FIRST_KINDS = ("Namespace", "CustomResourceDefinition")


class Cluster:
    """An administrator's session. Close it after use."""

    def __init__(self, server: str, ca_file: Path, token: str) -> None:
        self._server = server
        self._ca_file = ca_file
        self._token = token
        self._administrator: Administrator | None = None
        self._resources: dict[tuple[str, str], tuple[str, bool]] = {}
        self.why_not_ready = ""
        """What the last `is_ready` saw: of the checks of the server, those that did not pass."""

    async def close(self) -> None:
        if self._administrator is not None:
            await self._administrator.close()
            self._administrator = None

    async def is_ready(self) -> bool:
        """Whether the server reports that it can serve everything."""
        # The server writes its certificate itself, shortly after its start.
        if not self._ca_file.exists():
            self.why_not_ready = "it has not written its certificate yet"
            return False
        try:
            answer = await self._connected().answer("GET", "/readyz?verbose")
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
            self.why_not_ready = f"it does not answer: {type(error).__name__} {error}".rstrip()
            return False
        checks = (line for line in answer.message.splitlines() if not line.startswith("[+]"))
        self.why_not_ready = f"it answers {answer.status}: {'; '.join(checks)}"
        return answer.status == 200

    async def install(self, manifests: Iterable[Manifest]) -> None:
        """Apply all manifests: namespaces and CRDs first, the others once the CRDs are served.

        Raises ClusterError if the API server refuses one.
        """
        documents = list(manifests)
        first = [document for document in documents if document["kind"] in _FIRST_KINDS]
        await self._apply_all(first)
        crds = [document for document in first if document["kind"] == "CustomResourceDefinition"]
        await asyncio.gather(*(self._established(crd["metadata"]["name"]) for crd in crds))
        await self._apply_all(document for document in documents if document not in first)

    async def wait_for_matches(self) -> None:
        """Wait until the API server accepts Matches and applies the finalizer policy to them.

        The policy takes effect some seconds after the CRDs. The namespace `default` is labeled as managed to test it,
        and keeps the label. Raises ClusterError if it takes too long.
        """
        if not await self._has_policy():
            return
        label = {"metadata": {"labels": {MANAGED_LABEL: "true"}}}
        await self._call("PATCH", "/api/v1/namespaces/default", "the namespace default", label)
        deadline = time.monotonic() + _ESTABLISHED_TIMEOUT_SECONDS
        while True:
            try:
                probe = await self._call("POST", f"{_MATCHES}?dryRun=All", "a Match (dry run)", _PROBE)
                if FINALIZER in probe["metadata"].get("finalizers", ()):
                    return
                problem = "the finalizer policy does not apply"
            except ClusterError as error:
                problem = str(error)
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"the API server accepts no Match {_ESTABLISHED_TIMEOUT_SECONDS:g} s after the CRDs: {problem}"
                )
            await asyncio.sleep(_PROBE_SECONDS)

    async def _has_policy(self) -> bool:
        answer = await self._connected().answer("GET", _POLICIES)
        return answer.status == 200 and bool(answer.body["items"])

    async def service_account_token(self, namespace: str, name: str, seconds: int) -> str:
        """Request a token of a ServiceAccount that is valid for `seconds`."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        what = f"the token of ServiceAccount {namespace}/{name}"
        answer = await self._call("POST", path, what, request)
        return str(answer["status"]["token"])

    async def create_orphan(self, name: str) -> None:
        """Create a ConfigMap whose owner does not exist; the garbage collector removes it once it works."""
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": f"{name}-owner", "uid": str(uuid.uuid4())}
        body = {"metadata": {"name": name, "ownerReferences": [owner]}}
        await self._call("POST", _CONFIG_MAPS, f"ConfigMap {name}", body)

    async def has_config_map(self, name: str) -> bool:
        return await self._connected().status(f"{_CONFIG_MAPS}/{name}") != 404

    async def _apply_all(self, manifests: Iterable[Manifest]) -> None:
        await asyncio.gather(*(self._apply(manifest) for manifest in manifests))

    async def _apply(self, manifest: Manifest) -> None:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        plural, namespaced = await self._resource(manifest["apiVersion"], kind)
        group = manifest["apiVersion"]
        prefix = f"/apis/{group}" if "/" in group else f"/api/{group}"
        if namespaced:
            prefix += f"/namespaces/{manifest['metadata'].get('namespace', 'default')}"
        await self._call(
            "PATCH",
            f"{prefix}/{plural}/{name}?fieldManager={_FIELD_MANAGER}&force=true&fieldValidation=Strict",
            f"{kind} {name}",
            manifest,
            APPLY_PATCH,
        )

    async def _resource(self, group_version: str, kind: str) -> tuple[str, bool]:
        """The plural of a kind, and whether it lives in namespaces."""
        if (group_version, kind) not in self._resources:
            prefix = "/apis/" if "/" in group_version else "/api/"
            listing = await self._call("GET", prefix + group_version, f"the kinds of {group_version}")
            for entry in listing["resources"]:
                if "/" not in entry["name"]:
                    self._resources[group_version, entry["kind"]] = entry["name"], entry["namespaced"]
        if (group_version, kind) not in self._resources:
            raise ClusterError(f"the API server knows no kind {kind} in {group_version}")
        return self._resources[group_version, kind]

    async def _established(self, name: str) -> None:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
        deadline = time.monotonic() + _ESTABLISHED_TIMEOUT_SECONDS
        while True:
            crd = await self._call("GET", path, f"the CRD {name}")
            conditions = {entry["type"]: entry for entry in (crd.get("status") or {}).get("conditions") or ()}
            if conditions.get("Established", {}).get("status") == "True":
                return
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{key}: {entry.get('message')}" for key, entry in conditions.items())
                raise ClusterError(f"the CRD {name} was not established: {reasons or 'no condition was set'}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _call(
        self, method: str, path: str, what: str, body: Manifest | None = None, content_type: str = MERGE_PATCH
    ) -> Manifest:
        return await self._connected().call(method, path, body, what=what, content_type=content_type)

    def _connected(self) -> Administrator:
        if self._administrator is None:
            ca = self._ca_file.read_text()
            self._administrator = Administrator(self._server, ca, self._token, timeout_seconds=_REQUEST_TIMEOUT_SECONDS)
        return self._administrator


def read_manifests(paths: Iterable[Path]) -> list[Manifest]:
    """The objects of all files, and of all *.yaml files of all directories.

    The first one counts where two have the same kind and name. What would need a kubelet is left out.
    """
    files = [file for path in paths for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]
    documents = [document for file in files for document in yaml.load_all(file.read_bytes(), _YamlLoader)]
    objects: dict[tuple[str, str, str], Manifest] = {}
    for document in documents:
        if document is not None and document["kind"] not in _NEEDS_KUBELET:
            objects.setdefault(_identity(document), document)
    return list(objects.values())


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]
