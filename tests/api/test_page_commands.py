"""Commands of pages that no other test types, on a real API server: it judges each change, and makes none.

The pages are draining.md, keys.md, quickstart.md and servers.md. What a wait is for exists.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from typing import Any

import pytest

from sandbox.source import ROOT
from tests import manifests
from tests.support.kube import Kube

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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
