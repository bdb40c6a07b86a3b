"""Fixtures of all tests on real parts: the stacks of the session, and a namespace with everything around it per test.

`stack` runs the whole product, once for all workers, and is never disturbed. `bare` runs everything but an operator,
once per worker: tests that kill or change one start their own there, and tests of the API alone are left in peace by
it. Which of the two a test is on is what the fixture `where` says; directories and modules override it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import redis.asyncio as redis_py
from livekit import api

from controller.api.names import MANAGED_LABEL
from controller.clients.redis.gateway import Gateway
from controller.clients.redis.keys import Keys
from sandbox.administrator import Administrator, Refused
from sandbox.endpoints import Endpoints
from sandbox.image.install import install
from sandbox.kubelet.kubelet import Kubelet
from sandbox.kubelet.process import ProcessRuntime
from sandbox.ports import PortLocks
from sandbox.stack import Stack, StackOptions
from tests.support.images import IMAGE, NEXT_VERSION, REPOSITORY
from tests.support.kube import Kube
from tests.support.logins import LoginsRedis
from tests.support.operators import Operators
from tests.support.people import People
from tests.support.real_programs import (
    pytest_collection_modifyitems,
    pytest_runtest_protocol,
    real_programs,
)
from tests.support.rig import Rig
from tests.support.rights import DIRECTORY, pytest_sessionfinish, pytest_terminal_summary
from tests.support.shared import session_directory, shared_stack

__all__ = [
    "pytest_collection_modifyitems",
    "pytest_runtest_protocol",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "real_programs",
]


@pytest.fixture(scope="session")
def audit_log(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """Where this worker's API servers note the requests of the operator (`tests.support.rights`)."""
    directory = session_directory(tmp_path_factory, pytestconfig) / DIRECTORY
    directory.mkdir(exist_ok=True)
    return directory / f"{secrets.token_hex(4)}.log"


@pytest.fixture(scope="session")
async def stack(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config, audit_log: Path, real_programs: None
) -> AsyncIterator[Endpoints]:
    """The whole stack, one for all workers; every decision of its operator is recorded."""
    directory = session_directory(tmp_path_factory, pytestconfig)
    settings = {"ROOMKEEPER_RECORD_DIR": str(directory / "record")}
    options = StackOptions(operator_settings=settings, audit_log=audit_log.with_suffix(".stack.log"))
    async with shared_stack(directory / "stack", options) as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
async def bare(
    tmp_path_factory: pytest.TempPathFactory, audit_log: Path, real_programs: None
) -> AsyncIterator[Endpoints]:
    """A stack without an operator, one for each worker: what a test does to it disturbs no other."""
    options = StackOptions(tmp_path_factory.mktemp("bare") / "stack", operator=False, audit_log=audit_log)
    async with Stack(options) as stack:
        yield stack.endpoints


@pytest.fixture(scope="session")
def opt(tmp_path_factory: pytest.TempPathFactory, real_programs: None) -> Path:
    """The directory that is /opt in the image. pip installs it from the package index, which takes a while.

    The tests that use it are in the group `image`, so that one worker installs it once.
    """
    target = tmp_path_factory.mktemp("opt")
    install(target)
    return target


@pytest.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory, real_programs: None) -> AsyncIterator[Endpoints]:
    """A cluster without anything of Roomkeeper, which runs Deployments and Jobs: for what is installed in it."""
    directory = tmp_path_factory.mktemp("cluster") / "stack"
    options = StackOptions(directory, operator=False, workloads=True, manifests=(), cluster_id="default")
    async with Stack(options) as stack:
        yield stack.endpoints


@pytest.fixture(scope="session")
async def node(cluster: Endpoints, opt: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kubelet]:
    """The node of the cluster: it runs Pods as processes."""
    environment = opt / "roomkeeper"
    runtime = ProcessRuntime({IMAGE: environment, f"{REPOSITORY}:{NEXT_VERSION}": environment})
    async with Kubelet(cluster, runtime, tmp_path_factory.mktemp("node")) as kubelet:
        yield kubelet


@pytest.fixture
def kubelet(node: Kubelet) -> Iterator[Kubelet]:
    """The node, which must not fail itself during the test."""
    yield node
    node.check()


@pytest.fixture
def ports() -> Iterator[PortLocks]:
    """Ports for this test alone."""
    locks = PortLocks()
    yield locks
    locks.release()


@pytest.fixture
def where(stack: Endpoints) -> Endpoints:
    """The stack that the test is on."""
    return stack


@pytest.fixture
def managed() -> bool:
    """Whether the API server gives Matches of the test's namespace our finalizer."""
    return True


@pytest.fixture
async def namespace(request: pytest.FixtureRequest, where: Endpoints, managed: bool) -> AsyncIterator[str]:
    """A namespace for this test alone, called after it."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())[:40].strip("-")
    name = f"{words}-{secrets.token_hex(3)}"
    labels = {MANAGED_LABEL: "true"} if managed else {}
    async with Administrator.of(where) as admin:
        await admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        yield name
        with contextlib.suppress(Refused):  # a test may have deleted it
            await admin.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
async def kube(where: Endpoints, namespace: str) -> AsyncIterator[Kube]:
    """The administrator in the test's namespace."""
    async with Administrator.of(where) as admin:
        yield Kube(where, namespace, admin)


@pytest.fixture
def keys(where: Endpoints, namespace: str) -> Keys:
    """The names of the pool's keys in Redis."""
    return Keys(where.cluster_id, namespace)


@pytest.fixture
async def redis(where: Endpoints) -> AsyncIterator[redis_py.Redis]:
    """A plain client of Redis."""
    client = redis_py.Redis.from_url(where.redis_url, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture
async def livekit(where: Endpoints) -> AsyncIterator[api.LiveKitAPI]:
    """LiveKit's API."""
    async with aiohttp.ClientSession() as session:
        yield api.LiveKitAPI(
            where.livekit_http_url, where.livekit_api_key, where.livekit_api_secret, session=session, failover=False
        )


@pytest.fixture
async def gateway(where: Endpoints, keys: Keys) -> AsyncIterator[Gateway]:
    """What gateways and matchmakers do with users."""
    client = LoginsRedis(where.redis_url, where.redis_urls)
    yield Gateway(client, keys)
    await client.close()


@pytest.fixture
async def people(where: Endpoints) -> AsyncIterator[People]:
    """Makes simulated people; at the end of the test they are gone."""
    async with People(where) as all_of_them:
        yield all_of_them


@pytest.fixture
async def operators(where: Endpoints, namespace: str, tmp_path: Path) -> AsyncIterator[Operators]:
    """Makes operators for this test's namespace, on the stack that has none."""
    async with Operators(where, namespace, tmp_path) as all_of_them:
        yield all_of_them


@pytest.fixture
def bare_rig(
    where: Endpoints,
    kube: Kube,
    redis: redis_py.Redis,
    keys: Keys,
    livekit: api.LiveKitAPI,
    gateway: Gateway,
    people: People,
    operators: Operators,
) -> Rig:
    """All of these in one. It checks nothing at the end of the test; the fixture `rig` of tests/e2e does."""
    return Rig(where, kube, redis, keys, livekit, gateway, people, operators)
