"""The benchmark from end to end, with a handful of Matches: every subject makes them Ready and is counted alike."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from sandbox.source import ROOT


async def test_every_subject_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "bench.json"
    arguments = ("--quick", "--in-flight", "4", "--matches", "8", "--output", str(output))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", *arguments),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, progress = await asyncio.wait_for(process.communicate(), 180)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, progress.decode()
    assert "Matches/s" in said.decode()
    entries = {entry["subject"]: entry for entry in json.loads(output.read_text())}
    assert entries.keys() == {"floor", "kopf", "roomkeeper"}
    # Room, its status, Secret, Match status: nothing can do with less.
    assert entries["floor"]["api_writes_per_match"] == 4
    assert entries["roomkeeper"]["api_writes_per_match"] >= 4
    assert entries["kopf"]["api_writes_per_match"] > 4
    assert all(entry["p99_ms"] >= entry["p50_ms"] > 0 for entry in entries.values())
