"""`python -m controller.generate [--check]`: write every file that is made from the code, or name the stale ones.

It writes the CRDs, what the Helm chart has from the code, the reference pages of the API, the conditions, the settings,
the metrics and the rights in Redis, the pages on errors, on alerts and on the life of a call, the page and the JSON
Schema of the events, and the library of Redis functions. Each has a module of its own beside this one;
`generate.files` compares and writes. `sandbox.manifests` makes `manifests/` from the chart, because that needs Helm.
"""

from pathlib import Path
from typing import Final

from controller.generate.alerts_page import alert_pages, alerts_page, alerts_template
from controller.generate.api_page import reference
from controller.generate.chart.crds import crd_template
from controller.generate.chart.readme import readme
from controller.generate.chart.schema import schema_text as values_schema_text
from controller.generate.chart.values import CHART
from controller.generate.conditions_page import conditions_page
from controller.generate.crds import DEFINITIONS, crd, schema_digests
from controller.generate.dashboards import dashboards
from controller.generate.errors_page import errors_page
from controller.generate.events_page import TEMPLATE as EVENTS_TEMPLATE
from controller.generate.events_page import page as events_page
from controller.generate.events_schema import schema_text
from controller.generate.files import Generator
from controller.generate.library import library_text
from controller.generate.lifecycle_page import TEMPLATE, lifecycle
from controller.generate.rights_page import rights_page
from controller.generate.settings_pages import metrics_page, settings_page
from controller.generate.yaml_text import yaml_text

COMMAND: Final = "python -m controller.generate"
_YAML_HEADER: Final = f"# Made by `{COMMAND}` from controller/api; edit the models instead.\n"


def generated(root: Path) -> dict[str, str]:
    """Every generated file by its path below `root`, with its content."""
    return {
        "controller/api/digests.py": _digests(),
        **{f"crds/{d.kind.plural}.yaml": _YAML_HEADER + yaml_text(crd(d)) for d in DEFINITIONS},
        **_chart((root / CHART / "values.yaml").read_text(encoding="utf-8")),
        "docs/reference/api.md": reference(_header("controller/api")),
        "docs/reference/conditions.md": conditions_page(_header("controller/api/conditions.py")),
        "docs/alerts.md": alerts_page(_header("controller/generate/alerts.py")),
        **{f"docs/{path}": text for path, text in alert_pages(_header("controller/generate/alerts.py")).items()},
        "docs/errors.md": errors_page(_header("controller/api/failures_table.py")),
        "docs/lifecycle.md": lifecycle(_header("controller/api", TEMPLATE)),
        "docs/events.md": events_page(_header("controller/api", EVENTS_TEMPLATE)),
        "contract/events.schema.json": schema_text(),
        "contract/library.lua": library_text(COMMAND),
        "docs/reference/settings.md": settings_page(_header("controller/settings")),
        "docs/reference/redis-rights.md": rights_page(_header("controller/clients/redis/keys.py")),
        "docs/reference/metrics.md": metrics_page(_header("controller/telemetry/metrics.py")),
    }


def _chart(values: str) -> dict[str, str]:
    """The generated files of the Helm chart, from the text of its values.yaml."""
    made = {f"templates/crds/{d.kind.plural}.yaml": crd(d) for d in DEFINITIONS}
    header = f"Made by `{COMMAND}` from controller/api; edit the models instead."
    files = {path: crd_template(crd, yaml_text({"spec": crd["spec"]}), header) for path, crd in made.items()}
    files["templates/_alerts.tpl"] = alerts_template(COMMAND)
    files |= {f"dashboards/{name}": text for name, text in dashboards().items()}
    files["values.schema.json"] = values_schema_text(values)
    files["README.md"] = readme(_header(f"{CHART}/values.yaml"), values)
    return {f"{CHART}/{path}": text for path, text in files.items()}


def _header(source: str, template: Path | None = None) -> str:
    """The first line of a generated page: what makes it, and what to edit instead."""
    words = f", and its words in controller/generate/{template.name}" if template is not None else ""
    return f"<!-- Made by `{COMMAND}`; edit {source} instead{words}. -->"


def _digests() -> str:
    """The module that tells the operator which schemas it was made with."""
    rows = "".join(f'    "{crd}": "{digest}",\n' for crd, digest in schema_digests().items())
    return (
        '"""The digests of the schemas of our CRDs.\n\n'
        f'Made by `{COMMAND}` from controller/api; edit the models instead.\n"""\n\n'
        f"from typing import Final\n\nSCHEMA_DIGESTS: Final = {{\n{rows}}}\n"
    )


GENERATOR: Final = Generator(COMMAND, "CRDs, files of the chart, and docs", "the code of the operator", generated)
