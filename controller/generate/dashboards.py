"""Makes the dashboards for Grafana from `generate.dashboard_panels`, as JSON that Grafana imports.

Neighbor: `generate.command` writes the files, which the chart puts into a ConfigMap.
"""

from __future__ import annotations

import warnings
from typing import Final

from controller.generate.dashboard_panels import BOARDS, Board, Panel

# The SDK prefers the form that Grafana 12 introduced. All of them read this one, from ConfigMaps too.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders.common import VizLegendOptions
    from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
    from grafana_foundation_sdk.builders.prometheus import Dataquery
    from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.common import DataSourceRef, LegendDisplayMode
    from grafana_foundation_sdk.models.dashboard import GridPos, VariableRefresh

# Without a label `namespace`, as Prometheus has it outside of Kubernetes, the variable is empty and selects just that.
_JOB: Final = 'namespace="$namespace", job=~"$job"'
_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_HEIGHT: Final = 8
_WIDTH: Final = 24


def dashboards() -> dict[str, str]:
    """The JSON of each dashboard by the name of its file."""
    return {f"{board.uid}.json": _text(board) for board in BOARDS}


def _text(board: Board) -> str:
    made = (
        Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["roomkeeper"])
        .readonly()
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            # One at a time: two installations whose jobs have one name would be summed.
            QueryVariable("namespace")
            .label("Namespace")
            .datasource(_SOURCE)
            .query("label_values(roomkeeper_build_info, namespace)")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
        .with_variable(
            # All stands for the jobs that the query finds: `.+` would select the processes of other jobs too.
            QueryVariable("job")
            .label("Job")
            .datasource(_SOURCE)
            .query('label_values(roomkeeper_build_info{namespace="$namespace"}, job)')
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .multi(True)
        )
    )
    number, y = 0, 0
    for title, panels in board.rows:
        number += 1
        made.with_row(Row(title).id(number).grid_pos(GridPos(h=1, w=_WIDTH, x=0, y=y)))
        y += 1
        for at, panel in enumerate(panels):
            number += 1
            width = _WIDTH // len(panels)
            made.with_panel(_graph(panel).id(number).grid_pos(GridPos(h=_HEIGHT, w=width, x=at * width, y=y)))
        y += _HEIGHT
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _graph(panel: Panel) -> TimeSeries:
    graph = (
        TimeSeries()
        .title(panel.title)
        .description(panel.description)
        .unit(panel.unit)
        .min(0)
        .datasource(_SOURCE)
        .legend(VizLegendOptions().display_mode(LegendDisplayMode.LIST).show_legend(True))
    )
    for at, (query, legend) in enumerate(panel.queries):
        expr = query.replace("JOB", _JOB)
        graph.with_target(Dataquery().datasource(_SOURCE).expr(expr).legend_format(legend).ref_id(chr(ord("A") + at)))
    return graph
