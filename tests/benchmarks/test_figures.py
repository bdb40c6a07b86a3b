"""The statistics of the benchmark, its goals, and the form of its report."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.cluster import count_writes
from benchmarks.figures import Figures, Subject, goals, latencies_ms, medians, percentile, rate_per_second
from benchmarks.profiling import costs, packages

FIELDS = {"subject", "in_flight", "rate_per_s", "p50_ms", "p99_ms", "cpu_ms_per_match", "api_writes_per_match"}


def some_figures(subject: Subject = Subject.ROOMKEEPER, in_flight: int = 1, **changes: float) -> Figures:
    numbers = {"rate_per_s": 100.0, "p50_ms": 8.0, "p99_ms": 20.0, "cpu_ms_per_match": 2.5, "api_writes_per_match": 4.0}
    return Figures(subject, in_flight, **(numbers | changes))


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
    assert medians(rounds) == some_figures(p50_ms=9.0, rate_per_s=110.0)


def test_goals_are_met_or_missed_or_cannot_be_told() -> None:
    figures = [
        some_figures(Subject.FLOOR, 1, p50_ms=8.0),
        some_figures(Subject.ROOMKEEPER, 1, p50_ms=8.8),
        some_figures(Subject.KOPF, 32, rate_per_s=100.0),
        some_figures(Subject.ROOMKEEPER, 32, rate_per_s=140.0),
    ]
    alone, floor, kopf = goals(figures)
    assert alone.ratio == pytest.approx(1.1)
    assert alone.is_met is True
    assert floor.ratio is None
    assert floor.is_met is None
    assert kopf.ratio == pytest.approx(1.4)
    assert kopf.is_met is False


def test_the_table_says_how_it_stands_with_the_goals() -> None:
    figures = [
        some_figures(Subject.ROOMKEEPER, 32, rate_per_s=140.0),
        some_figures(Subject.KOPF, 32, rate_per_s=100.0),
        some_figures(Subject.FLOOR, 32, rate_per_s=200.0),
    ]
    text = io.StringIO()
    report.show(figures, 3, Console(file=text, width=120))
    lines = text.getvalue().splitlines()
    assert "medians of 3 rounds" in lines[0]
    subjects = [line.split("│")[2].strip() for line in lines if line.startswith("│")]
    assert subjects == ["floor", "kopf", "roomkeeper"]
    assert lines[-2] == "  pass  rate at 32 against the floor: 0.70 (goal: at least 0.65)"
    assert lines[-1] == "  miss  rate at 32 against kopf: 1.40 (goal: at least 1.50)"
    assert "not measured" in lines[-3]


def test_the_file_is_a_list_with_one_object_per_measurement(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    report.write_json([some_figures(Subject.FLOOR, 8, p50_ms=8.123456)], path)
    (entry,) = json.loads(path.read_text())
    assert entry.keys() == FIELDS
    assert (entry["subject"], entry["in_flight"], entry["p50_ms"]) == ("floor", 8, 8.123)


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
        "main (controller/cli.py:1);run (controller/loop/worker.py:5);call (redis/client.py:7) 30",
        "main (controller/cli.py:1);run (controller/loop/worker.py:5) 10",
        "main (controller/cli.py:1);call (redis/client.py:7);call (redis/client.py:7) 10",
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
