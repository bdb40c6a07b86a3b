"""`python -m controller.generate [--check]`: write every file that is made from the code, or name the stale ones.

It writes the CRDs, the manifest that installs everything, the reference pages of the API, the conditions, the settings
and the metrics, the page on the life of a call, the page and the JSON Schema of the events, and the library of Redis
functions. Each has a module of its own beside this one; `generate.files` compares and writes.
"""

from pathlib import Path
from typing import Any, Final

import yaml

from controller.generate.api_page import reference
from controller.generate.conditions_page import conditions_page
from controller.generate.crds import DEFINITIONS, crd, schema_digests
from controller.generate.events_page import TEMPLATE as EVENTS_TEMPLATE
from controller.generate.events_page import page as events_page
from controller.generate.events_schema import schema_text
from controller.generate.files import Generator
from controller.generate.library import library_text
from controller.generate.lifecycle_page import TEMPLATE, lifecycle
from controller.generate.settings_pages import metrics_page, settings_page

COMMAND: Final = "python -m controller.generate"
_YAML_HEADER: Final = f"# Made by `{COMMAND}` from controller/api; edit the models instead.\n"
_INSTALLED: Final = ("manifests/00-namespace.yaml", "manifests/10-rbac.yaml")


def generated(root: Path) -> dict[str, str]:
    """Every generated file by its path below `root`, with its content."""
    crds = {f"crds/{d.kind.plural}.yaml": _yaml(crd(d)) for d in DEFINITIONS}
    parts = [(root / name).read_text(encoding="utf-8") for name in _INSTALLED] + list(crds.values())
    return {
        **{path: _YAML_HEADER + text for path, text in crds.items()},
        "controller/api/digests.py": _digests(),
        "manifests/install.yaml": _YAML_HEADER + "---\n".join(parts),
        "docs/reference/api.md": reference(_header("controller/api")),
        "docs/reference/conditions.md": conditions_page(_header("controller/api/conditions.py")),
        "docs/lifecycle.md": lifecycle(_header("controller/api", TEMPLATE)),
        "docs/events.md": events_page(_header("controller/api", EVENTS_TEMPLATE)),
        "contract/events.schema.json": schema_text(),
        "contract/library.lua": library_text(COMMAND),
        "docs/reference/settings.md": settings_page(_header("controller/settings")),
        "docs/reference/metrics.md": metrics_page(_header("controller/telemetry/metrics.py")),
    }


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


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as people write them, and uses no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


GENERATOR: Final = Generator(COMMAND, "CRDs, manifests and docs", "the code of the operator", generated)
