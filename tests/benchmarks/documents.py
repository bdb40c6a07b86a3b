"""Writes the figures of a benchmark into a copy of a page of this project, as `make bench` says it is done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks import report
from benchmarks.report import Results
from sandbox.source import ROOT
from tests.support.waiting import patience


def written_into(page: str, results: Results, command: str, folder: Path) -> tuple[str, str]:
    """The page of docs/ before and after `benchmarks.document` has written the figures of `command` into its copy."""
    report.write_json(results, folder / "bench.json")
    before = (ROOT / "docs" / page).read_text(encoding="utf-8")
    copy = folder / page
    copy.write_text(before, encoding="utf-8")
    arguments = (str(folder / "bench.json"), "--into", str(copy), "--command", command)
    subprocess.run(
        [sys.executable, "-m", "benchmarks.document", *arguments], cwd=ROOT, check=True, timeout=patience(30)
    )
    return before, copy.read_text(encoding="utf-8")
