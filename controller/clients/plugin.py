"""A credential plugin, which a kubeconfig names under `exec`: most managed clusters give credentials by one alone.

The protocol is that of kubectl (client.authentication.k8s.io, v1 and v1beta1): a program is started, learns of the
cluster from a variable, and prints a token or a client certificate, with the time of its expiry. Neighbor:
`clients.kubeconfig` reads the rest of the file, and `clients.connection` runs the plugin again in time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from controller.errors import SettingsError, clip
from controller.settings.model import PREFIX

_SECONDS: Final = 60.0
_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_TOLD_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Issued:
    """What a plugin printed. `expires_at` is None if it did not say. No secret in its repr."""

    token: str = field(default="", repr=False)
    certificate_data: str = ""
    key_data: str = field(default="", repr=False)
    expires_at: datetime | None = None


def run(plugin: Mapping[str, Any], of: str, cluster: Mapping[str, Any]) -> Issued:
    """Run the plugin of a kubeconfig's user, and return its credentials.

    `of` says in an error whose plugin it is, such as "the context calls". `cluster` is what the plugin may learn (its
    field `cluster`), if the kubeconfig says so. Raises SettingsError; what the plugin printed to stdout is never in it.
    """
    command, version = str(plugin.get("command", "")), str(plugin.get("apiVersion", ""))
    name = f"the plugin {command} of {of}"
    if version not in _VERSIONS:
        raise SettingsError(f"{name} speaks {version or 'no version'}; use {_VERSIONS[0]}")
    is_terminal = sys.stdin is not None and sys.stdin.isatty()
    if plugin.get("interactiveMode") == "Always" and not is_terminal:
        raise SettingsError(f"{name} must ask a person (interactiveMode: Always), and there is no terminal")
    spec: dict[str, Any] = {"interactive": is_terminal and plugin.get("interactiveMode") != "Never"}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = cluster
    question = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    own = {str(entry["name"]): str(entry["value"]) for entry in plugin.get("env") or ()}
    hint = f"; {plugin['installHint']}" if plugin.get("installHint") else ""
    try:
        done = subprocess.run(
            [command, *map(str, plugin.get("args") or ())],
            stdin=None if spec["interactive"] else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if spec["interactive"] else subprocess.PIPE,  # it asks a person there
            env={**_environment(), **own, "KUBERNETES_EXEC_INFO": json.dumps(question)},
            check=True,
            timeout=_SECONDS,
        )
    except FileNotFoundError as error:
        raise SettingsError(f"{name} is not installed{hint}") from error
    except subprocess.TimeoutExpired:
        raise SettingsError(f"{name} failed: no answer within {_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        raise SettingsError(f"{name} failed: exit status {error.returncode}{_told(error.stderr)}") from None
    except OSError as error:
        raise SettingsError(f"{name} cannot be run: {error.strerror}{hint}") from error
    return _issued(name, done.stdout)


def _environment() -> dict[str, str]:
    """What the plugin inherits: everything but our settings, some of which are secrets that do not concern it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def _issued(name: str, printed: bytes) -> Issued:
    try:
        status = json.loads(printed)["status"]
        found = Issued(
            token=str(status.get("token") or ""),
            certificate_data=str(status.get("clientCertificateData") or ""),
            key_data=str(status.get("clientKeyData") or ""),
            expires_at=_moment(status.get("expirationTimestamp")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # An error of json would repeat what the plugin printed.
        raise SettingsError(f"{name} failed: it printed no ExecCredential with a status") from None
    if not found.token and not (found.certificate_data and found.key_data):
        raise SettingsError(f"{name} failed: it printed neither a token nor a client certificate with its key")
    return found


def _moment(text: Any) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(str(text))
    if found.tzinfo is None:
        raise ValueError("a time without a zone")
    return found


def _told(stderr: bytes | None) -> str:
    """What the plugin said to people, on one line."""
    words = " ".join((stderr or b"").decode(errors="replace").split())
    return f": {clip(words, _TOLD_CHARACTERS)}" if words else ""
