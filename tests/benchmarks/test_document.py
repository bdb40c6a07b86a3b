"""The figures get into the document, and nothing else of it changes."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from benchmarks.document import MarkersMissing, block, rewritten, this_machine
from benchmarks.figures import LifeFigures, Measure
from benchmarks.report import Results
from tests.benchmarks.documents import written_into
from tests.benchmarks.test_figures import some_figures

TEXT = "# Performance\n<!-- figures: `make bench` -->\nold\n<!-- figures: end -->\nThe rest.\n"


def test_only_what_is_between_the_markers_is_rewritten() -> None:
    expected = "# Performance\n<!-- figures: `make bench` -->\nnew \\1\n<!-- figures: end -->\nThe rest.\n"
    assert rewritten(TEXT, "\nnew \\1\n\n") == expected
    assert rewritten(expected, "new \\1") == expected


@pytest.mark.parametrize("text", ["# Performance\n", TEXT + TEXT, "<!-- figures: end -->\n"], ids=len)
def test_a_document_without_a_place_for_the_figures_is_refused(text: str) -> None:
    with pytest.raises(MarkersMissing, match="expected one block"):
        rewritten(text, "new")


def test_the_block_has_the_machine_the_tables_and_the_goals() -> None:
    results = Results((some_figures(),), (LifeFigures.of(Measure.WEBHOOK, [30.0]),))
    lines = block(results, "two cores", "make bench").splitlines()
    assert lines[0] == "`make bench` on two cores."
    assert [line for line in lines if line.startswith("###")] == [
        "### From created to Ready",
        "### The life of a call",
        "### Goals",
    ]
    assert "| 1 | roomkeeper | 100.0 | 8.0 | 20.0 | 2.50 | 4.00 |" in lines
    assert "| webhook → status | one at a time | 30.0 | 30.0 | 1 |" in lines
    assert "| webhook → status, p50 | 30 ms (goal: at most 20 ms) | missed |" in lines


def test_a_goal_whose_part_was_not_measured_is_not_in_the_document() -> None:
    lines = block(Results((some_figures(),)), "two cores", "make bench").splitlines()
    assert not [line for line in lines if "not measured" in line]
    assert "### Goals" not in lines


def test_the_interpreter_of_a_distribution_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(platform, "freedesktop_os_release", lambda: {"NAME": "Some Linux", "VERSION_ID": "13"})
    assert this_machine().endswith(f"Python {platform.python_version()} of Some Linux 13")
    monkeypatch.setattr(sys, "base_prefix", "/opt/python")
    assert this_machine().endswith(f"Python {platform.python_version()}")


@pytest.mark.parametrize("name", ["performance.md", "capacity.md"])
def test_a_document_of_this_project_has_a_place_for_the_figures(name: str, tmp_path: Path) -> None:
    _, text = written_into(name, Results((some_figures(),)), "make bench ARGS=--quick", tmp_path)
    assert "`make bench ARGS=--quick` on " in text
    assert "| 1 | roomkeeper | 100.0 | 8.0 | 20.0 | 2.50 | 4.00 |" in text
