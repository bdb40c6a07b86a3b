"""`python -m controller.api.generate [--check]`: writes what is made from the models, or tells what is stale.

Made are the CRDs, one file to install everything with, the reference of the API, the page on the life of a call, and
the one on what is told to others, with its JSON Schema.
"""

import sys
from pathlib import Path
from typing import Any, Final

import yaml

from controller.api.crds import DEFINITIONS, crd
from controller.api.generated import Generator
from controller.api.lifecycle import TEMPLATE, lifecycle
from controller.api.notices_page import TEMPLATE as EVENTS_TEMPLATE
from controller.api.notices_page import page as events_page
from controller.api.notices_schema import schema_text
from controller.api.reference import reference

COMMAND: Final = "python -m controller.api.generate"
_YAML_HEADER: Final = f"# Made by `{COMMAND}` from controller/api; edit the models instead.\n"
_INSTALLED: Final = ("manifests/00-namespace.yaml", "manifests/10-rbac.yaml")


def generated(root: Path) -> dict[str, str]:
    """Every generated file by its path below `root`, with its content."""
    crds = {f"crds/{d.kind.plural}.yaml": _yaml(crd(d)) for d in DEFINITIONS}
    parts = [(root / name).read_text(encoding="utf-8") for name in _INSTALLED] + list(crds.values())
    return {
        **{path: _YAML_HEADER + text for path, text in crds.items()},
        "manifests/install.yaml": _YAML_HEADER + "---\n".join(parts),
        "docs/reference/api.md": reference(f"<!-- Made by `{COMMAND}`; edit controller/api instead. -->"),
        "docs/lifecycle.md": lifecycle(
            f"<!-- Made by `{COMMAND}`; edit controller/api instead, the words in its {TEMPLATE.name}. -->"
        ),
        "docs/events.md": events_page(
            f"<!-- Made by `{COMMAND}`; edit controller/api instead, the words in its {EVENTS_TEMPLATE.name}. -->"
        ),
        "docs/events.schema.json": schema_text(),
    }


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as people write them, and uses no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


GENERATOR: Final = Generator(COMMAND, "CRDs, manifests and docs", "controller/api", generated)

if __name__ == "__main__":
    sys.exit(GENERATOR.main())
