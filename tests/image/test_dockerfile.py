"""The Dockerfile, .dockerignore and constraints.txt: what a security review looks for, read from the files."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from sandbox.errors import BuildError
from sandbox.image import dockerfile
from sandbox.image.build import Origin, build_command, find_builder, origin, pip_secrets
from sandbox.image.container import seccomp
from sandbox.image.install import is_portable
from sandbox.source import ROOT

FILE = dockerfile.read()
IMAGE = FILE.stage("")


def test_the_bases_are_named_with_registry_and_tag_and_take_a_digest() -> None:
    assert FILE.arguments == {
        "PYTHON_IMAGE": "docker.io/library/python:3.13-slim-trixie",
        "PYTHON_DIGEST": "",
        "RUNTIME_IMAGE": "gcr.io/distroless/python3-debian13:nonroot",
        "RUNTIME_DIGEST": "",
    }
    bases = {stage.name: stage.base for stage in FILE.stages}
    assert bases == {
        "build": "${PYTHON_IMAGE}${PYTHON_DIGEST:+@}${PYTHON_DIGEST}",
        "sbom": "build",
        "finish": "build",
        "": "${RUNTIME_IMAGE}${RUNTIME_DIGEST:+@}${RUNTIME_DIGEST}",
    }


def test_nothing_is_run_in_the_image_itself() -> None:
    assert IMAGE.all("RUN") == []
    assert [copy.text for copy in IMAGE.all("COPY")] == ["--from=finish /opt/roomkeeper /opt/roomkeeper"]


def test_the_user_is_a_number_that_is_not_root() -> None:
    """The kubelet refuses `runAsNonRoot` for a name, as it cannot tell who that is."""
    (user,) = IMAGE.all("USER")
    assert user.text == "65532:65532"


def test_no_shell_stands_between_the_kubelet_and_the_operator() -> None:
    (entry_point,) = IMAGE.all("ENTRYPOINT")
    (command,) = IMAGE.all("CMD")
    assert json.loads(entry_point.text) == ["/opt/roomkeeper/bin/roomkeeper"]
    assert json.loads(command.text) == ["operator"]


def test_the_image_sets_no_setting_of_the_operator() -> None:
    assert not [name for name in IMAGE.environment() if name.startswith("ROOMKEEPER_")]


def test_the_label_says_the_version_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    labels = dict(word.split("=", 1) for word in IMAGE.all("LABEL")[0].words)
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert labels["org.opencontainers.image.description"] == project["description"]
    assert labels["org.opencontainers.image.licenses"] == project["license"]


def test_the_labels_give_the_addresses_of_the_project() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    labels = dict(word.split("=", 1) for word in IMAGE.all("LABEL")[0].words)
    assert labels["org.opencontainers.image.url"] == urls["Homepage"]
    assert labels["org.opencontainers.image.source"] == urls["Source"]
    assert labels["org.opencontainers.image.documentation"] == urls["Documentation"]
    assert labels["org.opencontainers.image.vendor"] == "Roomkeeper"


def test_only_the_operator_goes_into_the_build() -> None:
    files = [str(path) for path in dockerfile.copy_set()]
    assert "controller/__main__.py" in files
    assert "controller/clients/redis/scripts" in {str(Path(file).parent) for file in files}
    top = {file.split("/")[0] for file in files}
    assert top - {"contract"} == {"controller", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    assert not [file for file in files if "__pycache__" in file]


def test_constraints_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line)] == []


def test_what_runs_without_a_container_is_what_installs_python_packages() -> None:
    runs = [instruction for name in ("build", "sbom") for instruction in FILE.stage(name).all("RUN")]
    assert [run for run in runs if not is_portable(run)] == [runs[0]]
    assert "apt-get install" in runs[0].text
    assert not any(is_portable(run) for run in FILE.stage("finish").all("RUN"))


def test_an_ignore_file_that_is_not_understood_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("*\n!controller\nsecrets/*\n")
    with pytest.raises(BuildError, match="only `!NAME`"):
        dockerfile.copy_set(tmp_path)


def test_pips_index_reaches_the_build_as_a_secret_alone(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.crt"
    options = {"index-url": "https://user:word@index.example/simple", "cert": str(certificate), "timeout": "5"}
    secrets = pip_secrets(tmp_path, options)
    assert secrets == {"ca.crt": certificate, "pip.conf": tmp_path / "pip.conf"}
    assert (tmp_path / "pip.conf").read_text().splitlines() == [
        "[global]",
        "index-url = https://user:word@index.example/simple",
        "cert = /run/secrets/ca.crt",
    ]
    assert (tmp_path / "pip.conf").stat().st_mode & 0o077 == 0
    assert pip_secrets(tmp_path, {"timeout": "5"}) == {}


def test_a_release_gives_the_digests_of_the_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_DIGEST", "sha256:aa")
    monkeypatch.setenv("RUNTIME_DIGEST", "sha256:bb")
    source = Origin(version="1.2.3", revision="abc", epoch=1_700_000_000)
    with build_command(["buildah", "build"], "buildah", source, "roomkeeper:1.2.3") as command:
        assert {"PYTHON_DIGEST=sha256:aa", "RUNTIME_DIGEST=sha256:bb", "VERSION=1.2.3"} <= set(command)
        assert "CREATED=2023-11-14T22:13:20Z" in command
        assert command[command.index("--timestamp") + 1] == "1700000000"
    with build_command(["docker", "build"], "docker", source, "roomkeeper:1.2.3") as command:
        assert "--timestamp" not in command
        assert "SOURCE_DATE_EPOCH=1700000000" in command


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH: empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("IMAGE_BUILDER", raising=False)
    return tmp_path


def _program(file: Path, status: int) -> None:
    file.write_text(f"#!/bin/sh\nexit {status}\n")
    file.chmod(0o755)


def test_a_docker_client_without_its_server_is_passed_over(programs: Path) -> None:
    _program(programs / "docker", 1)
    _program(programs / "buildah", 0)
    assert find_builder() == "buildah"
    _program(programs / "podman", 0)
    assert find_builder() == "podman"
    _program(programs / "docker", 0)
    assert find_builder() == "docker"


def test_without_a_builder_the_error_names_those_that_were_tried(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BuildError, match=r"no builder of images works here \(tried: docker, podman, buildah\)"):
        find_builder()
    monkeypatch.setenv("IMAGE_BUILDER", "kaniko")
    with pytest.raises(BuildError, match="IMAGE_BUILDER must be one of docker, podman, buildah, not 'kaniko'"):
        find_builder()
    monkeypatch.setenv("IMAGE_BUILDER", "podman")
    with pytest.raises(BuildError, match=r"\(tried: podman\)"):
        find_builder()


def test_a_time_that_is_no_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(BuildError, match="SOURCE_DATE_EPOCH must be seconds since 1970, not 'yesterday'"):
        origin()


def test_the_seccomp_profile_allows_nothing_that_needs_a_capability() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [], "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {"arches": ["s390x"]}},
        ],
    }
    made = seccomp(profile, "x86_64")
    assert made["defaultAction"] == "SCMP_ACT_ERRNO"
    assert made["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    assert [rule["names"] for rule in made["syscalls"]] == [["read"], ["clone"]]
