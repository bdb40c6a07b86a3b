"""Pages of docs/ as their readers use them: blocks of YAML as values, blocks of commands typed into a shell."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

from sandbox.launch import launched
from sandbox.parts import locate
from sandbox.source import ROOT
from tests.installed.release import Release
from tests.support.waiting import patience


class Page:
    """One page, and the directory in which its reader works: a clone of the repository."""

    def __init__(self, name: str, directory: Path) -> None:
        self._text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        self._name = name
        self._clone = directory / "clone"
        self._programs = directory / "programs"
        for folder in (self._clone, self._programs):
            folder.mkdir()
        for part in ("helm", "manifests", "crds"):
            (self._clone / part).symlink_to(ROOT / part)
        for program in ("helm", "kubectl"):
            (self._programs / program).symlink_to(locate(program).path)

    def write(self, name: str, text: str) -> Path:
        """Write a file that the reader has made."""
        file = self._clone / name
        file.write_text(text)
        return file

    def use_chart(self, chart: Path) -> None:
        """From now on the clone has another version of the chart."""
        (self._clone / "helm").unlink()
        (self._clone / "helm").symlink_to(chart.parent)

    def block(self, heading: str, language: str = "sh") -> str:
        """The first block of a language below a heading."""
        found = re.search(
            rf"^## {re.escape(heading)}\n(?:(?!^## ).)*?^ *```{language}\n(.*?)^ *```",
            self._text,
            re.MULTILINE | re.DOTALL,
        )
        assert found is not None, f"docs/{self._name} has no {language} below {heading!r}"
        return found[1]

    async def type(self, heading: str, release: Release) -> str:
        """Type the commands below a heading into a shell; return what it shows. All must succeed."""
        environment = {**os.environ, **release.environment, "PATH": f"{self._programs}:{os.environ['PATH']}"}
        process = await asyncio.create_subprocess_exec(
            *launched(("bash", "-e", "-c", self.block(heading))),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=environment,
            cwd=self._clone,
        )
        async with asyncio.timeout(patience(240)):
            out, _ = await process.communicate()
        assert process.returncode == 0, f"{self.block(heading)}\n{out.decode()}"
        return out.decode()
