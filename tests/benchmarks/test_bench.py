"""The benchmark from end to end, with a handful of Matches: all that is promised is measured."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Measure
from sandbox.launch import launched
from sandbox.source import ROOT
from tests.support.waiting import patience

pytestmark = pytest.mark.usefixtures("real_programs")


async def bench(tmp_path: Path, *arguments: str) -> tuple[str, list[dict[str, Any]]]:
    """What a run says, and the entries of what it writes."""
    output = tmp_path / "bench.json"
    process = await asyncio.create_subprocess_exec(
        *launched((sys.executable, "-m", "benchmarks", "--quick", *arguments, "--output", str(output))),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, progress = await asyncio.wait_for(process.communicate(), patience(300))
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, progress.decode()
    return said.decode(), json.loads(output.read_text())


async def test_every_subject_is_measured(tmp_path: Path) -> None:
    said, found = await bench(tmp_path, "--only", "ready", "--in-flight", "4", "--matches", "8")
    assert "Matches/s" in said
    entries = {entry["subject"]: entry for entry in found}
    assert entries.keys() == {"floor", "kopf", "roomkeeper"}
    # Room, its status, Secret, Match status: nothing can do with less.
    assert entries["floor"]["api_writes_per_match"] == 4
    assert entries["roomkeeper"]["api_writes_per_match"] >= 4
    assert entries["kopf"]["api_writes_per_match"] > 4
    assert all(entry["p99_ms"] >= entry["p50_ms"] > 0 for entry in entries.values())


async def test_the_whole_life_of_a_call_is_measured(tmp_path: Path) -> None:
    arguments = ("--only", "life", "--in-flight", "2", "--matches", "1", "--calls-per-second", "2")
    said, found = await bench(tmp_path, *arguments)
    assert "The life of a call" in said
    entries = {(entry["measure"], entry["subject"]): entry for entry in found}
    latencies = {(measure.value, "roomkeeper") for measure in Measure if measure is not Measure.CYCLE}
    assert entries.keys() == latencies | {("full_cycle", "roomkeeper"), ("full_cycle", "floor")}
    # One call each, and of a call there are several webhooks; of those, polling may be faster than one or two.
    assert entries["webhook_to_status", "roomkeeper"]["count"] == 3
    assert entries["livekit_webhook_to_status", "roomkeeper"]["count"] > 3
    others = latencies - {("webhook_to_status", "roomkeeper"), ("livekit_webhook_to_status", "roomkeeper")}
    # LiveKit dies once, in the middle of five calls.
    people_back = (Measure.PEOPLE_BACK.value, "roomkeeper")
    assert {name: entries[name]["count"] for name in others} == {**dict.fromkeys(others, 1), people_back: 5}
    # The rooms may be back before another client asks for them.
    entries.pop((Measure.ROOMS_BACK.value, "roomkeeper"))
    assert all(entry["p99_ms"] >= entry["p50_ms"] > 0 for entry in entries.values())
    clean, settled = (entries[f"termination_to_{what}", "roomkeeper"]["p50_ms"] for what in ("clean", "settled"))
    assert clean > settled
    # Room and its status, Secret, two statuses of the Match; Room, Secret and Match deleted, two of them let go.
    assert entries["full_cycle", "floor"]["api_writes_per_match"] == 10
    assert entries["full_cycle", "roomkeeper"]["api_writes_per_match"] >= 10


async def test_the_capacity_is_measured_and_what_live_calls_do_to_everything(tmp_path: Path) -> None:
    said, found = await bench(tmp_path, "--only", "capacity", "--only", "live")
    assert "each further 1 000" in said
    *capacity, live = found
    assert [entry["live"] for entry in capacity] == [0, 16]
    # In so short a time the kernel may count no tick at all.
    assert all(entry["memory_mib"] > 20 and entry["cpu_ms_per_s"] >= 0 for entry in capacity)
    assert (live["live"], live["namespaces"], live["skips"]) == (12, 1, 1)
    assert all(live[name] > 0 for name in ("cpu_ms_per_match", "idle_turn_ms", "start_turn_ms", "poll_cpu_ms"))
    assert live["all_decided_s"] >= live["first_decision_s"] > live["list_s"] > 0
    # A leader that was killed holds its lease for a while.
    assert live["takeover_all_s"] >= live["takeover_first_s"] > 5
