"""A program that is never ready: the error says what it waits for, and how its log ends."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from sandbox.cluster import Cluster
from sandbox.directory import Directory
from sandbox.errors import ProgramError
from sandbox.logs import tail
from sandbox.program import Program, Recipe
from tests.support.certificates import Authority
from tests.support.waiting import eventually

_ANSWER = """\
[+]ping ok
[+]log ok
[-]etcd failed: reason withheld
[-]poststarthook/rbac/bootstrap-roles failed: not finished
readyz check failed
"""


async def test_a_program_that_is_never_ready_says_what_it_waits_for_and_how_its_log_ends(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "D")
    directory.take()

    async def is_ready() -> bool:
        async def has_written() -> None:
            assert tail(directory.log("patient"))

        await eventually(has_written)
        return False

    recipe = Recipe(
        name="patient",
        command=(sys.executable, "-c", "import signal; print('still at work', flush=True); signal.pause()"),
        ready=is_ready,
        where="nowhere",
        environment={},
        directory=tmp_path,
        ready_timeout_seconds=0,
        why_not=lambda: "[-]etcd failed",
    )
    program = Program(recipe, directory, on_death=lambda _: None)
    try:
        with pytest.raises(ProgramError) as failure:
            await program.start()
    finally:
        await program.kill()
        directory.release()
    told = "patient was not ready after 0 s: [-]etcd failed; its log ends with:\n    still at work"
    assert str(failure.value) == told


async def test_an_api_server_that_is_not_ready_is_told_by_its_checks_that_fail(tmp_path: Path) -> None:
    signed, answers = Authority(tmp_path / "ca").sign("server"), [web.Response(status=500, text=_ANSWER)]

    async def readyz(request: web.Request) -> web.Response:
        assert "verbose" in request.query
        return answers.pop() if answers else web.Response(text="[+]ping ok\nreadyz check passed\n")

    application = web.Application()
    application.router.add_get("/readyz", readyz)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    server = TestServer(application)
    await server.start_server(ssl=context)
    ca = tmp_path / "ca.crt"
    cluster = Cluster(f"https://127.0.0.1:{server.port}", ca, "token")
    try:
        assert not await cluster.is_ready()
        assert cluster.why_not_ready == "it has not written its certificate yet"
        ca.write_text((tmp_path / "ca" / "ca.crt").read_text())
        assert not await cluster.is_ready()
        assert cluster.why_not_ready == (
            "it answers 500: [-]etcd failed: reason withheld; [-]poststarthook/rbac/bootstrap-roles failed: "
            "not finished; readyz check failed"
        )
        assert await cluster.is_ready()
        await server.close()
        assert not await cluster.is_ready()
        assert cluster.why_not_ready.startswith("it does not answer: ")
    finally:
        await cluster.close()
        await server.close()
