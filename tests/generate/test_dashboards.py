"""The dashboards as Grafana reads them: their variables, and what their queries select."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from controller.generate.dashboards import dashboards

BOARDS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in dashboards().items()}
EACH = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
_OF_OTHERS_TOO = re.compile(r"\b(?:up|process_\w+|roomkeeper_\w+)\b(?!\()")
_OURS = '{namespace="$namespace", job=~"$job"'


def _queries(board: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]


@EACH
def test_all_jobs_are_those_of_roomkeeper_in_one_namespace(board: dict[str, Any]) -> None:
    """A value of its own for All, such as `.+`, would select the processes of every other job too."""
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "job"]
    assert variables["namespace"]["query"] == "label_values(roomkeeper_build_info, namespace)"
    # Two installations with one name of the job would be summed.
    assert not variables["namespace"].get("includeAll")
    assert not variables["namespace"].get("multi")
    assert variables["job"]["query"] == 'label_values(roomkeeper_build_info{namespace="$namespace"}, job)'
    assert not variables["job"].get("allValue")


@EACH
def test_every_query_selects_the_namespace_and_the_job(board: dict[str, Any]) -> None:
    for query in _queries(board):
        series = [query[found.end() :] for found in _OF_OTHERS_TOO.finditer(query)]
        assert series, query
        assert all(rest.startswith(_OURS) for rest in series), query


def test_a_replica_that_led_before_says_nothing_about_livekit() -> None:
    (query,) = [one for one in _queries(BOARDS["roomkeeper-operators.json"]) if "roomkeeper_backend_up" in one]
    assert re.search(r'roomkeeper_backend_up\{[^}]*backend="LiveKit"\} and on \(instance\) roomkeeper_leader\{', query)
    assert re.search(r'roomkeeper_backend_up\{[^}]*backend!="LiveKit"\} or ', query)
