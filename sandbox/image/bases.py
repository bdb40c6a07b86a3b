"""Makes the two base images of the Dockerfile from Debian's packages, for machines that reach no registry.

They carry the names that the Dockerfile's `FROM` lines say, in a storage of their own in the user's cache, so that the
Dockerfile is built unchanged and no other image of the user is touched. They imitate the published ones: Debian trixie
with Python 3.13 below `/usr/local/bin`, and what distroless' `python3-debian13:nonroot` contains: the same packages
unpacked without dpkg, so no shell, and the user 65532.

Needs root, debootstrap, dpkg-deb and buildah. `build` uses them.
"""

from __future__ import annotations

import hashlib
import inspect
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from sandbox.image import buildah
from sandbox.progress import Progress

SUITE: Final = "trixie"

# As in distroless' own lists: static, base, cc, python3.
_RUNTIME_PACKAGES: Final = (
    *("base-files", "netbase", "tzdata", "tzdata-legacy", "media-types"),
    *("libc6", "libssl3t64", "libzstd1", "gcc-14-base", "libgcc-s1", "libgomp1", "libstdc++6"),
    *("libbz2-1.0", "libdb5.3t64", "libexpat1", "liblzma5", "libsqlite3-0", "libuuid1", "libncursesw6", "libtinfo6"),
    *(
        "zlib1g",
        "libcom-err2",
        "libcrypt1",
        "libc-bin",
        "libgssapi-krb5-2",
        "libk5crypto3",
        "libkeyutils1",
        "libkrb5-3",
    ),
    *("libkrb5support0", "libnsl2", "libreadline8t64", "libtirpc3t64", "libffi8", "libpython3.13-minimal"),
    *("libpython3.13-stdlib", "python3.13-minimal", "python3.13-venv"),
)
_BUILD_PACKAGES: Final = ("ca-certificates", "python3", "python3-venv", "python3-pip")
_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def digest() -> str:
    """Names the lists of packages and what is made of them; the bases are made again when it changes."""
    recipe = "\n".join((SUITE, *_RUNTIME_PACKAGES, *_BUILD_PACKAGES, inspect.getsource(sys.modules[__name__])))
    return hashlib.sha256(recipe.encode()).hexdigest()[:16]


def ensure(python_image: str, runtime_image: str, progress: Progress) -> None:
    """Make both images under these names, unless they are there already."""
    made = buildah.storage() / f"bases-{digest()}"
    names = (python_image, runtime_image)
    if made.exists() and all(buildah.has_image(name) for name in names):
        return
    scratch = Path(tempfile.mkdtemp(prefix="bases-", dir=buildah.storage()))
    try:
        root = scratch / "debian"
        progress.note(f"  … base images               debootstrap {SUITE} (a minute, once)")
        buildah.output(
            [
                *("debootstrap", "--variant=minbase", f"--include={','.join((*_BUILD_PACKAGES, *_RUNTIME_PACKAGES))}"),
                *(SUITE, str(root)),
            ]
        )
        _make_runtime_base(root, scratch / "runtime", runtime_image)
        _make_build_base(root, python_image)
    finally:
        shutil.rmtree(scratch)
    for old in buildah.storage().glob("bases-*"):
        old.unlink()
    made.touch()


def _make_build_base(root: Path, name: str) -> None:
    """Like `python:3.13-slim-trixie`: a Debian with a Python that has pip."""
    for alias in ("python", "python3", "python3.13"):
        (root / "usr/local/bin" / alias).symlink_to("/usr/bin/python3.13")
    shutil.rmtree(root / "var/cache/apt/archives")
    (root / "var/cache/apt/archives/partial").mkdir(parents=True)
    buildah.image_of(root, name, "--env", _PATH, "--cmd", "python3")


def _make_runtime_base(debian: Path, root: Path, name: str) -> None:
    """Like `distroless/python3-debian13:nonroot`: packages unpacked, and nothing installed."""
    root.mkdir()
    for package in _RUNTIME_PACKAGES:
        (archive,) = (debian / "var/cache/apt/archives").glob(f"{package}_*.deb")
        buildah.output(["dpkg-deb", "--extract", str(archive), str(root)])
    for alias in ("python", "python3"):
        (root / "usr/bin" / alias).symlink_to("/usr/bin/python3.13")
    (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
    shutil.copy2(debian / "etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/ca-certificates.crt")
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n"
        "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"
    )
    (root / "etc/group").write_text("root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:65532:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    home = root / "home/nonroot"
    home.mkdir(parents=True, mode=0o700)
    shutil.chown(home, 65532, 65532)
    buildah.output(["ldconfig", "-r", str(root)])
    settings = ("--env", _PATH, "--env", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "--env", "LANG=C.UTF-8")
    start = ("--user", "65532", "--workingdir", "/home/nonroot", "--entrypoint", '["/usr/bin/python3.13"]')
    buildah.image_of(root, name, *settings, *start)
