"""Settings whose value is in a file: `ROOMKEEPER_<NAME>_FILE` is the path, and the file holds the value alone.

The files of certificates, whose path itself is the setting, are only looked at here.

In a pod these are the keys of Secrets, mounted below /etc/roomkeeper/secrets/<Secret>/. The volumes are optional, so
the operator starts without a Secret too, and says here which Secret or key is missing and how to create it. Neighbor:
`load` lets `model` check what was read.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controller.settings.model import LIVEKIT_TLS_FILES, REDIS_TLS_FILES, Settings, variable

FILE_FIELDS: Final = (
    *("livekit_url", "livekit_api_key", "livekit_api_secret", "livekit_old_api_key", "livekit_old_api_secret"),
    "redis_url",
)

_MAX_BYTES: Final = 64 * 1024
_MAX_CERTIFICATES: Final = 4 * 1024 * 1024
# The parts of a path between the root, which a test may move, and the name of the Secret.
_SECRETS: Final = ("etc", "roomkeeper", "secrets")


def file_field(field: str) -> str:
    """The name of the flag and the variable that hold the path: `redis_url` → `redis_url_file`."""
    return f"{field}_file"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a Secret that is mounted as a directory."""

    secret: str
    key: str
    namespace: str
    siblings: tuple[str, ...]
    """All keys that the settings take from the same Secret."""

    @property
    def create(self) -> str:
        """The command that creates the Secret with all its keys."""
        literals = " ".join(f"--from-literal={key}=VALUE" for key in self.siblings)
        return f"kubectl -n {self.namespace} create secret generic {self.secret} {literals}"

    @property
    def set(self) -> str:
        """The command that sets this key of the Secret."""
        patch = f'{{"stringData":{{"{self.key}":"VALUE"}}}}'
        return f"kubectl -n {self.namespace} patch secret {self.secret} -p '{patch}'"


@dataclass(frozen=True, slots=True)
class Source:
    """The file that a setting names."""

    variable: str
    path: Path
    key: Key | None

    @property
    def remedy(self) -> str:
        """What to add to an error about the value; `kubectl create secret --from-file` keeps a newline."""
        return f"; set the key {self.key.key} of the Secret {self.key.secret}: {self.key.set}" if self.key else ""


@dataclass(frozen=True, slots=True)
class FileValues:
    """What was read from files, by setting."""

    values: dict[str, str]
    sources: dict[str, Source]
    failed: frozenset[str]
    """The settings without a value because their file has none."""
    problems: tuple[tuple[str, str], ...]


class _Unreadable(Exception):
    """The sentence says why the file gives no value."""


def read_files(flags: Mapping[str, Any], environ: Mapping[str, str]) -> FileValues:
    """Read every file that a setting names. What a flag gives, as a value or as a path, wins over the environment."""
    values: dict[str, str] = {}
    failed: dict[str, tuple[str, str]] = {}
    paths: dict[str, Path] = {}
    for field in FILE_FIELDS:
        value, path = _given(field, flags, environ)
        if value and path:
            failed[field] = variable(field), f"and {variable(file_field(field))} are both set; set only one of them"
        elif path:
            paths[field] = Path(path)
    namespace = flags.get("namespace") or environ.get(variable("namespace")) or _default_namespace()
    sources = {
        field: Source(variable(file_field(field)), path, _key(path, paths.values(), namespace))
        for field, path in paths.items()
    }
    for field, source in sources.items():
        try:
            values[field] = _read(source, _MAX_BYTES)
        except _Unreadable as problem:
            failed[field] = source.variable, str(problem)
    problems = (*failed.values(), *_certificates(flags, environ, paths.values(), namespace))
    return FileValues(values, sources, frozenset(failed), problems)


def _certificates(
    flags: Mapping[str, Any], environ: Mapping[str, str], others: Iterable[Path], namespace: str
) -> Iterator[tuple[str, str]]:
    """What is wrong with the files of certificates. They stay files: each connection reads them again."""
    fields = (*REDIS_TLS_FILES, *LIVEKIT_TLS_FILES)
    given = {field: str(flags.get(field) or environ.get(variable(field), "")) for field in fields}
    paths = {field: Path(path) for field, path in given.items() if path}
    for field, path in paths.items():
        source = Source(variable(field), path, _key(path, [*others, *paths.values()], namespace))
        try:
            _read(source, _MAX_CERTIFICATES)
        except _Unreadable as problem:
            yield source.variable, str(problem)


def _given(field: str, flags: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[str, str]:
    """The value and the path of a setting, from the flags if they have either, else from the environment."""
    names = field, file_field(field)
    if any(name in flags for name in names):
        value, path = (str(flags.get(name, "")) for name in names)
    else:
        value, path = (environ.get(variable(name), "") for name in names)
    return value, path


def _default_namespace() -> str:
    return str(Settings.model_fields["namespace"].get_default())


def _key(path: Path, others: Iterable[Path], namespace: str) -> Key | None:
    """The key of the Secret that this path is, if it is one."""
    if path.parts[-5:-2] != _SECRETS:
        return None
    siblings = tuple(sorted({other.name for other in others if other.parent == path.parent}))
    return Key(path.parent.name, path.name, namespace, siblings)


def _read(source: Source, most: int) -> str:
    path = source.path
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise _Unreadable(f"{path} is a directory; name the file in it that holds the value")
        if not stat.S_ISREG(kind):
            raise _Unreadable(f"{path} is not a regular file; name a file that holds the value")
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise _Unreadable(f"{path} does not exist{_missing(source)}") from None
    except OSError as error:
        raise _Unreadable(f"{path} cannot be read: {error.strerror}; let the operator's user read it") from None
    if len(content) > most:
        raise _Unreadable(f"{path} is longer than {most // 1024} KiB; it must hold the value alone")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _Unreadable(f"{path} is not text in UTF-8; it must hold the value alone{source.remedy}") from None


def _missing(source: Source) -> str:
    key = source.key
    if key is None:
        return "; create it, or correct the path"
    found = tuple(_keys(source.path.parent))
    if found:
        return f": the Secret {key.secret} has no key {key.key} (it has {', '.join(found)}); add it: {key.set}"
    return (
        f": there is no Secret {key.secret} in the namespace {key.namespace}, or it is empty; create it: {key.create}"
    )


def _keys(directory: Path) -> Iterator[str]:
    """The keys of the mounted Secret. The kubelet's own entries begin with two dots."""
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError:
        return
    yield from (name for name in names if not name.startswith(".."))
