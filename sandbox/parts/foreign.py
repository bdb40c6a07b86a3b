"""CRDs of other projects that the chart renders objects for: files inside the Go modules that `parts/crds` pins.

The tests install them, so that the real API server judges these objects too. Neighbor: `build` makes programs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from sandbox.errors import BuildError
from sandbox.parts.build import find_go
from sandbox.parts.cache import cache_directory, making
from sandbox.parts.programs import BUILD_ENVIRONMENT
from sandbox.parts.run import run_with_progress
from sandbox.progress import Progress
from sandbox.source import PINS

_PIN: Final = PINS / "crds"
_NAME: Final = "CRDs of others"
_FILES: Final = {
    "sigs.k8s.io/gateway-api": ("config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",),
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
    ),
}


def foreign_crds(progress: Progress) -> list[Path]:
    """The files, fetched once into the cache. Raises BuildError if that fails."""
    digest = hashlib.sha256((_PIN / "go.sum").read_bytes() + repr(_FILES).encode()).hexdigest()[:16]
    target = cache_directory() / f"crds-{digest}"
    if not target.exists():

        def waiting(seconds: float) -> None:
            progress.running(_NAME, "waiting for another process that makes them", seconds)

        with making(waiting):
            # Another process may have fetched them while we waited for the lock.
            if not target.exists():
                _fetch(target, progress)
    return sorted(target.glob("*.yaml"))


def _fetch(target: Path, progress: Progress) -> None:
    with tempfile.TemporaryDirectory(prefix=".crds-", dir=target.parent) as scratch:
        log = Path(scratch) / "log"
        seconds = run_with_progress(
            [str(find_go(progress)), "mod", "download", "-json", *_FILES],
            name=_NAME,
            doing="fetching two Go modules (once)",
            log=log,
            environment={**os.environ, **BUILD_ENVIRONMENT},
            cwd=_PIN,
            progress=progress,
        )
        files = Path(scratch) / "files"
        files.mkdir()
        for module, folder in folders(log.read_text(encoding="utf-8")).items():
            for path in _FILES[module]:
                if not (folder / path).is_file():
                    raise BuildError(f"the Go module {module} that parts/crds pins has no file {path}")
                shutil.copy(folder / path, files)
        files.rename(target)
    progress.done(_NAME, "fetched", seconds)


def folders(answer: str) -> dict[str, Path]:
    """Where go has put each module: its answer is one JSON object after the other, between lines of progress."""
    found = [json.loads(text) for text in re.findall(r"^\{.*?^\}", answer, re.MULTILINE | re.DOTALL)]
    return {module["Path"]: Path(module["Dir"]) for module in found}
