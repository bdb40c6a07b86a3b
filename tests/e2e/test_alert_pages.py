"""The commands of kubectl on the pages of all alerts work as written, and their columns show what the tables name.

`tests/docs` reads the commands of `roomkeeper` there, and `tests/e2e/disturbed/test_planted_faults.py` runs them.
"""

from __future__ import annotations

import asyncio
import re

from sandbox.launch import launched
from sandbox.parts import locate
from sandbox.source import ROOT
from tests import manifests
from tests.support.rig import Rig
from tests.support.waiting import patience

_BLOCK = re.compile(r"^## Diagnosis\n.*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OF_PODS = re.compile(r"kubectl -n roomkeeper-system (exec|logs) ")


def _commands() -> list[str]:
    pages = [page.read_text(encoding="utf-8") for page in (ROOT / "docs/alerts").glob("*.md")]
    lines = {line for page in pages for block in _BLOCK.findall(page) for line in block.splitlines()}
    return sorted(line for line in lines if not _OF_PODS.match(line))


async def test_the_commands_of_the_alert_pages_work_and_their_columns_show_what_the_tables_name(rig: Rig) -> None:
    await rig.active("alice", "bob", name="call")
    await rig.ready("carol", "dan", name="over")
    await rig.kube.patch("Match", "over", manifests.termination("End", "carol"))
    await rig.kube.wait("Finished", "over")
    kubectl = f"'{locate('kubectl').path}' --kubeconfig '{rig.where.kubeconfig}'"

    async def shown(command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *launched(("bash", "-c", re.sub(r"^kubectl", kubectl, command))),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(patience(60)):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{command}\n{out.decode()}"
        return out.decode()

    commands = _commands()
    assert len(commands) > 5
    answers = "\n".join(await asyncio.gather(*map(shown, commands)))
    space = rig.kube.namespace
    for row in (
        rf"{space} +over +default +Ended +carol ",  # SERVER, REASON, MESSAGE
        rf"Match +{space} +call +<none> +\[roomkeeper.dev/cleanup\]",  # DELETED, FINALIZERS
        rf"Match +{space} +call +<none> +<none> +Kubernetes, LiveKit and Redis answer",  # DELETED, PAUSED, WHY
        rf"{space} +\S+ +call +default +(<none>|0) +<none>",  # MATCH, SERVER, RESTORES, LOST
        r"HOLDER +RENEWED\n\S+ +20",
    ):
        assert re.search(row, answers), f"{row} is not in\n{answers}"
    for name in ("call", "over"):
        await rig.delete(name)
