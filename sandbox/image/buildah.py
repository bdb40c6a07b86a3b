"""Runs buildah on a storage of its own in the user's cache: images of the tests never meet images of the user.

`bases` makes the base images with it, `build` the real image, `container` mounts what was built.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sandbox.errors import BuildError
from sandbox.source import user_cache

_TAIL_CHARACTERS: Final = 3000


def storage() -> Path:
    """The directory for images and layers."""
    path = user_cache() / "image"
    path.mkdir(parents=True, exist_ok=True)
    return path


def command(*arguments: str) -> list[str]:
    """The command line of buildah on our storage."""
    return ["buildah", "--root", str(storage() / "storage"), "--runroot", str(storage() / "run"), *arguments]


def run(*arguments: str) -> str:
    """What buildah prints, without the line's end; BuildError if it fails."""
    return output(command(*arguments))


def output(words: list[str], cwd: Path | None = None) -> str:
    """What a command prints, without the line's end; BuildError with its last lines if it fails."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-_TAIL_CHARACTERS:]
        raise BuildError(f"{words[0]} ended with status {done.returncode}:\n{said}")
    return done.stdout.strip()


def has_image(name: str) -> bool:
    return subprocess.run(command("inspect", "--type", "image", name), capture_output=True, check=False).returncode == 0


def inspect_image(name: str) -> dict[str, Any]:
    """The OCI description of an image: `config`, `rootfs`, `history`."""
    found: dict[str, Any] = json.loads(run("inspect", "--type", "image", name))["OCIv1"]
    return found


def image_id(name: str) -> str:
    return run("inspect", "--type", "image", "--format", "{{.FromImageID}}", name)


def prune(keep: int) -> None:
    """Remove the layers of earlier builds once there are more than `keep` images; the next build makes its own."""
    if len(run("images", "--all", "--quiet").splitlines()) > keep:
        run("rmi", "--prune", "--force")


def remove_image(name: str) -> None:
    run("rmi", "--force", name)


def image_of(root: Path, name: str, *settings: str) -> None:
    """Make an image of the files below `root`, with their owners; `settings` are options of `buildah config`."""
    # From a directory buildah takes the files, but not their owners.
    archive = root.with_suffix(".tar")
    output(["tar", "--create", "--numeric-owner", "--file", str(archive), "--directory", str(root), "."])
    container = run("from", "scratch")
    try:
        run("add", container, str(archive), "/")
        run("config", *settings, container)
        run("commit", container, name)
    finally:
        run("rm", container)
        archive.unlink()


@contextmanager
def mounted(image: str) -> Iterator[Path]:
    """The files of an image, as a directory."""
    container = run("from", "--pull-never", image)
    try:
        yield Path(run("mount", container))
    finally:
        run("umount", container)
        run("rm", container)
