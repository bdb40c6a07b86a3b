"""A second kube-apiserver on the etcd of a stack, as a cluster with several control planes has it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from sandbox.endpoints import Endpoints
from sandbox.launch import launched
from sandbox.ports import PortLocks
from tests.support.waiting import eventually

_PROGRAM = "kube-apiserver"
_PORT = "--secure-port="


def port_of(where: Endpoints) -> int:
    """The port of the stack's own API server."""
    return int(where.server.rpartition(":")[2])


@contextlib.asynccontextmanager
async def second_api_server(where: Endpoints) -> AsyncIterator[int]:
    """Start one more API server with the flags of the first, and stop it at the end of the block. Returns its port."""
    ports = PortLocks()
    port = ports.take()
    command = [f"{_PORT}{port}" if word.startswith(_PORT) else word for word in _command_of_the_first(where)]
    with (where.log_directory / "second-apiserver.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*launched(command), stdout=log, stderr=log)
    try:
        await eventually(lambda: _is_ready(where, port))
        yield port
    finally:
        process.kill()
        await process.wait()
        ports.release()


def kubeconfig_at(port: int, like: Path, at: Path) -> str:
    """Write the kubeconfig `like` with the API server at another port; return its path."""
    config: dict[str, Any] = yaml.safe_load(like.read_text(encoding="utf-8"))
    for entry in config["clusters"]:
        entry["cluster"]["server"] = f"https://127.0.0.1:{port}"
    at.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(at)


def _command_of_the_first(where: Endpoints) -> list[str]:
    pid = int((where.directory / "pids" / _PROGRAM).read_text())
    return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").rstrip("\0").split("\0")


async def _is_ready(where: Endpoints, port: int) -> None:
    trusted = ssl.create_default_context(cadata=where.ca)
    headers = {"Authorization": f"Bearer {where.admin_token}"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"https://127.0.0.1:{port}/readyz", ssl=trusted) as answer,
        ):
            status = answer.status
    except aiohttp.ClientError as error:
        raise AssertionError(f"the second API server does not answer ({error})") from None
    assert status == 200
