"""`roomkeeper doctor` on real programs: what is right, and each thing that can be wrong."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from livekit import api

from controller.api.names import SCHEMA_DIGEST, SYSTEM_NAMESPACE
from sandbox.administrator import Administrator
from sandbox.endpoints import Endpoints
from sandbox.launch import launched
from sandbox.parts import locate
from sandbox.ports import PortLocks
from sandbox.recipes import bare_environment
from sandbox.source import ROOT
from tests.support.operators import Operators
from tests.support.waiting import eventually, patience

CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/rooms.roomkeeper.dev"
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM_NAMESPACE}/leases/roomkeeper-shard-0"


@pytest.fixture
def where(bare: Endpoints) -> Endpoints:
    return bare


async def doctor(environment: Mapping[str, str], *arguments: str, status: int = 0) -> dict[str, dict[str, str]]:
    """Run the command; return its findings by the names of the checks."""
    process = await asyncio.create_subprocess_exec(
        *launched((sys.executable, "-m", "controller", "doctor", "-o", "json", *arguments)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**bare_environment(), **environment},
        cwd=ROOT,
    )
    async with asyncio.timeout(patience()):
        out, err = await process.communicate()
    assert process.returncode == status, f"{out.decode()}\n{err.decode()}"
    document: dict[str, Any] = json.loads(out)
    return {check["name"]: check for check in document["checks"]}


def verdicts(findings: Mapping[str, Mapping[str, str]], verdict: str) -> set[str]:
    return {name for name, check in findings.items() if check["verdict"] == verdict}


async def test_where_all_is_well_every_check_says_so(where: Endpoints, operators: Operators) -> None:
    operator = await operators.start()
    await eventually(operator.leads)
    findings = await doctor(where.operator_env, "--webhook-url", operator.webhook_url)
    assert verdicts(findings, "ok") == set(findings), findings
    assert findings["API server"]["sentence"].endswith(f"as system:serviceaccount:{SYSTEM_NAMESPACE}:roomkeeper")
    assert findings["Lease"]["sentence"].endswith("epoch 1") or "epoch" in findings["Lease"]["sentence"]


async def test_an_administrator_without_settings_learns_what_the_cluster_tells(where: Endpoints) -> None:
    findings = await doctor({"KUBECONFIG": str(where.kubeconfig)}, status=1)
    asked = {"API server", "CRDs", "rights", "Lease"}
    # It depends on whether an operator has worked here before.
    assert verdicts(findings, "unchecked") - {"other operators"} == set(findings) - asked - {"other operators"}
    assert (
        "no operator works" in findings["Lease"]["sentence"]
        or "no operator has worked yet" in (findings["Lease"]["sentence"])
    )
    assert findings["Lease"]["remedy"].startswith("its log says why: kubectl --namespace roomkeeper-system logs")


async def test_wrong_credentials_and_addresses_are_named(where: Endpoints) -> None:
    wrong = {
        **where.operator_env,
        "ROOMKEEPER_LIVEKIT_API_SECRET": "x" * 32,
        "ROOMKEEPER_REDIS_URL": "redis://127.0.0.1:1",
    }
    findings = await doctor(wrong, "--webhook-url", "http://127.0.0.1:1/livekit/webhook", status=1)
    assert {"LiveKit", "Redis", "webhook"} <= verdicts(findings, "failed")
    assert "LiveKit refused our API key" in findings["LiveKit"]["sentence"]
    assert "the connection failed" in findings["Redis"]["sentence"]
    assert findings["Redis memory"]["verdict"] == "unchecked"
    assert "x" * 32 not in json.dumps(findings)


async def test_wrong_settings_are_a_finding_with_one_line_each(where: Endpoints) -> None:
    wrong = {**where.operator_env, "ROOMKEEPER_POLL_SECONDS": "often", "ROOMKEEPER_TYPO": "1"}
    findings = await doctor(wrong, status=1)
    sentences = findings["settings"]["sentence"].splitlines()
    assert any(line.startswith('ROOMKEEPER_POLL_SECONDS "often"') for line in sentences)
    assert any(line.startswith("ROOMKEEPER_TYPO is not a setting") for line in sentences)


async def test_missing_rights_are_listed(where: Endpoints, tmp_path: Path) -> None:
    config = yaml.safe_load(where.kubeconfig.read_text(encoding="utf-8"))
    async with Administrator.of(where) as admin:
        await admin.answer("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "nobody"}})
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = "/api/v1/namespaces/default/serviceaccounts/nobody/token"
        config["users"][0]["user"] = {"token": (await admin.call("POST", path, request))["status"]["token"]}
    kubeconfig = tmp_path / "nobody"
    kubeconfig.write_text(yaml.safe_dump(config))
    findings = await doctor({**where.operator_env, "KUBECONFIG": str(kubeconfig)}, status=1)
    assert findings["rights"]["sentence"].startswith("missing: get matches.roomkeeper.dev")
    assert findings["CRDs"]["sentence"] == "served; the schema is not checked: no right to read the CRDs"
    assert findings["Lease"]["verdict"] == "unchecked"


async def test_crds_of_another_version_are_named(where: Endpoints) -> None:
    async with Administrator.of(where) as admin:
        before = (await admin.call("GET", CRD))["metadata"]["annotations"][SCHEMA_DIGEST]
        try:
            await admin.call("PATCH", CRD, {"metadata": {"annotations": {SCHEMA_DIGEST: "another"}}})
            findings = await doctor({"KUBECONFIG": str(where.kubeconfig)}, status=1)
        finally:
            await admin.call("PATCH", CRD, {"metadata": {"annotations": {SCHEMA_DIGEST: before}}})
    assert findings["CRDs"]["sentence"] == "of another version: rooms.roomkeeper.dev"


@pytest.fixture
async def open_livekit(where: Endpoints, ports: PortLocks, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a LiveKit that makes a room for any client with a token."""
    port, tcp, udp = (ports.take() for _ in range(3))
    settings = {
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "rtc": {"tcp_port": tcp, "udp_port": udp, "node_ip": "127.0.0.1"},
        "keys": {where.livekit_api_key: where.livekit_api_secret},
        "room": {"auto_create": True},
        "logging": {"level": "warn"},
    }
    file = tmp_path / "livekit.yaml"
    file.write_text(yaml.safe_dump(settings))
    file.chmod(0o600)
    log = (tmp_path / "livekit.log").open("wb")
    command = (str(locate("livekit-server").path), "--config", str(file))
    process = await asyncio.create_subprocess_exec(*launched(command), stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    async def answers() -> None:
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                assert response.status == 200
        except aiohttp.ClientError as error:
            raise AssertionError((tmp_path / "livekit.log").read_text()) from error

    try:
        await eventually(answers)
        yield url
    finally:
        process.kill()
        await process.wait()
        log.close()


async def test_a_livekit_that_opens_rooms_for_its_guests_is_found_without_opening_one(
    where: Endpoints, open_livekit: str
) -> None:
    findings = await doctor({**where.operator_env, "ROOMKEEPER_LIVEKIT_URL": open_livekit}, status=1)
    assert findings["auto_create"]["verdict"] == "failed"
    assert findings["auto_create"]["remedy"] == "set room.auto_create: false in LiveKit's configuration"
    async with aiohttp.ClientSession() as session:
        client = api.LiveKitAPI(open_livekit, where.livekit_api_key, where.livekit_api_secret, session=session)
        rooms = (await client.room.list_rooms(api.ListRoomsRequest())).rooms
    assert not list(rooms)


async def test_a_redis_that_evicts_keys_is_found(where: Endpoints, redis: Any) -> None:
    before = await redis.config_get("maxmemory*")
    try:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        await redis.config_set("maxmemory", "100mb")
        findings = await doctor(where.operator_env, status=1)
    finally:
        await redis.config_set("maxmemory", before["maxmemory"])
        await redis.config_set("maxmemory-policy", before["maxmemory-policy"])
    assert findings["Redis memory"]["sentence"].startswith("maxmemory-policy is allkeys-lru at 100")
    assert findings["Redis memory"]["remedy"] == "set maxmemory-policy to noeviction"
