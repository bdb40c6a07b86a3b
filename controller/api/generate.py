"""`python -m controller.api.generate [--check]`: writes what is made from the models, or tells what is stale.

Made are the CRDs, one file to install everything with, and the reference of the API.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from controller.api.crds import DEFINITIONS, crd
from controller.api.reference import reference

ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = "python -m controller.api.generate"
_YAML_HEADER: Final = f"# Made by `{COMMAND}` from controller/api; edit the models instead.\n"
_INSTALLED: Final = ("manifests/00-namespace.yaml", "manifests/10-rbac.yaml")


def generated(root: Path = ROOT) -> dict[str, str]:
    """Every generated file by its path below `root`, with its content."""
    crds = {f"crds/{d.kind.plural}.yaml": _yaml(crd(d)) for d in DEFINITIONS}
    parts = [(root / name).read_text() for name in _INSTALLED] + list(crds.values())
    return {
        **{path: _YAML_HEADER + text for path, text in crds.items()},
        "manifests/install.yaml": _YAML_HEADER + "---\n".join(parts),
        "docs/reference/api.md": reference(f"<!-- Made by `{COMMAND}`; edit controller/api instead. -->"),
    }


def stale(root: Path = ROOT) -> list[str]:
    """The generated files that are missing or differ from what the models say."""
    return [path for path, text in generated(root).items() if _read(root / path) != text]


def write(root: Path = ROOT) -> list[str]:
    """Write the files that are stale, and name them."""
    paths = stale(root)
    made = generated(root)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(made[path], encoding="utf-8")
    return paths


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the files that are made from controller/api.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    if parser.parse_args(arguments).check:
        if paths := stale():
            _say(f"stale: {', '.join(paths)}\nThey are made from controller/api. To mend them: {COMMAND}")
            return 1
        return 0
    for path in write():
        _say(f"wrote {path}")
    return 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, as people write them, and uses no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


if __name__ == "__main__":
    sys.exit(main())
