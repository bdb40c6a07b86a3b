"""What the image installs, installed without a container into an empty environment, and run there.

The commands and the files are the Dockerfile's own (`sandbox.image.install`), so this needs neither root nor Debian.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from sandbox.image.build import origin
from sandbox.image.install import SBOM
from sandbox.recipes import bare_environment
from sandbox.source import ROOT

# One worker installs, all of them look at it.
pytestmark = pytest.mark.xdist_group("image")


def _run(
    opt: Path, program: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of the installed environment, away from the source tree."""
    return subprocess.run(
        [str(opt / "roomkeeper/bin" / program), *arguments],
        cwd=opt,
        env={**bare_environment(), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def _python(opt: Path, statement: str) -> str:
    done = _run(opt, "python", "-c", statement)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_it_says_its_version(opt: Path) -> None:
    done = _run(opt, "roomkeeper", "version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"roomkeeper {origin().version}\n", "")


def test_help_lists_the_operator_and_no_sandbox(opt: Path) -> None:
    done = _run(opt, "roomkeeper", "--help")
    assert done.returncode == 0, done.stderr
    assert re.search(r"\boperator\b", done.stdout)
    assert not re.search(r"\bsandbox\b", done.stdout)


def test_the_operator_without_settings_ends_with_status_2_and_a_sentence_for_each(opt: Path) -> None:
    done = _run(opt, "roomkeeper", "operator")
    assert done.returncode == 2
    head, *lines = done.stderr.strip().splitlines()
    assert head == "roomkeeper operator: 4 settings are wrong"
    required = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "REDIS_URL")
    assert {line.split()[0] for line in lines} == {f"ROOMKEEPER_{name}" for name in required}
    assert all("is not set" in line for line in lines)


def test_the_operators_modules_can_be_imported_all(opt: Path) -> None:
    statement = "import controller.app.life, controller.telemetry.otel, kopf, uvloop, livekit.api, redis; print('ok')"
    assert _python(opt, statement) == "ok"


def test_what_makes_traces_is_there_and_not_imported_before_it_is_needed(opt: Path) -> None:
    """redis-py imports a part of OpenTelemetry wherever it is installed; what sends traces is not in it."""
    statement = (
        "import sys, controller.app.life, importlib.util; "
        "print('opentelemetry.exporter' in sys.modules, 'controller.telemetry.otel' in sys.modules, "
        "importlib.util.find_spec('opentelemetry.exporter.otlp.proto.http') is not None)"
    )
    assert _python(opt, statement) == "False False True"


@pytest.mark.parametrize("module", ["sandbox", "tests", "benchmarks", "kubernetes", "pip", "setuptools", "pytest"])
def test_it_does_not_contain(opt: Path, module: str) -> None:
    assert _python(opt, f"import importlib.util; print(importlib.util.find_spec({module!r}))") == "None"


def test_every_package_has_the_version_of_the_constraints(opt: Path) -> None:
    pinned = {_normal(name): version for name, _, version in (line.partition("==") for line in _constraints())}
    listed = json.loads(
        _python(
            opt,
            "import importlib.metadata as m, json; print(json.dumps([[d.name, d.version] for d in m.distributions()]))",
        )
    )
    installed = {_normal(name): version for name, version in listed}
    assert installed.pop("roomkeeper") == origin().version
    assert {name: pinned.get(name) for name in installed} == installed


def test_the_sbom_lists_every_package_and_nothing_of_this_machine(opt: Path) -> None:
    text = (opt / SBOM).read_text()
    sbom = json.loads(text)
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["name"] == "roomkeeper"
    assert "serialNumber" not in sbom
    # The time is SOURCE_DATE_EPOCH, which the Dockerfile sets to 0 unless it is given.
    assert sbom["metadata"]["timestamp"].startswith("1970-01-01T00:00:00")
    components = {_normal(entry["name"]): entry["version"] for entry in sbom["components"]}
    listed = json.loads(
        _python(opt, "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))")
    )
    assert set(components) | {"roomkeeper"} == {_normal(name) for name in listed}
    for trace in ("file:", str(opt), str(ROOT), str(Path.home()) + "/", socket.gethostname(), "/opt/", "/build"):
        assert trace not in text, f"the SBOM names {trace}"
    if index := os.environ.get("PIP_INDEX_URL"):
        assert index not in text


def _constraints() -> list[str]:
    return (ROOT / "constraints.txt").read_text().splitlines()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
