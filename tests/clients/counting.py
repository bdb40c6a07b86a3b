"""Reads the metrics of requests, for the tests of the three clients."""

from __future__ import annotations

import inspect

from prometheus_client import REGISTRY


def requests_counted(backend: str) -> dict[str, float]:
    """Return how many requests were counted so far, by operation."""
    return {
        sample.labels["operation"]: sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == "roomkeeper_backend_call_duration_seconds_count" and sample.labels["backend"] == backend
    }


def errors_counted(backend: str, operation: str, code: str) -> float:
    """Return how many requests failed so far with this code."""
    labels = {"backend": backend, "operation": operation, "code": code}
    return REGISTRY.get_sample_value("roomkeeper_backend_call_errors_total", labels) or 0.0


def counted_since(before: dict[str, float], backend: str) -> dict[str, float]:
    """Return the operations that were counted since `before`, and how often."""
    now = requests_counted(backend)
    return {name: count - before.get(name, 0.0) for name, count in now.items() if count != before.get(name, 0.0)}


def public_methods(client: type) -> set[str]:
    """Return the names of the asynchronous public methods of a client, except `close`."""
    return {
        name
        for name, method in inspect.getmembers(client)
        if not name.startswith("_")
        and name != "close"
        and (inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method))
    }
