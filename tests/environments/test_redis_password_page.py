"""The commands of docs/keys.md for the password of Redis, typed on real servers that are restarted after each step."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as redis_py

from sandbox.source import ROOT
from tests.redis import redis_cli
from tests.redis.servers import Server, programs
from tests.support.real_programs import MARKER

pytestmark = getattr(pytest.mark, MARKER)

PAGE = (ROOT / "docs/keys.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
ADDS, REPLACES = (block for block in _BLOCK.findall(PAGE) if "ACL SETUSER" in block)
USER = "user roomkeeper on >old ~* +@all\n"


@pytest.fixture(params=[(kind, saves) for kind in sorted(programs()) for saves in ("ACL SAVE", "CONFIG REWRITE")])
def nodes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, list[Server]]]:
    """How the user is saved, and two servers that have it in a file."""
    kind, saves = request.param
    started: list[Server] = []
    try:
        for name in ("0", "1"):
            folder = tmp_path_factory.mktemp(name)
            (folder / "users.acl").write_text(f"user default on nopass ~* &* +@all\n{USER}")
            (folder / "redis.conf").write_text(USER)
            in_file = saves == "ACL SAVE"
            server = Server(
                kind,
                folder,
                options=("--aclfile", str(folder / "users.acl")) if in_file else (),
                config="" if in_file else str(folder / "redis.conf"),
            )
            started.append(server)
            server.start()
        yield saves, started
    finally:
        for server in started:
            server.stop()


def accepts(server: Server, password: str) -> bool:
    """Whether a new connection of the user with this password is let in."""
    with redis_py.Redis.from_url(server.url, username="roomkeeper", password=password) as client:
        try:
            return bool(client.ping())
        except redis_py.AuthenticationError:
            return False


def typed(block: str, saves: str, servers: list[Server], folder: Path) -> list[str]:
    """Type a block of the page for these nodes; what it prints."""
    program = shlex.join([sys.executable, "-I", redis_cli.__file__])
    (folder / "redis-cli").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    (folder / "redis-cli").chmod(0o755)
    ours = re.sub(r"(?<=for node in ).*(?=; do)", " ".join(server.url for server in servers), block)
    done = subprocess.run(
        ["bash", "-euc", ours.replace("ACL SAVE", saves)],
        cwd=folder,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def restarted(servers: list[Server]) -> list[Server]:
    for server in servers:
        server.stop()
        server.start()
    return servers


def test_the_password_is_replaced_without_a_gap_and_outlives_restarts_on_every_node(
    nodes: tuple[str, list[Server]], tmp_path: Path
) -> None:
    saves, servers = nodes
    assert typed(ADDS, saves, servers, tmp_path) == ['"OK"'] * 4
    new = (tmp_path / "new-password").read_text(encoding="ascii")
    assert len(new) == 64
    for server in restarted(servers):
        assert (accepts(server, "old"), accepts(server, new)) == (True, True)
    assert typed(REPLACES, saves, servers, tmp_path) == ['"OK"'] * 4
    for server in restarted(servers):
        assert (accepts(server, "old"), accepts(server, new), accepts(server, "")) == (False, True, False)
    assert all("old" not in path.read_text(encoding="utf-8") for path in tmp_path.iterdir())
