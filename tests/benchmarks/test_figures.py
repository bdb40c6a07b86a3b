"""The statistics of the benchmark, its goals, and the form of its report."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.cluster import count_writes
from benchmarks.compare import NoRevision, table, tree_of
from benchmarks.figures import (
    CapacityFigures,
    Figures,
    Growth,
    LifeFigures,
    Measure,
    Subject,
    estimate,
    growth,
    latencies_ms,
    medians,
    percentile,
    rate_per_second,
)
from benchmarks.goals import goals
from benchmarks.profiling import costs, packages
from benchmarks.quiet import Spent, doubts
from benchmarks.report import Results
from sandbox.launch import launched
from sandbox.progress import Progress

FIELDS = {"subject", "in_flight", "rate_per_s", "p50_ms", "p99_ms", "cpu_ms_per_match", "api_writes_per_match"}


def some_figures(subject: Subject = Subject.ROOMKEEPER, in_flight: int = 1, **changes: float) -> Figures:
    numbers: dict[str, Any] = {
        "rate_per_s": 100.0,
        "p50_ms": 8.0,
        "p99_ms": 20.0,
        "cpu_ms_per_match": 2.5,
        "api_writes_per_match": 4.0,
    }
    return Figures(subject, in_flight, **(numbers | changes))


def some_cycles(
    subject: Subject = Subject.ROOMKEEPER, in_flight: int = 16, rate_per_s: float = 60.0, cpu_ms_per_match: float = 18.0
) -> LifeFigures:
    return LifeFigures(subject, Measure.CYCLE, in_flight, 400, rate_per_s, 16.0, 40.0, cpu_ms_per_match, 12.0)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 3.0), (0.25, 2.0), (0.9, 4.6), (1.0, 5.0)], ids=str)
def test_percentiles_are_interpolated(share: float, expected: float) -> None:
    assert percentile([5, 1, 4, 2, 3], share) == pytest.approx(expected)


def test_the_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing became Ready"):
        percentile([], 0.5)


def test_latency_and_rate_come_from_the_moments_of_sending_and_seeing() -> None:
    sent = {"a": 1_000_000_000, "b": 1_500_000_000}
    ready = {"a": 1_008_000_000, "b": 2_000_000_000, "another": 9_000_000_000}
    assert latencies_ms(sent, ready) == pytest.approx([8.0, 500.0])
    assert rate_per_second(sent, ready) == pytest.approx(2.0)


def test_medians_are_taken_of_each_number_by_itself() -> None:
    rounds = [
        some_figures(p50_ms=9.0, rate_per_s=90.0),
        some_figures(p50_ms=7.0, rate_per_s=120.0),
        some_figures(p50_ms=30.0, rate_per_s=110.0),
    ]
    middle = medians(rounds)
    assert replace(middle, margins={}) == some_figures(p50_ms=9.0, rate_per_s=110.0)
    # Three rounds say little: the factor is 4.3.
    assert middle.margins["rate_per_s"] == pytest.approx(4.30 * 15.275 / 3**0.5, abs=0.01)
    assert middle.margins["cpu_ms_per_match"] == 0.0
    assert medians(rounds[:1]).margins == {}


def test_goals_are_met_or_missed_or_cannot_be_told() -> None:
    figures = [
        some_figures(Subject.FLOOR, 1, p50_ms=8.0),
        some_figures(Subject.ROOMKEEPER, 1, p50_ms=8.2),
        some_figures(Subject.KOPF, 32, rate_per_s=100.0),
        some_figures(Subject.ROOMKEEPER, 32, rate_per_s=140.0),
    ]
    alone, floor, kopf, cpu = goals(figures)
    assert alone.value == pytest.approx(1.025)
    assert alone.is_met is True
    for unknown in (floor, cpu):
        assert unknown.value is None
        assert unknown.is_met is None
    assert kopf.value == pytest.approx(1.4)
    assert kopf.is_met is False


def test_the_goals_of_a_calls_life_are_told_where_parts_of_it_were_measured() -> None:
    life = [
        LifeFigures.of(Measure.WEBHOOK, [10.0, 12.0, 90.0]),
        LifeFigures.of(Measure.SIGNAL, [20.0, 30.0, 400.0], rate_per_s=20.0),
        some_cycles(Subject.FLOOR, rate_per_s=80.0, cpu_ms_per_match=4.0),
        some_cycles(Subject.ROOMKEEPER, rate_per_s=60.0, cpu_ms_per_match=12.0),
        some_cycles(Subject.ROOMKEEPER, in_flight=1, rate_per_s=5.0),
    ]
    told = {goal.sentence: (goal.told, goal.is_met) for goal in goals([], life)}
    assert told == {
        "webhook → status, p50": ("12 ms (goal: at most 20 ms)", True),
        "signal → both waiting, p99": ("393 ms (goal: at most 250 ms)", False),
        "… at a steady": ("20 calls/s (goal: at least 19 calls/s)", True),
        "killed → settled, p99": ("not measured (goal: at most 2000 ms)", None),
        "both back after LiveKit is, p99": ("not measured (goal: at most 1500 ms)", None),
        "full cycles at 16 against the floor": ("0.75 (goal: at least 0.85)", False),
        "CPU of a full cycle at 16 against the floor": ("3.00 (goal: at most 2.00)", False),
    }


def test_a_value_that_was_measured_once_has_no_margin_and_more_rounds_make_it_smaller() -> None:
    assert str(estimate([2.0])) == "2.00"
    assert str(estimate([2.0, 3.0])) == "2.50 ± 6.36"
    few, many = estimate([1.0, 2.0, 3.0]), estimate([1.0, 2.0, 3.0] * 10)
    assert few.margin is not None
    assert many.margin is not None
    assert few.margin > 5 * many.margin
    with pytest.raises(ValueError, match="nothing was measured"):
        estimate([])


def test_a_median_of_samples_has_a_margin_by_their_ranks() -> None:
    samples = [float(number) for number in range(1, 101)]
    assert LifeFigures.of(Measure.WEBHOOK, samples).margins == {"p50_ms": pytest.approx(10.0, abs=1.0)}
    assert LifeFigures.of(Measure.KILL, samples[:5]).margins == {}


def test_a_machine_is_doubted_for_what_others_use_and_not_for_the_benchmark_itself() -> None:
    before = Spent(total=1000.0, busy=500.0, stolen=0.0, ours=0.0)
    ours = Spent(total=1200.0, busy=690.0, stolen=0.0, ours=185.0)
    assert doubts(before, ours, load=0.4, cores=2) == ()
    others = Spent(total=1200.0, busy=690.0, stolen=8.0, ours=90.0)
    load, busy, stolen = doubts(before, others, load=3.0, cores=2)
    assert "the load average was 3.0 at the start, on 2 cores" in load
    assert "other programs used 50% of the machine" in busy
    assert "the host took 4% of the machine away" in stolen


async def test_the_cpu_of_children_counts_as_the_benchmarks_own_also_when_they_have_ended() -> None:
    before = Spent.now()
    burn = "import time; [0 for _ in iter(lambda: time.process_time() < 0.3, False)]"
    process = await asyncio.create_subprocess_exec(*launched((sys.executable, "-c", burn)))
    assert await process.wait() == 0
    assert Spent.now().ours - before.ours >= 0.25  # the kernel counts in ticks


def test_a_comparison_tells_both_sides_and_the_ratio_of_each_round() -> None:
    here = [some_figures(cpu_ms_per_match=ms) for ms in (4.0, 8.0)]
    there = [some_figures(cpu_ms_per_match=ms) for ms in (5.0, 10.0)]
    text = io.StringIO()
    Console(file=text, width=120).print(table("ready", {"this tree": here, "the revision": there}))
    (row,) = (line for line in text.getvalue().splitlines() if "CPU ms" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]][-1] == "0.80 ± 0.00"


def test_a_revision_that_does_not_exist_is_named() -> None:
    with pytest.raises(NoRevision, match="no-such-branch is no revision"):
        tree_of("no-such-branch", Progress(io.StringIO()))


def test_medians_leave_alone_what_was_not_looked_at() -> None:
    quick, slow = LifeFigures.of(Measure.LEAVE, [1.0]), LifeFigures.of(Measure.LEAVE, [3.0])
    middle = medians([quick, slow])
    assert (middle.p50_ms, middle.rate_per_s, middle.cpu_ms_per_match, middle.count) == (2.0, None, None, 1)


def test_the_table_says_how_it_stands_with_the_goals() -> None:
    figures = [
        some_figures(Subject.ROOMKEEPER, 32, rate_per_s=180.0, cpu_ms_per_match=5.0),
        some_figures(Subject.KOPF, 32, rate_per_s=100.0),
        some_figures(Subject.FLOOR, 32, rate_per_s=200.0, cpu_ms_per_match=2.0),
    ]
    text = io.StringIO()
    report.show(Results(tuple(figures)), 3, Console(file=text, width=120))
    lines = text.getvalue().splitlines()
    assert "medians of 3 rounds" in lines[0]
    subjects = [line.split("│")[2].strip() for line in lines if line.startswith("│")]
    assert subjects == ["floor", "kopf", "roomkeeper"]
    assert "not measured" in lines[-4]
    assert lines[-3:] == [
        "  pass  rate at 32 against the floor: 0.90 (goal: at least 0.85)",
        "  pass  rate at 32 against kopf: 1.80 (goal: at least 1.70)",
        "  miss  CPU at 32 against the floor: 2.50 (goal: at most 2.00)",
    ]


def test_each_kind_of_figures_has_a_table_of_its_own() -> None:
    latency = LifeFigures.of(Measure.KILL, [25.0, 35.0])
    text = io.StringIO()
    report.show(Results((), (some_cycles(), some_cycles(Subject.FLOOR), latency)), 1, Console(file=text, width=140))
    lines = text.getvalue().splitlines()
    titles = [line.strip() for line in lines if line[:1].isalpha()]
    assert titles == ["The life of a call", "Full cycles, from created to deleted, one round"]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert rows == [
        [Measure.KILL.sentence, "one at a time", "30.0", "34.9", "2"],
        ["16", "floor", "60.0", "16.0", "40.0", "18.00", "12.00"],
        ["16", "roomkeeper", "60.0", "16.0", "40.0", "18.00", "12.00"],
    ]


def test_the_file_is_a_list_with_one_object_per_measurement(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    results = Results((some_figures(Subject.FLOOR, 8, p50_ms=8.123456),), (LifeFigures.of(Measure.WEBHOOK, [9.5]),))
    report.write_json(results, path)
    ready, life = json.loads(path.read_text())
    assert ready.keys() == FIELDS
    assert (ready["subject"], ready["in_flight"], ready["p50_ms"]) == ("floor", 8, 8.123)
    assert life.keys() == FIELDS | {"measure", "count"}
    assert (life["subject"], life["measure"], life["count"]) == ("roomkeeper", "webhook_to_status", 1)
    assert (life["in_flight"], life["rate_per_s"], life["p50_ms"]) == (1, None, 9.5)


def test_what_was_written_can_be_read_again(tmp_path: Path) -> None:
    results = Results(
        (some_figures(), some_figures(Subject.KOPF)), (some_cycles(), LifeFigures.of(Measure.KILL, [1.0]))
    )
    report.write_json(results, tmp_path / "bench.json")
    assert report.read_json(tmp_path / "bench.json") == results


LIVE = (CapacityFigures(1000, 180.0, 90.0, 60.0), CapacityFigures(0, 100.0, 10.0, 60.0))


def test_the_growth_is_what_a_thousand_live_matches_add() -> None:
    half = CapacityFigures(500, 150.0, 60.0, 60.0)
    assert growth((half, *LIVE)) == Growth(memory_mib=80.0, cpu_ms_per_s=80.0)
    assert growth((half, LIVE[1])) == Growth(memory_mib=100.0, cpu_ms_per_s=100.0)
    assert growth(()) is None
    assert growth((half,)) is None


def test_the_capacity_has_a_table_with_the_growth_and_survives_the_file(tmp_path: Path) -> None:
    (section,) = report.sections(Results(capacity=LIVE))
    assert section.rows == (
        ("0", "100.0", "10.0"),
        ("1000", "180.0", "90.0"),
        ("each further 1 000", "+80.0", "+80.0"),
    )
    report.write_json(Results(capacity=LIVE), tmp_path / "bench.json")
    assert report.read_json(tmp_path / "bench.json") == Results(capacity=LIVE)


def test_only_writes_of_what_a_match_brings_are_counted() -> None:
    def sample(verb: str, group: str, resource: str, value: int, code: int = 200) -> str:
        labels = (
            f'code="{code}",component="apiserver",group="{group}",resource="{resource}",subresource="",verb="{verb}"'
        )
        return f"apiserver_request_total{{{labels}}} {value}"

    metrics = [
        "# TYPE apiserver_request_total counter",
        sample("POST", "roomkeeper.dev", "matches", 10),
        sample("PATCH", "roomkeeper.dev", "rooms", 20),
        sample("PATCH", "roomkeeper.dev", "rooms", 1, code=409),
        sample("POST", "", "secrets", 5),
        sample("POST", "events.k8s.io", "events", 2),
        sample("GET", "roomkeeper.dev", "matches", 1000),
        sample("WATCH", "", "secrets", 1000),
        sample("PUT", "coordination.k8s.io", "leases", 1000),
        sample("POST", "", "configmaps", 1000),
    ]
    assert count_writes("\n".join(metrics).encode()) == 38


def test_a_profile_is_summed_up_by_function_and_by_package() -> None:
    stacks = [
        "main (controller/cli/main.py:1);run (controller/loop/worker.py:5);call (redis/client.py:7) 30",
        "main (controller/cli/main.py:1);run (controller/loop/worker.py:5) 10",
        "main (controller/cli/main.py:1);call (redis/client.py:7);call (redis/client.py:7) 10",
        "_worker (concurrent/futures/thread.py:69) 500",
        "",
    ]
    found = {cost.function.partition(" ")[0]: cost for cost in costs(stacks)}
    assert (found["call"].own, found["call"].cumulative) == pytest.approx((0.8, 0.8))
    assert (found["run"].own, found["run"].cumulative) == pytest.approx((0.2, 0.8))
    assert found["main"].cumulative == pytest.approx(1.0)
    largest = packages(found.values())[:2]
    assert [cost.function for cost in largest] == ["redis", "controller/loop/worker"]
    assert [cost.own for cost in largest] == pytest.approx([0.8, 0.2])
