"""`make test-image`: build the real Dockerfile, run the image as a kubelet would, and carry a call with it.

Not part of `make test` (its name keeps it out): it needs root and Debian. Nothing is pulled from a registry. Two builds
without a cache give one image; runc runs it with a read-only root, as 65532, without capabilities.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio as redis_py
from livekit import api

from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from sandbox.endpoints import Endpoints
from sandbox.image import buildah
from sandbox.image.build import origin
from sandbox.image.container import Container
from sandbox.progress import Progress
from tests.image import debian
from tests.support.kube import Kube
from tests.support.operators import Operators
from tests.support.people import People
from tests.support.rig import Rig
from tests.support.waiting import eventually

MAX_UNPACKED_MB = 125
_KUBECONFIG = "/etc/roomkeeper/kubeconfig"
_PROBE_TIMEOUT = aiohttp.ClientTimeout(total=2)


@pytest.fixture(scope="session")
def image() -> str:
    """The image, built from this tree."""
    return debian.built()


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    """The stack without an operator: the container is the operator."""
    return bare


@pytest.fixture
async def operator(image: str, where: Endpoints, namespace: str, tmp_path: Path) -> AsyncIterator[Container]:
    """The operator in its container, ready."""
    kubeconfig = _readable_copy(where.operator_env["KUBECONFIG"], tmp_path / "kubeconfig")
    environment = where.operator_env | {"KUBECONFIG": _KUBECONFIG, "ROOMKEEPER_WATCH_NAMESPACES": namespace}
    container = Container(image, environment=environment, files={_KUBECONFIG: kubeconfig}, log=tmp_path / "log")
    async with container:
        await eventually(lambda: _is_ready(container, where))
        yield container


def _readable_copy(source: str, target: Path) -> Path:
    """A copy of our own file for the user 65532, as the kubelet makes the projected token readable."""
    shutil.copyfile(source, target)
    target.chmod(0o444)
    return target


async def _is_ready(container: Container, where: Endpoints) -> None:
    assert container.running, f"the container ended:\n{container.log}"
    try:
        async with (
            aiohttp.ClientSession(timeout=_PROBE_TIMEOUT) as session,
            session.get(f"{where.operator_url}/readyz") as answer,
        ):
            status = answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        raise AssertionError(f"the operator does not answer ({error}):\n{container.log}") from None
    assert status == 200, container.log


async def test_two_people_have_a_call(
    operator: Container,
    where: Endpoints,
    kube: Kube,
    redis: redis_py.Redis,
    keys: Keys,
    livekit: api.LiveKitAPI,
    gateway: Gateway,
    people: People,
    operators: Operators,
) -> None:
    rig = Rig(where, kube, redis, keys, livekit, gateway, people, operators)
    await rig.enqueue("alice", "bob")
    _, (alice, bob) = await rig.active(admission="Queued")
    await alice.wait_for("track_subscribed", identity="bob")
    await rig.expect_states(alice="IN_CALL", bob="IN_CALL")
    await rig.delete()
    for person in (alice, bob):
        assert (await person.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="WAITING")
    assert await rig.livekit_rooms() == {}
    assert "Traceback" not in operator.log


async def test_it_runs_without_any_privilege_and_stops_when_asked(operator: Container) -> None:
    found = _process_status(operator.pid)
    assert (found["Uid"].split(), found["Gid"].split()) == (["65532"] * 4, ["65532"] * 4)
    capabilities = {name: int(value, 16) for name, value in found.items() if name.startswith("Cap")}
    assert len(capabilities) == 5
    assert set(capabilities.values()) == {0}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert "ro" in _root_mount_options(operator.pid)
    assert await operator.stop() == 0, operator.log


def _process_status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def _root_mount_options(pid: int) -> list[str]:
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    return next(mount[5] for mount in mounts if mount[4] == "/").split(",")


@pytest.mark.parametrize("arguments", [["version"], ["--help"]], ids=lambda arguments: str(arguments[0]))
async def test_its_commands_work(image: str, arguments: list[str], tmp_path: Path) -> None:
    async with Container(image, arguments=arguments, log=tmp_path / "log") as container:
        assert await container.wait() == 0, container.log
        assert "roomkeeper" in container.log.lower()


async def test_without_settings_it_ends_with_status_2_and_its_sentences(image: str, tmp_path: Path) -> None:
    async with Container(image, log=tmp_path / "log") as container:
        assert await container.wait() == 2, container.log
        head, *lines = container.log.strip().splitlines()
        assert head == "roomkeeper operator: 4 settings are wrong"
        assert all(line.split()[0].startswith("ROOMKEEPER_") and "is not set" in line for line in lines)


async def test_a_user_that_the_cluster_chooses_can_run_it_too(image: str, tmp_path: Path) -> None:
    """OpenShift gives each namespace a range of users."""
    container = Container(image, arguments=["version"], user=(1_000_650_000, 0), log=tmp_path / "log")
    async with container:
        assert await container.wait() == 0, container.log


def test_it_holds_what_it_needs_and_nothing_else(image: str) -> None:
    with buildah.mounted(image) as root:
        programs = {path.name for folder in ("bin", "sbin") for path in (root / "usr" / folder).iterdir()}
        programs |= {path.name for path in (root / "opt/roomkeeper/bin").iterdir()}
        assert {"python3.13", "roomkeeper"} <= programs
        assert programs.isdisjoint({"sh", "bash", "dash", "busybox", "pip", "pip3", "apt", "apt-get", "dpkg"})
        packages = root / "opt/roomkeeper/lib/python3.13/site-packages"
        names = {path.name.split("-")[0] for path in packages.iterdir()}
        assert names.isdisjoint({"sandbox", "tests", "benchmarks", "kubernetes", "pip", "setuptools", "wheel"})
        sources = {path.stem for path in (packages / "controller").rglob("*.py")}
        compiled = {path.name.split(".")[0] for path in (packages / "controller").rglob("*.pyc")}
        assert sources == compiled
        headers = {path.read_bytes()[4:8] for path in packages.rglob("*.pyc")}
        assert headers == {(1).to_bytes(4, "little")}, "every .pyc is hash-based and unchecked"
        ours = [path.lstat() for path in (root / "opt/roomkeeper").rglob("*")]
        assert {info.st_mtime for info in ours} == {float(origin().epoch)}
        assert {info.st_uid for info in ours} == {0}
        assert not [info for info in ours if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o022]
        sbom = json.loads((root / "opt/roomkeeper/share/sbom/roomkeeper.cdx.json").read_text())
        assert {"kopf", "aiohttp"} <= {component["name"] for component in sbom["components"]}


def test_it_is_small(image: str) -> None:
    with buildah.mounted(image) as root:
        sizes = {(info.st_dev, info.st_ino): info.st_size for info in map(Path.lstat, root.rglob("*"))}
        archive = subprocess.run(["tar", "--create", "--directory", str(root), "."], capture_output=True, check=True)
    unpacked, compressed = sum(sizes.values()) / 1e6, len(gzip.compress(archive.stdout, 6)) / 1e6
    Progress().note(f"  ✓ {unpacked:.1f} MB unpacked, {compressed:.1f} MB compressed")
    assert unpacked <= MAX_UNPACKED_MB


def test_its_labels_say_where_it_comes_from(image: str) -> None:
    labels = buildah.inspect_image(image)["config"]["Labels"]
    source = origin()
    assert labels["org.opencontainers.image.version"] == source.version
    assert labels["org.opencontainers.image.revision"] == source.revision
    assert labels["org.opencontainers.image.created"] == source.arguments["CREATED"]
    assert labels["org.opencontainers.image.base.name"] == "gcr.io/distroless/python3-debian13:nonroot"


async def test_two_builds_from_nothing_are_one_image(image: str) -> None:
    """Two clones of a commit, built without a cache, give the same image id."""
    names = [f"{image}-{number}" for number in (1, 2)]
    for name in names:
        seconds = await asyncio.to_thread(debian.build, name, cache=False)
        Progress().done(name, f"built without a cache: {buildah.image_id(name)[:23]}", seconds)
    ids = {buildah.image_id(name) for name in names}
    for name in names:
        buildah.remove_image(name)
    assert len(ids) == 1
