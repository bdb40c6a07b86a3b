"""A kubeconfig as kubectl reads it: several files merged, one context chosen, and credentials from a plugin.

kopf reads a kubeconfig too, but only its current context, and no plugins. Neighbors: `clients.plugin` runs a plugin,
`clients.connection` makes a connection of the result, and reads all of it again in time.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from controller.clients.plugin import run
from controller.errors import SettingsError

_DEFAULT_FILE: Final = Path("~/.kube/config")
# The fields that hold the path of a file, relative to the kubeconfig that names it.
_PATHS: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
# What would need a connection of another kind. To leave one out silently would connect to something else.
_UNSUPPORTED: Final = {
    "tls-server-name": "",
    "auth-provider": "; kubectl has removed it too: use the exec plugin of your provider",
    **dict.fromkeys(("as", "as-uid", "as-groups", "as-user-extra"), ""),
}


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
    has_plugin: bool = False
    """Whether a plugin gave the credentials, so that reading them again runs a program."""
    expires_at: datetime | None = None
    """Until when the credentials are good, if the plugin said so."""


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
    for unsupported, remedy in _UNSUPPORTED.items():
        if cluster.get(unsupported) or user.get(unsupported):
            raise SettingsError(
                f"{merged.shown}: the context {name} uses {unsupported}, which is not supported here{remedy}"
            )
    if not cluster.get("server"):
        raise SettingsError(f"{merged.shown}: the cluster of the context {name} has no server")
    found = Login(
        server=str(cluster["server"]).rstrip("/"),
        context=name,
        ca_path="" if cluster.get("certificate-authority-data") else str(cluster.get("certificate-authority", "")),
        ca_data=str(cluster.get("certificate-authority-data", "")),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        proxy_url=str(cluster.get("proxy-url", "")),
        token=_token_of(user),
        username=str(user.get("username", "")),
        password=str(user.get("password", "")),
        certificate_path="" if user.get("client-certificate-data") else str(user.get("client-certificate", "")),
        certificate_data=str(user.get("client-certificate-data", "")),
        key_path="" if user.get("client-key-data") else str(user.get("client-key", "")),
        key_data=str(user.get("client-key-data", "")),
    )
    if user.get("exec"):
        found = _with_plugin(found, user["exec"], cluster)
    _require_credentials(found, merged.shown)
    return found


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
        return str(user.get("token", ""))
    # As for kubectl, a file goes before a token in the kubeconfig itself: it is the one that is replaced.
    path = Path(str(user["tokenFile"]))
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"the tokenFile {path} cannot be read: {why}") from None
    if not token:
        raise SettingsError(f"the tokenFile {path} is empty")
    return token


def _with_plugin(found: Login, plugin: Mapping[str, Any], cluster: Mapping[str, Any]) -> Login:
    """`found` with the credentials that the plugin prints (`exec` in a kubeconfig)."""
    about: dict[str, Any] = {"server": found.server, "certificate-authority-data": found.ca_data}
    if found.insecure:
        about["insecure-skip-tls-verify"] = True
    if config := next((e["extension"] for e in cluster.get("extensions") or () if _is_config(e)), None):
        about["config"] = config
    issued = run(plugin, f"the context {found.context}", about)
    return replace(
        found,
        token=issued.token,
        certificate_path="",
        key_path="",
        certificate_data=issued.certificate_data,
        key_data=issued.key_data,
        has_plugin=True,
        expires_at=issued.expires_at,
    )


def _is_config(extension: Mapping[str, Any]) -> bool:
    return extension.get("name") == "client.authentication.k8s.io/exec"


def _require_credentials(found: Login, shown: str) -> None:
    """Without credentials, the API server takes us for an anonymous client, and grants that one nothing."""
    has_certificate = bool(found.certificate_path or found.certificate_data)
    has_key = bool(found.key_path or found.key_data)
    if has_certificate != has_key:
        given, missing = (
            ("client-certificate", "client-key") if has_certificate else ("client-key", "client-certificate")
        )
        raise SettingsError(f"{shown}: the user of the context {found.context} has a {given} and no {missing}")
    # A plain http server is a proxy such as `kubectl proxy`, which adds credentials of its own.
    is_proxy = found.server.startswith("http://")
    if not (found.token or has_certificate or (found.username and found.password) or is_proxy):
        raise SettingsError(
            f"{shown}: the user of the context {found.context} has no credentials; give it one of token, tokenFile, "
            "client-certificate with client-key, or exec"
        )
