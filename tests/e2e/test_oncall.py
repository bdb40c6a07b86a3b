"""The questions of docs/oncall.md: each has one command, and the command answers it. All are asked about one call."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from controller.api.names import PAUSED
from sandbox.launch import launched
from sandbox.parts import locate
from sandbox.source import ROOT
from tests import manifests
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience

PAGE = (ROOT / "docs/oncall.md").read_text(encoding="utf-8")
_QUESTION = re.compile(r"^## ([^\n]+\?)\n(?:(?!^## ).)*?^```sh\n([^\n]+)\n```", re.MULTILINE | re.DOTALL)
QUESTIONS: dict[str, str] = dict(_QUESTION.findall(PAGE))


def test_every_question_has_exactly_one_command() -> None:
    assert len(QUESTIONS) == len(re.findall(r"^## .+\?$", PAGE, re.MULTILINE)) == PAGE.count("```sh")


class Reader:
    """Types the commands of the page into a shell. What the page calls `calls` is our namespace."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self._rig = rig
        self._left = dict(QUESTIONS)
        (directory / "kubectl").symlink_to(locate("kubectl").path)
        (directory / "roomkeeper").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m controller "$@"\n')
        (directory / "roomkeeper").chmod(0o755)
        self._environment = {
            **os.environ,
            **rig.where.operator_env,
            "KUBECONFIG": str(rig.where.kubeconfig),
            "PATH": f"{directory}:{os.environ['PATH']}",
        }

    async def asks(self, question: str, **changes: str) -> str:
        """Ask, with other words in place of some of the command's. Return what the answer says of our namespace."""
        self._left.pop(question, None)
        command = QUESTIONS[question].replace("-n calls", f"-n {self._rig.kube.namespace}")
        for word, other in changes.items():
            command = command.replace(word, other)
        process = await asyncio.create_subprocess_exec(
            *launched(("bash", "-e", "-o", "pipefail", "-c", command)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
            cwd=ROOT,
        )
        async with asyncio.timeout(patience(60)):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{command}\n{out.decode()}"
        lines = out.decode().splitlines()
        return "\n".join(line for line in lines if " -A" not in command or line.startswith(self._rig.kube.namespace))

    def has_asked_all(self) -> None:
        """No question of the page is left."""
        assert not self._left


@pytest.fixture
def managed() -> bool:
    """Where the finalizer policy is, the creator of a Match sets the labels of its users."""
    return False


async def test_each_question_is_answered_by_its_command(rig: Rig, tmp_path: Path) -> None:
    reader = Reader(rig, tmp_path)
    match, _ = await rig.active(name="match-7f3a")
    assert match.status.room is not None
    room = match.status.room.name
    assert re.search(r"match-7f3a +Active +True +2/2 +alice, bob", await reader.asks("Which calls are in trouble?"))
    answer = await reader.asks("Where is user alice?")
    assert ("match.roomkeeper.dev/match-7f3a" in answer, f"room.roomkeeper.dev/{room}" in answer) == (True, True)
    assert room in await reader.asks("Which Room belongs to this Match?")
    named = {"rk-0123456789abcdef0123": str(match.status.room.livekit_name)}
    assert "match-7f3a" in await reader.asks("Which call is in this LiveKit room?", **named)
    assert re.search(r"HOLDER.*\n\S+ +20", await reader.asks("Does an operator work, and which replica?"))
    assert "match-7f3a" not in await reader.asks("Which calls does a backend hold up?")

    await rig.kube.patch("Match", "match-7f3a", {"metadata": {"annotations": {PAUSED: "true"}}})
    await rig.kube.match_until(lambda found: is_true(found, "Paused"), "match-7f3a")
    assert re.search(r"match-7f3a +Active +Unknown .* Paused ", await reader.asks("What is paused?"))
    await rig.kube.patch("Match", "match-7f3a", {"metadata": {"annotations": {PAUSED: None}}})

    await reader.asks("How do I remove a user from a call?")
    await rig.kube.wait("Finished", "match-7f3a")
    answer = " ".join((await reader.asks("How did this call end, and why?")).split())
    for sentence in ("alice was disconnected", "spam", "this Match held alice and bob", "Initiator: mary"):
        assert sentence in answer
    ended = {"NoShow": "Disconnected"}
    assert "match-7f3a" in await reader.asks("Which calls ended for this reason?", **ended)
    await rig.kube.remove("match", "match-7f3a")

    async def is_told() -> None:
        answer = await reader.asks("Why is it gone?")
        assert re.search(r"Normal +Disconnected +match/match-7f3a +.*alice was disconnected", answer)

    await eventually(is_told)
    await rig.kube.create(manifests.match("carol", "dan", name="match-7f3a"))
    await rig.kube.wait("Ready", "match-7f3a")
    await rig.delete("match-7f3a")

    async def is_told_of_the_deletion() -> None:
        assert re.search(r"Deleted .*carol and dan", await reader.asks("Why is it gone?"))

    await eventually(is_told_of_the_deletion)
    answer = await reader.asks("Why did it end, hours ago?")
    assert re.search(r"match match-7f3a: over \(Deleted\)\n.*\n  users carol and dan\n", answer)
    assert re.search(r"match match-7f3a: over \(Disconnected\)\n.*\n  users alice and bob\n", answer)
    reader.has_asked_all()
