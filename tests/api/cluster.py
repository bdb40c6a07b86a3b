"""What the tests of this directory need of a real API server: manifests as dicts in, its own words out."""

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, Protocol

from controller.api.names import API_VERSION, KINDS

Manifest = dict[str, Any]
_PLURALS = {kind.kind: kind.plural for kind in KINDS}


class Kube(Protocol):
    """The fixture `kube`: an administrator's access, and a namespace for this test alone."""

    @property
    def server(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def ca_path(self) -> Path | str: ...
    @property
    def namespace(self) -> str: ...
    def kubectl(self, *args: str, input: str | None = None) -> CompletedProcess[str]: ...


@dataclass(frozen=True)
class Answer:
    """What the API server said: the object, or a refusal."""

    code: int
    body: Manifest

    @property
    def refusals(self) -> list[str]:
        """As kubectl prints them: `spec.participants: Invalid value: …`."""
        causes = self.body.get("details", {}).get("causes", ())
        return [f"{cause.get('field', '')}: {cause['message']}" for cause in causes]


def create(kube: Kube, manifest: Manifest, *, dry_run: bool = False) -> Answer:
    """POST the manifest into the test's namespace."""
    return _call(kube, "POST", _path(kube, manifest["kind"]), manifest, dry_run=dry_run)


def change(kube: Kube, manifest: Manifest, patch: Manifest, *, sub: str = "", dry_run: bool = False) -> Answer:
    """Send a merge patch for the object that the manifest made."""
    path = _path(kube, manifest["kind"], manifest["metadata"]["name"]) + (f"/{sub}" if sub else "")
    return _call(kube, "PATCH", path, patch, dry_run=dry_run)


def _path(kube: Kube, kind: str, name: str = "") -> str:
    path = f"/apis/{API_VERSION}/namespaces/{kube.namespace}/{_PLURALS[kind]}"
    return f"{path}/{name}" if name else path


def _call(kube: Kube, method: str, path: str, body: Manifest, *, dry_run: bool) -> Answer:
    query = "?dryRun=All" if dry_run else ""
    request = urllib.request.Request(f"{kube.server}{path}{query}", json.dumps(body).encode(), method=method)
    request.add_header("Authorization", f"Bearer {kube.token}")
    kind = "merge-patch+json" if method == "PATCH" else "json"
    request.add_header("Content-Type", f"application/{kind}")
    context = ssl.create_default_context(cafile=str(kube.ca_path))
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as response:
            return Answer(response.status, json.load(response))
    except urllib.error.HTTPError as refusal:
        with refusal:
            return Answer(refusal.code, json.load(refusal))


def match(spec: Manifest | None = None, name: str = "match") -> Manifest:
    """A Match of alice and bob; `spec` is laid over it."""
    people: Manifest = {"participants": [{"identity": "alice"}, {"identity": "bob"}]}
    return _object("Match", name, people | (spec or {}))


def room(spec: Manifest | None = None, name: str = "room") -> Manifest:
    """A standing Room with nothing but defaults; `spec` is laid over it."""
    return _object("Room", name, spec or {})


def server(spec: Manifest | None = None, name: str = "server") -> Manifest:
    """A LiveKitServer; `spec` is laid over it."""
    return _object("LiveKitServer", name, {"url": "http://livekit:7880"} | (spec or {}))


def _object(kind: str, name: str, spec: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
