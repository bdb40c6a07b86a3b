"""Builds the image with the builder that is there: docker, podman or buildah.

    python -m sandbox.image build [TAG]

The build gets the version of pyproject.toml, the commit, and the commit's time as the time of every file: two builds
of one commit give the same image. pip in the build uses the package index and the certificate that pip on this machine
uses; they are handed over as secrets of the build, so neither the image nor its history contains them.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sandbox.errors import BuildError
from sandbox.source import ROOT

NAME: Final = "roomkeeper"
DIGESTS: Final = ("PYTHON_DIGEST", "RUNTIME_DIGEST")
# How to see that a builder works: docker may be a client without a server.
_BUILDERS: Final = {
    "docker": ("docker", "info"),
    "podman": ("podman", "--version"),
    "buildah": ("buildah", "--version"),
}
_BUILD_COMMANDS: Final = {
    "docker": ("docker", "build"),
    "podman": ("podman", "build", "--layers"),
    "buildah": ("buildah", "build", "--layers"),
}
_PIP_OPTIONS: Final = ("index-url", "extra-index-url", "trusted-host", "proxy")
_CERTIFICATE_IN_BUILD: Final = "/run/secrets/ca.crt"


@dataclass(frozen=True)
class Origin:
    """What an image is built from; all of it appears in its labels."""

    version: str
    revision: str
    """The commit; ends in `-dirty` if files have been changed since."""
    epoch: int
    """Seconds since 1970: the time of the commit, or SOURCE_DATE_EPOCH."""

    @property
    def arguments(self) -> dict[str, str]:
        """The arguments of the Dockerfile."""
        created = datetime.fromtimestamp(self.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "VERSION": self.version,
            "REVISION": self.revision,
            "CREATED": created,
            "SOURCE_DATE_EPOCH": str(self.epoch),
        }


def origin() -> Origin:
    """What the working tree says of itself; without git, the revision is unknown and the time 1970."""
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    revision = _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*") or "unknown"
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or "0"
    if not epoch.isdecimal():
        raise BuildError(f"SOURCE_DATE_EPOCH must be seconds since 1970, not {epoch!r}")
    return Origin(version, revision, int(epoch))


def find_builder() -> str:
    """The name of a builder that works: IMAGE_BUILDER, or the first of docker, podman and buildah."""
    wanted = os.environ.get("IMAGE_BUILDER", "")
    if wanted and wanted not in _BUILDERS:
        raise BuildError(f"IMAGE_BUILDER must be one of {', '.join(_BUILDERS)}, not {wanted!r}")
    for name in [wanted] if wanted else list(_BUILDERS):
        if shutil.which(name) and subprocess.run(_BUILDERS[name], capture_output=True, check=False).returncode == 0:
            return name
    tried = wanted or "docker, podman, buildah"
    raise BuildError(f"no builder of images works here (tried: {tried}); install one, or start its server")


def build(tag: str) -> None:
    """Build the image with the builder that is there, under `tag`; what the builder says goes to the terminal."""
    builder = find_builder()
    print(f"  … {tag:<26} building with {builder}", flush=True)
    with build_command(_BUILD_COMMANDS[builder], builder, origin(), tag) as command:
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise BuildError(f"{builder} ended with status {done.returncode}")


@contextmanager
def build_command(base: Sequence[str], builder: str, source: Origin, tag: str) -> Iterator[list[str]]:
    """The whole command line; the files of its secrets are there until the block ends."""
    arguments = source.arguments | {name: os.environ[name] for name in DIGESTS if os.environ.get(name)}
    command = [*base, "--tag", tag, "--file", "Dockerfile"]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    if builder != "docker":
        # docker has no such option: BuildKit takes the time from the argument SOURCE_DATE_EPOCH.
        command += ["--timestamp", str(source.epoch)]
    with tempfile.TemporaryDirectory(prefix="roomkeeper-build-") as folder:
        for name, file in pip_secrets(Path(folder), pip_options()).items():
            command += ["--secret", f"id={name},src={file}"]
        yield [*command, "."]


def pip_options() -> dict[str, str]:
    """The options of this machine's pip, from its files and from PIP_…; the environment wins."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    options: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        options[name.rpartition(".")[2]] = ast.literal_eval(value)
    return options


def pip_secrets(folder: Path, options: Mapping[str, str]) -> dict[str, Path]:
    """Write the secrets of the build: pip.conf and, if pip uses a certificate of its own, ca.crt."""
    lines = [f"{name} = {options[name]}" for name in _PIP_OPTIONS if name in options]
    secrets: dict[str, Path] = {}
    if certificate := options.get("cert"):
        secrets["ca.crt"] = Path(certificate)
        lines.append(f"cert = {_CERTIFICATE_IN_BUILD}")
    if lines:
        secrets["pip.conf"] = folder / "pip.conf"
        secrets["pip.conf"].touch(mode=0o600)
        secrets["pip.conf"].write_text("\n".join(["[global]", *lines, ""]))
    return secrets


def _git(*arguments: str) -> str:
    """What git answers about this tree; nothing without git or outside a clone."""
    if not shutil.which("git"):
        return ""
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
