"""Manifests as people write them, with what a test is about laid over the shortest one that is valid."""

from __future__ import annotations

from typing import Any

from controller.api.names import API_VERSION

Manifest = dict[str, Any]


def match(*identities: str, name: str = "match", meta: Manifest | None = None, **spec: Any) -> Manifest:
    """A Match of alice and bob, or of `identities`."""
    people = [{"identity": identity} for identity in identities or ("alice", "bob")]
    return _resource("Match", name, meta, {"participants": people} | spec)


def room(name: str = "lobby", *, meta: Manifest | None = None, **spec: Any) -> Manifest:
    """A standing Room that does not close by itself while a test looks at it."""
    return _resource("Room", name, meta, {"emptyTimeoutSeconds": 3600, "departureTimeoutSeconds": 3600} | spec)


def termination(action: str, who: str, reason: str = "") -> Manifest:
    """The patch that ends a Match: `who` skips, ends, or is disconnected by the moderators."""
    wish = {"action": action, "reason": reason}
    if action == "Disconnect":
        return {"spec": {"termination": wish | {"target": who, "initiator": "moderator"}}}
    return {"spec": {"termination": wish | {"initiator": who}}}


def _resource(kind: str, name: str, meta: Manifest | None, spec: Manifest) -> Manifest:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name} | (meta or {}), "spec": spec}
