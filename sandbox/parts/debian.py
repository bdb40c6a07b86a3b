"""Programs that come from Debian's packages, on a Debian: Prometheus, and promtool of the same package.

The package is unpacked into a directory of its own in the cache: nothing is installed on the machine, root is not
needed, and no service starts. `parts/debian.txt` has the versions; `*` stands for Debian's own patches of one version.
Neighbor: `build` calls `unpack`, which needs apt-get and dpkg-deb.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Final

from sandbox.errors import BuildError
from sandbox.parts.cache import cache_directory
from sandbox.parts.programs import DebianProgram, package_version
from sandbox.parts.run import run_with_progress
from sandbox.progress import Progress

# The lists of packages on the machine may be old or missing; those of our own need no root.
_SCRIPT: Final = """\
set -eu
if ! apt-get download "$1"; then
    mkdir -p lists/partial archives/partial
    own="-o Dir::State::Lists=$PWD/lists -o Dir::Cache=$PWD -o APT::Sandbox::User="
    apt-get $own update
    apt-get $own download "$1"
fi
dpkg-deb --extract ./*.deb files
"""


def unpacked_path(program: DebianProgram) -> Path:
    """The path of the program, whether or not it is unpacked already."""
    return _directory(program) / "bin" / program.name


def unpack(program: DebianProgram, progress: Progress) -> Path:
    """Fetch and unpack the package. The caller holds the lock of the cache. Raises BuildError if that fails."""
    target, wanted = _directory(program), f"{program.package}={package_version(program.package)}"
    if missing := [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]:
        raise BuildError(
            f"{program.name} comes from Debian's package {wanted}, and {' and '.join(missing)} is not on PATH; "
            f"install {program.name} {program.rule} in another way, so that it is on PATH"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{program.package}-", dir=target.parent) as scratch:
        seconds = run_with_progress(
            ["sh", "-c", _SCRIPT, "sh", wanted],
            name=program.name,
            doing=f"fetching Debian's package {wanted}",
            log=Path(scratch) / "log",
            environment=dict(os.environ),
            cwd=Path(scratch),
            progress=progress,
        )
        if not os.access(Path(scratch) / "files/usr/bin" / program.name, os.X_OK):
            raise BuildError(f"Debian's package {wanted} has no program {program.name}")
        (Path(scratch) / "kept").mkdir()
        (Path(scratch) / "files/usr/bin").rename(Path(scratch) / "kept/bin")
        shutil.rmtree(target, ignore_errors=True)
        (Path(scratch) / "kept").rename(target)
    progress.done(program.name, f"Debian's package {wanted} unpacked", seconds)
    return unpacked_path(program)


def _directory(program: DebianProgram) -> Path:
    machine = f"{platform.system()}-{platform.machine()}".lower()
    version = package_version(program.package).removesuffix(".*")
    return cache_directory() / f"{program.package}-{version}-{machine}"
