"""The real image, built on Debian where no registry is reachable: bases by debootstrap, the image by buildah."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from functools import cache
from typing import Final

from sandbox.image import bases, buildah, dockerfile
from sandbox.image.build import build_command, origin
from sandbox.image.container import SECCOMP_PROFILE, missing_tools
from sandbox.progress import Progress
from sandbox.source import ROOT

IMAGE: Final = "localhost/roomkeeper:test"
_PACKAGES: Final = ("buildah", "debootstrap", "dpkg", "golang-github-containers-common", "runc")

# A build leaves about 25 of them, most without a size of their own.
_KEPT_IMAGES: Final = 200


@cache
def built() -> str:
    """The name of the image, built from this tree once per session."""
    prepare()
    Progress().done(IMAGE, "built", build())
    return IMAGE


def prepare() -> None:
    """Install the tools that are missing, and make the base images; AssertionError says what is in the way."""
    assert os.geteuid() == 0, "make test-image needs root: debootstrap, buildah and runc make a root file system"
    if missing_tools() or not SECCOMP_PROFILE.exists():
        assert shutil.which("apt-get"), f"make test-image needs Debian, or these programs: {missing_tools()}"
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *_PACKAGES]):
            done = subprocess.run(["apt-get", "-qq", *command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"apt-get {command[0]} failed:\n{done.stderr[-2000:]}"
    assert not missing_tools(), f"not installed: {missing_tools()}"
    buildah.prune(_KEPT_IMAGES)
    arguments = dockerfile.read().arguments
    bases.ensure(arguments["PYTHON_IMAGE"], arguments["RUNTIME_IMAGE"], Progress())


def build(tag: str = IMAGE, *, cache: bool = True) -> float:
    """Build the image as `make image` does, but over the local bases; the seconds it took."""
    began = time.monotonic()
    layers = ["--layers"] if cache else ["--no-cache"]
    base = buildah.command("build", "--isolation", "chroot", "--pull-never", *layers)
    with build_command(base, "buildah", origin(), tag) as command:
        buildah.output(command, cwd=ROOT)
    return time.monotonic() - began
