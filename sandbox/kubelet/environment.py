"""The variables of a container, as the kubelet makes them: references resolved, `$(NAME)` filled in (pure).

`sources` has read what is referred to; `spec` uses the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from sandbox.kubelet.errors import ConfigError
from sandbox.kubelet.sources import Sources

Body = dict[str, Any]

_REFERENCE: Final = re.compile(r"\$(?:\$|\((?P<name>[-._a-zA-Z0-9]+)\))")
_ENTRY: Final = re.compile(r"metadata\.(?P<map>labels|annotations)\['(?P<key>[^']+)'\]")
_FIELDS: Final = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "metadata.uid": ("metadata", "uid"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
    "status.hostIP": ("status", "hostIP"),
    "status.podIP": ("status", "podIP"),
}


def resolve(pod: Body, container: Body, sources: Sources, links: Mapping[str, str]) -> dict[str, str]:
    """The variables of `container`; later ones win. Raises ConfigError for a reference that leads nowhere."""
    found = dict(links)
    for entry in container.get("envFrom", ()):
        found |= _all_of(entry, sources)
    for entry in container.get("env", ()):
        value = _value(pod, entry, sources, found)
        if value is not None:
            found[entry["name"]] = value
    return found


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Fill in `$(NAME)` where there is such a variable; `$$` is a dollar."""

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        return "$" if name is None else variables.get(name, match[0])

    return _REFERENCE.sub(replaced, text)


def field(pod: Body, path: str) -> str:
    """A field of the Pod by the downward API. Raises ConfigError for one that is not known here."""
    if path in _FIELDS:
        outer, inner = _FIELDS[path]
        return str(pod.get(outer, {}).get(inner, ""))
    if match := _ENTRY.fullmatch(path):
        return str(pod["metadata"].get(match["map"], {}).get(match["key"], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = pod["metadata"].get(path.partition(".")[2], {})
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    raise ConfigError(f"fieldRef {path} is not known to the sandbox's kubelet")


def service_links(services: Iterable[Body]) -> dict[str, str]:
    """What Kubernetes sets for each Service of the namespace unless `enableServiceLinks` is false."""
    found: dict[str, str] = {}
    for service in services:
        address = service["spec"].get("clusterIP", "None")
        if address in ("None", ""):
            continue
        name = service["metadata"]["name"].upper().replace("-", "_")
        ports = service["spec"].get("ports", [])
        found |= {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0]["port"])}
        found[f"{name}_PORT"] = f"{_protocol(ports[0])}://{address}:{ports[0]['port']}"
        for port in ports:
            number, protocol = port["port"], _protocol(port)
            if "name" in port:
                found[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = str(number)
            start = f"{name}_PORT_{number}_{protocol.upper()}"
            found |= {
                start: f"{protocol}://{address}:{number}",
                f"{start}_PROTO": protocol,
                f"{start}_PORT": str(number),
                f"{start}_ADDR": address,
            }
    return found


def _protocol(port: Body) -> str:
    return str(port.get("protocol", "TCP")).lower()


def _all_of(entry: Body, sources: Sources) -> dict[str, str]:
    kind, reference = _referred(entry, {"secretRef": "Secret", "configMapRef": "ConfigMap"})
    data = sources.data(kind, reference["name"])
    if data is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
    prefix = entry.get("prefix", "")
    return {prefix + key: value.decode() for key, value in data.items()}


def _value(pod: Body, entry: Body, sources: Sources, found: Mapping[str, str]) -> str | None:
    if "valueFrom" not in entry:
        return expand(entry.get("value", ""), found)
    origin = entry["valueFrom"]
    if "fieldRef" in origin:
        return field(pod, origin["fieldRef"]["fieldPath"])
    kind, reference = _referred(origin, {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"})
    data = sources.data(kind, reference["name"])
    if data is not None and reference["key"] in data:
        return data[reference["key"]].decode()
    if reference.get("optional"):
        return None
    if data is None:
        raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
    where = f"{kind} {pod['metadata']['namespace']}/{reference['name']}"
    raise ConfigError(f"couldn't find key {reference['key']} in {where}")


def _referred(entry: Body, kinds: Mapping[str, str]) -> tuple[str, Body]:
    for name, kind in kinds.items():
        if name in entry:
            return kind, entry[name]
    raise ConfigError(f"the sandbox's kubelet does not know {', '.join(sorted(set(entry) - {'prefix', 'name'}))}")
