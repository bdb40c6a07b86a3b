"""The commands of docs/configuration.md, run as they stand there, after those of docs/install.md that make the Secrets.

helm only renders.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis_py

from sandbox.parts import locate
from sandbox.source import ROOT
from tests.support.kube import Kube

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SECRETS = "/api/v1/namespaces/roomkeeper-system/secrets"


def commands(program: str, file: str = "configuration.md") -> list[list[str]]:
    """The commands of the page that run this program, as words."""
    page = (ROOT / "docs" / file).read_text(encoding="utf-8")
    lines = [line for block in _BLOCK.findall(page) for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))[:1] == [program]]


@pytest.fixture
async def no_secrets(kube: Kube) -> AsyncIterator[None]:
    """The Secrets of the page do not outlive the test."""
    yield
    for name in ("roomkeeper-livekit", "roomkeeper-redis"):
        await kube.admin.call("DELETE", f"{_SECRETS}/{name}")


@pytest.mark.usefixtures("no_secrets")
async def test_kubectl_creates_and_changes_the_secrets_and_asks_for_rights(kube: Kube) -> None:
    made = [words for words in commands("kubectl", "install.md") if words[3:5] == ["create", "secret"]]
    # tests/environments/test_two_operators.py deletes the Lease of an installation that is gone.
    changed = [words for words in commands("kubectl") if "lease" not in words]
    assert (len(made), len(changed)) == (2, 2)
    for words in made + changed:
        done = await asyncio.to_thread(kube.kubectl, *words[1:])
        assert done.returncode == 0, f"{words}: {done.stderr}"
    redis = await kube.admin.call("GET", f"{_SECRETS}/roomkeeper-redis")
    assert list(redis["data"]) == ["url"]
    livekit = await kube.admin.call("GET", f"{_SECRETS}/roomkeeper-livekit")
    assert sorted(livekit["data"]) == ["api-key", "api-secret", "url"]


async def test_redis_takes_the_settings(redis: redis_py.Redis) -> None:
    found = commands("redis-cli")
    before = {words[3]: str((await redis.config_get(words[3]))[words[3]]) for words in found}
    assert set(before) == {"maxmemory-policy", "appendonly", "appendfsync"}
    try:
        for words in found:
            assert words[:3] == ["redis-cli", "CONFIG", "SET"]
            assert await redis.config_set(words[3], words[4])
    finally:
        for name, value in before.items():
            await redis.config_set(name, value)


@pytest.mark.usefixtures("real_programs")
@pytest.mark.parametrize("words", commands("helm"), ids=lambda words: words[1])
def test_helm_takes_the_values(words: list[str]) -> None:
    release = words.index("roomkeeper")
    options = [word for word in words[release:] if word != "--create-namespace"]
    done = subprocess.run(
        [str(locate("helm").path), "template", *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "kind: Deployment" in done.stdout
