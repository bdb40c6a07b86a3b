"""Live calls in the benchmark: what the figures say, how their growth is drawn, and what is written into the docs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.goals import goals
from benchmarks.live.figures import LiveFigures
from benchmarks.live.paper import need
from benchmarks.live.plot import svg
from benchmarks.live.run import FULL
from benchmarks.live.ticks import Field, Ticks
from benchmarks.report import Results
from tests.benchmarks.documents import written_into

SOME = LiveFigures(
    live=1000,
    namespaces=10,
    bring_up_s=25.0,
    cpu_ms_per_match=18.0,
    memory_empty_mib=100.0,
    memory_mib=112.5,
    memory_restarted_mib=110.0,
    idle_cpu_ms_per_s=20.0,
    flags_cpu_ms_per_s=40.0,
    idle_turn_ms=4.0,
    start_turn_ms=12.0,
    poll_cpu_ms=5.0,
    list_s=0.2,
    first_decision_s=1.5,
    all_decided_s=3.0,
    skips=100,
    skip_p50_ms=20.0,
    skip_p99_ms=90.0,
    takeover_first_s=16.0,
    takeover_all_s=17.5,
)
FEW = replace(SOME, live=100, namespaces=1, poll_cpu_ms=0.5, memory_mib=101.25, idle_turn_ms=30.0)


def test_the_table_has_one_column_for_each_number_of_calls_the_fewest_first() -> None:
    (section,) = report.sections(Results(live=(SOME, FEW)))
    assert section.headings == ("live calls", "100", "1000")
    rows = {name: cells for name, *cells in section.rows}
    assert rows["memory per call, KiB"] == ["12.8", "12.8"]
    assert rows["restart → all decided, s (× bare LIST)"] == ["3.00 (15.0 ×)", "3.00 (15.0 ×)"]
    assert rows["… p99 ms (samples)"] == ["90 (100)", "90 (100)"]


def test_the_goals_are_those_of_the_most_calls() -> None:
    found = {goal.sentence: goal.is_met for goal in goals((), (), (SOME, FEW))}
    assert found == {
        "memory per call with 1000 live calls": True,
        "CPU with 1000 live calls": True,
        "CPU with flags with 1000 live calls": True,
        "longest turn of the event loop with 1000 live calls": True,
        "longest turn after a start with 1000 live calls": False,
        "skip while all keys wait, p99, with 1000 live calls": True,
    }


def test_the_figures_survive_the_file(tmp_path: Path) -> None:
    report.write_json(Results(live=(FEW, SOME)), tmp_path / "bench.json")
    assert report.read_json(tmp_path / "bench.json") == Results(live=(FEW, SOME))


def test_the_plot_has_a_line_for_each_figure_with_its_growth() -> None:
    drawn = ET.fromstring(svg((SOME, FEW)))
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"100", "1 000", "10 ×", "CPU of a poll, 10.0 ×", "CPU of a Match, 1.0 ×"} <= set(texts)
    lines = list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))
    heights = {
        line.get("stroke"): [float(point.split(",")[1]) for point in line.get("points", "").split()] for line in lines
    }
    assert len(lines) == 5
    rising = [color for color, (first, last) in heights.items() if last < first]
    assert len(rising) == 1, "only the poll costs more"


def test_one_size_has_no_growth_to_draw() -> None:
    with pytest.raises(ValueError, match="two sizes"):
        svg((SOME,))


def test_on_paper_an_operator_keeps_as_many_calls_as_its_cpu_and_its_start_allow() -> None:
    many = need(SOME, 100_000)
    # 580 ms of CPU a second are left for calls of 30 ms, each of which lasts 300 s; a start decides 10 000 in 30 s.
    assert (many.per_operator, many.operators) == (5800, 18)
    assert many.memory_mib == pytest.approx(100 + 100_000 / 18 * 12.8 / 1024)
    assert many.writes_per_s == pytest.approx(11 * 100_000 / 300)
    assert (many.clusters, many.livekit_servers) == (4, 40)
    assert need(replace(SOME, all_decided_s=30.0), 100_000).per_operator == 1000


def test_growth_is_measured_with_a_hundredth_and_a_tenth_of_the_calls_before() -> None:
    assert FULL.changed(None, grows=True).live == (100, 1000, 10_000)
    assert FULL.changed(300, grows=False).live == (300,)


def test_both_sides_of_the_ticks_see_the_same_numbers(tmp_path: Path) -> None:
    ours, theirs = Ticks(tmp_path / "ticks"), Ticks(tmp_path / "ticks")
    ours.reset()
    assert theirs[Field.AWAKE] == 1
    theirs[Field.LONGEST_TURN_NS], theirs[Field.DECISIONS] = 2_500_000, 7
    assert ours[Field.DECISIONS] == 7
    assert ours.sleep() == pytest.approx(2.5)
    assert theirs[Field.AWAKE] == 0


def test_live_calls_go_into_their_own_place_of_the_document_and_the_other_figures_stay(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    results = Results(live=(FEW, SOME))
    before, after = written_into("performance.md", results, "make bench ARGS=--only", tmp_path)
    assert "| memory per call, KiB | 12.8 | 12.8 |" in after
    assert "| operators (at most so many calls each) | 2 (5 800) | 18 (5 800) | 173 (5 800) |" in after
    figures = "<!-- figures: end -->"
    assert after.partition(figures)[0] == before.partition(figures)[0]
    assert (tmp_path / "images" / "growth.svg").read_text(encoding="utf-8").startswith("<svg")


def test_the_file_for_machines_names_each_figure(tmp_path: Path) -> None:
    report.write_json(Results(live=(SOME,)), tmp_path / "bench.json")
    (entry,) = json.loads((tmp_path / "bench.json").read_text())
    assert (entry["live"], entry["skip_p99_ms"], entry["all_decided_s"]) == (1000, 90.0, 3.0)
