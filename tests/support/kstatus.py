"""The rules of kstatus (sigs.k8s.io/cli-utils) for a custom resource, by which Flux and `helm --wait` wait.

It is written from the description of the rules and shares no code with the operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def kstatus(found: Mapping[str, Any]) -> str:
    """Return Terminating, InProgress, Failed or Current, in the order in which kstatus asks."""
    metadata, status = found.get("metadata", {}), found.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return "Terminating"
    if "generation" in metadata and status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return "InProgress"
    conditions = status.get("conditions") or []
    for condition in conditions:
        if (condition["type"], condition["status"]) == ("Reconciling", "True"):
            return "InProgress"
        if (condition["type"], condition["status"]) == ("Stalled", "True"):
            return "Failed"
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"
