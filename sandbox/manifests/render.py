"""The objects of the chart as `helm template` renders them, without what only Helm needs: hooks, tests and labels."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

from sandbox.endpoints import OPERATOR_NAMESPACE
from sandbox.errors import SandboxError

RELEASE: Final = "roomkeeper"
# Labels by which Helm knows its own, and the comment that names the template.
_HELMS: Final = re.compile(r"^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n|^# Source: .*\n", re.MULTILINE)
_SEPARATOR: Final = re.compile(r"^---\n", re.MULTILINE)
_TIMEOUT_SECONDS: Final = 60.0


class RenderError(SandboxError):
    """helm refused to render the chart; the message is its own."""


@dataclass(frozen=True)
class Rendered:
    """One object: its text with the comments of the template."""

    text: str

    @cached_property
    def body(self) -> dict[str, Any]:
        """The object itself."""
        body: dict[str, Any] = yaml.safe_load(self.text)
        return body

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name. No two objects of the chart share both."""
        return self.kind, str(self.body["metadata"]["name"])


def render(helm: Path, chart: Path, values: Mapping[str, Any], *options: str) -> list[Rendered]:
    """The objects of a release `roomkeeper` in `roomkeeper-system`, in the order of their installation.

    Raises RenderError if helm refuses the values.
    """
    done = subprocess.run(
        [
            *(str(helm), "template", RELEASE, str(chart), "--namespace", OPERATOR_NAMESPACE),
            *("--no-hooks", "--values", "-", *options),
        ],
        input=yaml.safe_dump(dict(values)),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RenderError(done.stderr.strip())
    parts = (_HELMS.sub("", part).strip() for part in _SEPARATOR.split(done.stdout))
    return [Rendered(part + "\n") for part in parts if part]
