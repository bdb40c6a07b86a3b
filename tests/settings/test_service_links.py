"""Service links: what Kubernetes puts into the operator's pod for the Services of its namespace."""

from __future__ import annotations

import os

import pytest

from controller.errors import SettingsError
from controller.settings import Settings, hidden_by_services, load_settings
from tests.settings.test_settings import GOOD


@pytest.fixture(autouse=True)
def _only_good_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ROOMKEEPER_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def links(service: str, port: int, *, host: str = "10.0.0.1", protocol: str = "tcp") -> dict[str, str]:
    """All that the kubelet sets for a Service with one port named http."""
    name = service.upper().replace("-", "_")
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return {
        f"{name}_SERVICE_HOST": host,
        f"{name}_SERVICE_PORT": str(port),
        f"{name}_SERVICE_PORT_HTTP": str(port),
        f"{name}_PORT": f"{protocol}://{address}",
        f"{name}_PORT_{port}_{protocol.upper()}": f"{protocol}://{address}",
        f"{name}_PORT_{port}_{protocol.upper()}_PROTO": protocol,
        f"{name}_PORT_{port}_{protocol.upper()}_PORT": str(port),
        f"{name}_PORT_{port}_{protocol.upper()}_ADDR": host,
    }


def inject(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def complaint() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    return str(caught.value)


@pytest.mark.parametrize("service", ["roomkeeper", "roomkeeper-webhook", "roomkeeper-metrics", "roomkeeper-redis"])
@pytest.mark.parametrize(("host", "protocol"), [("10.0.0.1", "tcp"), ("fd00::1", "tcp"), ("10.0.0.1", "udp")])
def test_the_operator_starts_with_its_defaults_beside_a_service_of_our_name(
    monkeypatch: pytest.MonkeyPatch, service: str, host: str, protocol: str
) -> None:
    without = load_settings({})
    inject(monkeypatch, links(service, 1234, host=host, protocol=protocol))
    assert load_settings({}) == without


def test_all_of_these_services_together_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    without = load_settings({})
    for number, name in enumerate(("roomkeeper", "roomkeeper-webhook", "roomkeeper-metrics", "roomkeeper-redis")):
        inject(monkeypatch, links(name, 8080 + number))
    assert load_settings({}) == without


@pytest.mark.parametrize(
    ("service", "field"), [("roomkeeper-webhook", "webhook_port"), ("roomkeeper-metrics", "metrics_port")]
)
def test_a_setting_that_a_service_hides_is_named_with_the_service_and_the_remedy(service: str, field: str) -> None:
    (link,) = hidden_by_services(links(service, 8080))
    assert (link.field, link.service) == (field, service)
    assert f"ROOMKEEPER_{field.upper()} holds the address of the Service {service}" in link.sentence
    assert "enableServiceLinks: false" in link.sentence


@pytest.mark.parametrize("service", ["roomkeeper", "roomkeeper-redis", "redis", "webhook"])
def test_a_service_that_hides_no_setting_is_passed_over_in_silence(service: str) -> None:
    assert hidden_by_services(links(service, 8080)) == []


def test_a_port_that_the_pod_sets_itself_wins_over_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, links("roomkeeper-webhook", 80) | {"ROOMKEEPER_WEBHOOK_PORT": "8443"})
    assert load_settings({}).webhook_port == 8443
    assert hidden_by_services(os.environ) == []


def test_a_flag_wins_over_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    inject(monkeypatch, links("roomkeeper-webhook", 80))
    assert load_settings({"webhook_port": "8443"}).webhook_port == 8443


@pytest.mark.parametrize(
    "others", [{}, {"ROOMKEEPER_WEBHOOK_SERVICE_HOST": "10.0.0.2", "ROOMKEEPER_WEBHOOK_SERVICE_PORT": "8080"}]
)
def test_an_address_that_no_service_explains_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, others: dict[str, str]
) -> None:
    inject(monkeypatch, {"ROOMKEEPER_WEBHOOK_PORT": "tcp://10.0.0.1:8080", **others})
    text = complaint()
    assert text.startswith(
        'roomkeeper operator: a setting is wrong\n  ROOMKEEPER_WEBHOOK_PORT   "tcp://10.0.0.1:8080": '
    )
    assert "looks like the address that Kubernetes sets for a Service roomkeeper-webhook" in text
    assert "set a port number, or `enableServiceLinks: false`" in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROOMKEEPER_REDIS_PORT", "6379"),
        ("ROOMKEEPER_PORT", "8080"),
        ("ROOMKEEPER_REDIS_HOST", "redis"),
        ("ROOMKEEPER_WEBHOOK_PORTS", "tcp://10.0.0.1:8080"),
    ],
)
def test_what_no_service_sets_is_still_an_unknown_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert f"{name}   is not a setting of the operator" in complaint()


def test_no_setting_has_a_name_that_kubernetes_gives_to_its_variables() -> None:
    taken = links("roomkeeper", 1234).keys() | links("roomkeeper-x", 1234).keys()
    assert not taken & {f"ROOMKEEPER_{field.upper()}" for field in Settings.model_fields}
