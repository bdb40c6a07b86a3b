"""Service links: the variables that Kubernetes puts into a pod for every Service of its namespace.

For a Service whose name begins with `roomkeeper` they begin with our prefix, so they are recognized and ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.settings.model import Settings, variable

# What Kubernetes calls the variables of a Service, after the name of the Service; <SERVICE>_PORT holds an address too.
_SERVICE_NAMES = re.compile(
    r"ROOMKEEPER(_[A-Z0-9_]+?)?_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"(?P<service>ROOMKEEPER(_[A-Z0-9_]+)?)_PORT")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
_NO_LINKS = "`enableServiceLinks: false` in the pod's spec keeps it away"


@dataclass(frozen=True, slots=True)
class ServiceLink:
    """A variable with the name of a setting, which Kubernetes has set to the address of a Service."""

    field: str
    service: str

    @property
    def sentence(self) -> str:
        """What it means for the setting."""
        return (
            f"{variable(self.field)} holds the address of the Service {self.service}, set by Kubernetes: "
            f"it is ignored and the setting keeps its default; {_NO_LINKS}"
        )


def hidden_by_services(environ: Mapping[str, str]) -> list[ServiceLink]:
    """Settings whose variable Kubernetes has set for a Service, so that they keep their defaults.

    The other variables of the same Service prove it: its host and its port make the address.
    """
    return [
        ServiceLink(field, _service_of(match["service"]))
        for field in Settings.model_fields
        if (match := _SERVICE_PORT.fullmatch(variable(field))) and _is_injected(match["service"], environ)
    ]


def is_of_a_service(name: str, value: str) -> bool:
    """Whether the variable is one that Kubernetes sets for a Service."""
    if _SERVICE_NAMES.fullmatch(name):
        return True
    return _SERVICE_PORT.fullmatch(name) is not None and _SERVICE_ADDRESS.fullmatch(value) is not None


def explain(field: str, value: object) -> str:
    """What to add to the error about `value`, if it looks like the address of a Service; else an empty text."""
    match = _SERVICE_PORT.fullmatch(variable(field))
    if not match or not _SERVICE_ADDRESS.fullmatch(str(value)):
        return ""
    return (
        f"; it looks like the address that Kubernetes sets for a Service {_service_of(match['service'])}, but the "
        f"other variables of that Service do not confirm it: set a port number, or {_NO_LINKS}"
    )


def _is_injected(service: str, environ: Mapping[str, str]) -> bool:
    """Whether <service>_PORT is the address that Kubernetes makes of the Service's host and port."""
    host, port = (environ.get(f"{service}_SERVICE_{what}", "") for what in ("HOST", "PORT"))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    _, _, found = environ.get(f"{service}_PORT", "").partition("://")
    return bool(host and port) and found == address


def _service_of(service: str) -> str:
    """The name of the Service (Kubernetes writes a dash as an underscore)."""
    return service.lower().replace("_", "-")
