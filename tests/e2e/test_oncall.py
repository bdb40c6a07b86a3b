"""The questions of docs/oncall.md: each has one command, and the command answers it. All are asked about one call.

At its end, what is stored about a user is deleted as docs/retention.md says; what is left goes as its table says.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from controller.api.names import PAUSED
from sandbox.launch import launched
from sandbox.source import ROOT
from tests import manifests
from tests.support import commands
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually, patience

PAGE = (ROOT / "docs/oncall.md").read_text(encoding="utf-8")
RETENTION_PAGE = (ROOT / "docs/retention.md").read_text(encoding="utf-8")
_QUESTION = re.compile(r"^## ([^\n]+\?)\n(?:(?!^## ).)*?^```sh\n([^\n]+)\n```", re.MULTILINE | re.DOTALL)
QUESTIONS: dict[str, str] = dict(_QUESTION.findall(PAGE))


# What an SRE asked in a user test, and where the answer is: a question of the page, or another page.
ASKED = {
    "Is it healthy at all?": "Is it healthy at all?",
    "Where is user alice?": "Where is user alice?",
    "Why did this Match end?": "How did this call end, and why?",
    "Why did it end? It is gone.": "Why did it end, hours ago?",
    "Why can users not connect?": "Why can users not connect?",
    "Is the webhook arriving?": "alerts.md",
    "Which rooms leak?": "Which rooms leak?",
    "How many wait, since when?": "How many users wait, and since when?",
    "How do I drain LiveKit?": "draining.md",
    "How do I kick a user?": "How do I remove a user from a call?",
    "How do I ban a user?": "How do I keep a user out?",
    "How do I delete a person's data?": "How do I delete what is stored about a user?",
    "How do I rotate the LiveKit key?": "keys.md",
    "How do I upgrade?": "upgrade.md",
    "How do I uninstall?": "uninstall.md",
    "Which metrics are there?": "reference/metrics.md",
    "Which alerts are there?": "alerts.md",
    "What was it thinking?": "operations.md#record-and-replay",
}


def test_every_question_has_exactly_one_command() -> None:
    assert len(QUESTIONS) == len(re.findall(r"^## .+\?$", PAGE, re.MULTILINE)) == PAGE.count("```sh")


def test_what_users_have_asked_is_answered_by_a_command_or_a_page() -> None:
    pages = PAGE.partition("## Answered by a page")[2].partition("\n## ")[0]
    assert [one for one, answer in ASKED.items() if answer not in QUESTIONS and f"({answer})" not in pages] == []


def test_both_pages_delete_a_user_with_the_same_command() -> None:
    assert QUESTIONS["How do I delete what is stored about a user?"] in RETENTION_PAGE


class Reader:
    """Types the commands of the page into a shell. What the page calls `calls` is our namespace."""

    def __init__(self, rig: Rig, directory: Path) -> None:
        self._rig = rig
        self._left = dict(QUESTIONS)
        commands.put_into(directory)
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
        command = command.replace("{default:calls}", f"{{{self._rig.where.cluster_id}:{self._rig.kube.namespace}}}")
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
    assert "✗" not in await reader.asks("Is it healthy at all?")
    await rig.enqueue("zoe")
    assert re.search(r'"zoe"\n2\) "\d{13}"', await reader.asks("How many users wait, and since when?"))
    match, _ = await rig.active(name="match-7f3a")
    assert match.status.room is not None
    room = match.status.room.name
    assert re.search(r"match-7f3a +Active +True +2/2 +alice, bob", await reader.asks("Which calls are in trouble?"))
    answer = await reader.asks("Where is user alice?")
    assert answer == f"{rig.kube.namespace} match-7f3a Active {match.status.room.livekit_name}"
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
    await reader.asks("Why can users not connect?")
    assert re.search(r"^rooms +0 ", await reader.asks("Which rooms leak?"), re.MULTILINE)

    await reader.asks("How do I keep a user out?", alice="carol")
    await rig.kube.create(manifests.match("carol", "erin", name="refused"))
    await rig.kube.match_until(lambda found: found.status.reason == "UserBlocked", "refused")
    await deletes(reader, rig, "dan")
    reader.has_asked_all()


async def deletes(reader: Reader, rig: Rig, user: str) -> None:
    """Delete what is stored about an idle user. What is left is in a stream, or goes within a day."""
    await rig.gateway.leave(user)
    await reader.asks("How do I delete what is stored about a user?", alice=user)
    keys = [str(key) async for key in rig.redis.scan_iter(rig.keys.pattern)]
    assert keys
    named = [key for key in keys if key.endswith(f":{user}")]
    assert {0 < await rig.redis.ttl(key) <= 30 for key in named} <= {True}, "only a flag for older clients may be left"
    ledgers = [key for key in keys if rig.keys.name(key).startswith("match:")]
    assert {0 < await rig.redis.ttl(key) <= 86_400 for key in ledgers} == {True}
    stays = {rig.keys.name(key).partition(":")[0] for key in keys if await rig.redis.ttl(key) == -1}
    streams = {"disconnects", "events", "signals", "webhooks"}
    of_others = {"user", "queue", "heartbeats", "live"}
    assert stays <= streams | of_others | {"signals-done", "incarnation", "fence"}
