"""Commands of pages that no other test types, on a real API server: it judges each change, and makes none.

The pages are draining.md, keys.md, quickstart.md and servers.md. What a wait is for exists. The commands of oncall.md
and retention.md that look for a user make their changes: they must find each Match of that user, and no other one.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from controller.api.names import FINALIZER
from sandbox.parts import locate
from sandbox.source import ROOT
from tests import manifests
from tests.support.kube import Kube

_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_CHANGES = ("apply", "create", "delete", "patch")


def commands(page: str) -> list[list[str]]:
    """kubectl's commands of a page, as words, without the comments and pipes after them."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    words: list[list[str]] = []
    for block in _BLOCK.findall(text):
        lexer = shlex.shlex(re.sub(r" +# .*", "", block).replace("\\\n", " "), posix=True, punctuation_chars="|;()\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " ", True, ""
        command: list[str] = []
        for word in [*lexer, ";"]:
            if not re.fullmatch(r"[|;()\n]+", word):
                command.append(word)
                continue
            if command[:1] == ["kubectl"]:
                words.append(command[1:])
            command = []
    return words


def in_our_namespace(words: list[str], namespace: str) -> list[str]:
    """The command without the namespaces of the page."""
    named = [i for i, word in enumerate(words) if word in {"-n", "--namespace"}]
    kept = [word for i, word in enumerate(words) if i not in named and i - 1 not in named]
    return ["-n", namespace, *kept]


@pytest.fixture
async def objects(kube: Kube) -> None:
    """What the pages speak of."""
    await kube.create(manifests.match("alice", "bob", name="match-demo"))
    server: dict[str, Any] = {"apiVersion": "roomkeeper.dev/v1alpha1", "kind": "LiveKitServer"}
    await kube.create(
        {**server, "metadata": {"name": "eu-1"}, "spec": {"url": "ws://127.0.0.1:7880", "cordoned": True}}
    )


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("page", ["draining.md", "keys.md", "quickstart.md", "servers.md"])
async def test_the_api_server_takes_the_commands_of_the_page(kube: Kube, page: str) -> None:
    found = commands(page)
    assert found
    for words in map(list, dict.fromkeys(map(tuple, found))):
        if words[-2:] == ["-f", "-"] or "$secret" in words:
            continue  # what it reads is the output of the command before
        if "exec" in words:
            continue  # there is no pod
        ours = in_our_namespace(words, kube.namespace)
        verb = ours[2]
        if verb == "wait":
            ours = [word for word in ours if not word.startswith("--timeout")] + ["--timeout=1ms"]
        if verb in _CHANGES and "--dry-run=client" not in ours:
            ours.append("--dry-run=server")
        done = await asyncio.to_thread(kube.kubectl, *ours)
        if verb == "wait":
            assert "timed out waiting for the condition" in done.stderr, f"{words}: {done.stderr}"
        elif "NotFound" not in done.stderr or verb != "delete":
            assert done.returncode == 0, f"{words}: {done.stderr}"


def shell_block(page: str, heading: str, words: str) -> str:
    """The first block of commands below a heading that has these words."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return str(next(block for block in blocks if words in block))


async def typed(kube: Kube, directory: Path, command: str) -> str:
    """Type a command into a shell; its output. It must succeed."""
    if not (directory / "kubectl").exists():
        (directory / "kubectl").symlink_to(locate("kubectl").path)
    environment = {**os.environ, "KUBECONFIG": str(kube.where.kubeconfig), "PATH": f"{directory}:{os.environ['PATH']}"}
    shell = ("bash", "-e", "-o", "pipefail", "-c", command)
    done = await asyncio.to_thread(subprocess.run, shell, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_commands_of_the_pages_find_each_match_of_a_user_whatever_labels_it_has(
    kube: Kube, tmp_path: Path
) -> None:
    # The commands look into all namespaces, so no other test may have a user of this name.
    alice = f"al,ice of {kube.namespace}"
    held = {"finalizers": [FINALIZER]}
    await kube.create(manifests.match(alice, "bob", name="first", meta={"name": "first", **held}))
    await kube.create(manifests.match("bob", alice, name="second", meta={"name": "second", **held}))
    await kube.create(manifests.match("alice", f"{alice}!", name="of-others", meta={"name": "of-others", **held}))

    looks = shell_block("oncall.md", "Where is user alice?", "get matches").replace('"alice"', f'"{alice}"')
    found = [line.split() for line in (await typed(kube, tmp_path, looks)).splitlines()]
    assert sorted(found) == [[kube.namespace, "first"], [kube.namespace, "second"]]

    deletes = shell_block("retention.md", "Deleting what is stored about a user", "kubectl delete").replace(
        '"alice"', f'"{alice}"'
    )
    assert alice in deletes
    await typed(kube, tmp_path, deletes)
    await typed(kube, tmp_path, deletes)
    names = ("first", "second", "of-others")
    bodies = {name: await kube.get("Match", name) for name in names}
    assert [name for name in names if "deletionTimestamp" in (bodies[name] or {})["metadata"]] == ["first", "second"]
