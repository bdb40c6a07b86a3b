"""What the tests of this directory send to a real API server: the shortest manifests that are valid, as dicts."""

from __future__ import annotations

from typing import Any

from controller.api.names import API_VERSION
from sandbox.administrator import Answer
from tests.support.kube import Kube

Manifest = dict[str, Any]


async def create(kube: Kube, manifest: Manifest, *, dry_run: bool = False) -> Answer:
    """POST the manifest into the test's namespace."""
    return await kube.try_to_create(manifest, dry_run=dry_run)


async def change(kube: Kube, manifest: Manifest, patch: Manifest, *, sub: str = "", dry_run: bool = False) -> Answer:
    """Send a merge patch for the object that the manifest made."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    return await kube.try_to_patch(kind, name, patch, subresource=sub, dry_run=dry_run)


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
