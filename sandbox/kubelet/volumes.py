"""The volumes of a Pod as directories of this machine: made before the first container, refreshed while it runs.

A file appears by a rename, so a container never reads half of one. What a Secret or ConfigMap no longer holds goes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sandbox.administrator import Administrator
from sandbox.kubelet.environment import field
from sandbox.kubelet.errors import ConfigError, VolumeError
from sandbox.kubelet.sources import Sources, request_token

Body = dict[str, Any]

_KINDS: Final = ("secret", "configMap", "emptyDir", "projected", "downwardAPI")
_DEFAULT_TOKEN_SECONDS = 3600
# As the kubelet: a token is replaced when a fifth of its life is left.
_TOKEN_SHARE = 0.8


@dataclass(frozen=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int


class Volumes:
    """The volumes of one Pod, below `directory`."""

    def __init__(self, pod: Body, directory: Path, admin: Administrator) -> None:
        self._pod = pod
        self._directory = directory
        self._admin = admin
        self._tokens: dict[tuple[str, str], tuple[float, str]] = {}

    def path(self, name: str) -> Path:
        """The directory of a volume."""
        return self._directory / name

    async def make(self, sources: Sources) -> None:
        """Make or refresh all of them. Raises VolumeError if one cannot be made."""
        for volume in self._pod["spec"].get("volumes", ()):
            kind = next((key for key in volume if key != "name"), "emptyDir")
            if kind not in _KINDS:
                raise VolumeError(f"volume {volume['name']}: the sandbox's kubelet does not know {kind}")
            target = self.path(volume["name"])
            target.mkdir(parents=True, exist_ok=True)
            if kind == "emptyDir":
                target.chmod(0o777)
            else:
                _write(target, await self._files(volume["name"], kind, volume[kind], sources))

    async def _files(self, name: str, kind: str, source: Body, sources: Sources) -> dict[str, File]:
        parts = source.get("sources", ()) if kind == "projected" else [{kind: source}]
        mode = int(source.get("defaultMode", 0o644))
        files: dict[str, File] = {}
        for part in parts:
            ((inner, origin),) = part.items()
            try:
                files |= await self._projected(inner, origin, mode, sources)
            except ConfigError as error:
                raise VolumeError(f"volume {name}: {error}") from error
        return files

    async def _projected(self, kind: str, origin: Body, mode: int, sources: Sources) -> dict[str, File]:
        if kind == "serviceAccountToken":
            token = await self._token(origin.get("audience", ""), int(origin.get("expirationSeconds", 0)))
            return {origin["path"]: File(token.encode(), mode)}
        if kind == "downwardAPI":
            return {
                item["path"]: File(field(self._pod, item["fieldRef"]["fieldPath"]).encode(), item.get("mode", mode))
                for item in origin.get("items", ())
            }
        if kind not in ("secret", "configMap"):
            raise ConfigError(f"the sandbox's kubelet does not know {kind}")
        return _of_object(kind, origin, mode, sources)

    async def _token(self, audience: str, seconds: int) -> str:
        key = audience, str(seconds)
        due, token = self._tokens.get(key, (0.0, ""))
        if time.monotonic() >= due:
            life = seconds or _DEFAULT_TOKEN_SECONDS
            token = await request_token(self._admin, self._pod, audience, life)
            self._tokens[key] = time.monotonic() + life * _TOKEN_SHARE, token
        return token


def _of_object(kind: str, origin: Body, mode: int, sources: Sources) -> dict[str, File]:
    name = origin.get("secretName") or origin["name"]
    optional = bool(origin.get("optional"))
    data = sources.data({"secret": "Secret", "configMap": "ConfigMap"}[kind], name)
    if data is None:
        if optional:
            return {}
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    items = origin.get("items")
    if items is None:
        return {key: File(value, mode) for key, value in data.items()}
    missing = [item["key"] for item in items if item["key"] not in data]
    if missing and not optional:
        raise ConfigError(f"references non-existent {kind} key: {', '.join(missing)}")
    return {item["path"]: File(data[item["key"]], int(item.get("mode", mode))) for item in items if item["key"] in data}


def _write(target: Path, files: Mapping[str, File]) -> None:
    for name, file in files.items():
        path = target / name
        if path.exists() and path.read_bytes() == file.content:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f"..{path.name}.new")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as handle:
            handle.write(file.content)
        scratch.chmod(file.mode)
        scratch.replace(path)
    _remove_others(target, files)


def _remove_others(target: Path, names: Iterable[str]) -> None:
    kept = {target / name for name in names}
    for path in target.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
