"""A kubeconfig as kubectl reads it: several files merged, one context chosen, and credentials from a plugin.

kopf reads a kubeconfig too, but only its current context, and no plugins; most managed clusters give an administrator
nothing but a plugin. Neighbor: `clients.connection` makes a connection of the result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

from controller.errors import SettingsError

_DEFAULT_FILE: Final = Path("~/.kube/config")
_PLUGIN_SECONDS: Final = 60.0
_PLUGIN_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
# The fields that hold the path of a file, relative to the kubeconfig that names it.
_PATHS: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
# What would need a connection of another kind. To leave one out silently would connect to something else.
_UNSUPPORTED: Final = ("tls-server-name", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra")


@dataclass(frozen=True, slots=True)
class Login:
    """One server, and the credentials for it. Fields that the kubeconfig leaves out are empty. No secret in its repr.

    Each certificate or key is a path, or its text (`…_data`: PEM, or base64 of it as in the file), never both.
    """

    server: str
    context: str
    ca_path: str = ""
    ca_data: str = ""
    insecure: bool = False
    proxy_url: str = ""
    token: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    certificate_path: str = ""
    certificate_data: str = ""
    key_path: str = ""
    key_data: str = field(default="", repr=False)


def files(given: Path | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """The files to merge: the one that was given, else those of KUBECONFIG that exist, else ~/.kube/config.

    Raises SettingsError if a file that was named is not there.
    """
    if given is not None:
        if not given.expanduser().exists():
            raise SettingsError(f"the kubeconfig {given} does not exist")
        return (given.expanduser(),)
    if named := environment.get("KUBECONFIG", ""):
        paths = tuple(Path(part).expanduser() for part in named.split(os.pathsep) if part)
        existing = tuple(path for path in paths if path.exists())
        if not existing:
            raise SettingsError(f"KUBECONFIG={named}: no such file")
        return existing
    home = _DEFAULT_FILE.expanduser()
    return (home,) if home.exists() else ()


def login(paths: Iterable[Path], context: str = "") -> Login:
    """The server and the credentials of `context`, or of the current context. Runs the plugin if there is one.

    Raises SettingsError with the file, the name and the cause.
    """
    merged = _Merged(tuple(paths))
    name = context or merged.current
    if not name:
        raise SettingsError(f"{merged.shown}: no context is current; choose one with --context")
    chosen = merged.entry("contexts", "context", name)
    cluster = merged.entry("clusters", "cluster", str(chosen.get("cluster", "")))
    user = merged.entry("users", "user", str(chosen["user"])) if chosen.get("user") else {}
    for unsupported in _UNSUPPORTED:
        if cluster.get(unsupported) or user.get(unsupported):
            raise SettingsError(f"{merged.shown}: the context {name} uses {unsupported}, which is not supported here")
    if not cluster.get("server"):
        raise SettingsError(f"{merged.shown}: the cluster of the context {name} has no server")
    found = Login(
        server=str(cluster["server"]).rstrip("/"),
        context=name,
        ca_path="" if cluster.get("certificate-authority-data") else str(cluster.get("certificate-authority", "")),
        ca_data=str(cluster.get("certificate-authority-data", "")),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        proxy_url=str(cluster.get("proxy-url", "")),
        token=str(user.get("token", "")) or _token_of(user),
        username=str(user.get("username", "")),
        password=str(user.get("password", "")),
        certificate_path="" if user.get("client-certificate-data") else str(user.get("client-certificate", "")),
        certificate_data=str(user.get("client-certificate-data", "")),
        key_path="" if user.get("client-key-data") else str(user.get("client-key", "")),
        key_data=str(user.get("client-key-data", "")),
    )
    return _with_plugin(found, user["exec"], cluster) if user.get("exec") else found


class _Merged:
    """Several files as one: of two entries with the same name, the first counts."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.shown = ", ".join(str(path) for path in paths)
        self.current = ""
        self._entries: dict[tuple[str, str], dict[str, Any]] = {}
        for path in paths:
            document = _read(path)
            self.current = self.current or str(document.get("current-context") or "")
            for section, key in (("contexts", "context"), ("clusters", "cluster"), ("users", "user")):
                for entry in document.get(section) or ():
                    body = _with_whole_paths(entry.get(key) or {}, path.parent)
                    self._entries.setdefault((section, str(entry.get("name"))), body)

    def entry(self, section: str, key: str, name: str) -> dict[str, Any]:
        """The entry with this name. Raises SettingsError with the names that there are."""
        found = self._entries.get((section, name))
        if found is None:
            names = ", ".join(sorted(known for part, known in self._entries if part == section))
            raise SettingsError(f"{self.shown}: there is no {key} {name!r}; there are: {names or 'none'}")
        return found


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the kubeconfig {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        # The text of the error repeats lines of the file.
        raise SettingsError(f"the kubeconfig {path} is not YAML") from error
    if not isinstance(document, dict):
        raise SettingsError(f"the kubeconfig {path} is not a kubeconfig: it has no fields")
    return document


def _with_whole_paths(body: dict[str, Any], home: Path) -> dict[str, Any]:
    return body | {key: str(home / str(body[key])) for key in _PATHS if body.get(key)}


def _token_of(user: Mapping[str, Any]) -> str:
    if not user.get("tokenFile"):
        return ""
    path = Path(str(user["tokenFile"]))
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"the tokenFile {path} cannot be read: {error.strerror}") from error


def _with_plugin(found: Login, plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> Login:
    """`found` with the credentials that the plugin prints (`exec` in a kubeconfig)."""
    command, version = str(plugin.get("command", "")), str(plugin.get("apiVersion", ""))
    if version not in _PLUGIN_VERSIONS:
        raise SettingsError(f"the plugin {command} speaks {version or 'no version'}; use {_PLUGIN_VERSIONS[0]}")
    spec: dict[str, Any] = {"interactive": sys.stdin.isatty() and plugin.get("interactiveMode") != "Never"}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {"server": found.server, "certificate-authority-data": found.ca_data}
        if found.insecure:
            spec["cluster"]["insecure-skip-tls-verify"] = True
        if config := next((e["extension"] for e in cluster.get("extensions") or () if _is_config(e)), None):
            spec["cluster"]["config"] = config
    question = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    own = {str(entry["name"]): str(entry["value"]) for entry in plugin.get("env") or ()}
    hint = f"; {plugin['installHint']}" if plugin.get("installHint") else ""
    try:
        done = subprocess.run(
            [command, *map(str, plugin.get("args") or ())],
            env={**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(question)},
            stdout=subprocess.PIPE,
            check=True,
            timeout=_PLUGIN_SECONDS,
        )
        status = json.loads(done.stdout)["status"]
    except FileNotFoundError as error:
        raise SettingsError(f"the plugin {command} of the context {found.context} is not installed{hint}") from error
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        # An error of json would repeat what the plugin printed.
        cause = f"exit status {error.returncode}" if isinstance(error, subprocess.CalledProcessError) else None
        told = cause or ("no answer in time" if isinstance(error, subprocess.TimeoutExpired) else "no credentials")
        raise SettingsError(f"the plugin {command} of the context {found.context} failed: {told}") from None
    return replace(
        found,
        token=str(status.get("token") or ""),
        certificate_path="",
        key_path="",
        certificate_data=str(status.get("clientCertificateData") or ""),
        key_data=str(status.get("clientKeyData") or ""),
    )


def _is_config(extension: Mapping[str, Any]) -> bool:
    return extension.get("name") == "client.authentication.k8s.io/exec"
