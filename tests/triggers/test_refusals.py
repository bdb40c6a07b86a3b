"""What a port refuses: webhooks are counted, and each cause is logged once in a while, with the name of its port."""

from __future__ import annotations

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controller.triggers.refusals import Refusals


def _counted() -> float:
    return REGISTRY.get_sample_value("roomkeeper_webhooks_total", {"result": "full", "server": ""}) or 0.0


def test_refused_connections_of_another_port_do_not_count_as_webhooks() -> None:
    before = _counted()
    with capture_logs() as lines:
        for _ in range(3):
            Refusals("metrics").refused("full", "too many connections are open", "10.0.0.1")
    assert _counted() == before
    assert {line["event"] for line in lines} == {"connection to the metrics port refused"}
    with capture_logs() as lines:
        refusals = Refusals()
        for _ in range(3):
            refusals.refused("full", "too many connections are open", "10.0.0.1")
    assert _counted() == before + 3
    assert [line["event"] for line in lines] == ["webhook refused"]
