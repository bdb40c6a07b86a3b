"""The workflows: what they may do, and what they name, read from the files. `make check` lints them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from release.workflows import WORKFLOWS
from sandbox.source import ROOT

FILES = {path.name: path.read_text(encoding="utf-8") for path in WORKFLOWS.glob("*.yml")}
# YAML 1.1 reads the key `on` as true; nothing here needs it.
PARSED: dict[str, Any] = {name: yaml.safe_load(text) for name, text in FILES.items()}


def _jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, workflow in PARSED.items():
        for job, content in workflow["jobs"].items():
            yield f"{name}: {job}", content


@pytest.mark.parametrize("name", FILES)
def test_every_action_is_pinned_by_commit_with_its_version_beside_it(name: str) -> None:
    used = re.findall(r"uses: (?!\./)(.*)$", FILES[name], re.MULTILINE)
    assert used
    assert [use for use in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+)*", use)] == []


def test_one_action_has_one_commit_everywhere() -> None:
    pins = set(re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", "\n".join(FILES.values())))
    assert len(pins) == len({action for action, _ in pins})


@pytest.mark.parametrize(("name", "job"), list(_jobs()))
def test_a_job_has_the_permissions_that_it_names_and_an_end(name: str, job: dict[str, Any]) -> None:
    assert PARSED[name.partition(":")[0]]["permissions"] == {}
    assert "permissions" in job, name
    assert "uses" in job or job["timeout-minutes"] <= 90, name


def test_only_what_publishes_may_write_and_it_waits_for_all_tests() -> None:
    writers = {name: job for name, job in _jobs() if "write" in job["permissions"].values()}
    assert set(writers) == {"release.yml: image", "release.yml: chart", "release.yml: github"}
    assert all(job["environment"] == "release" for job in writers.values())
    needs = {name: set(job["needs"]) for name, job in writers.items()}
    assert needs["release.yml: image"] == {"candidate", "test"}
    assert all("image" in needs[name] for name in ("release.yml: chart", "release.yml: github"))


def test_nothing_is_published_before_the_version_was_found_to_be_free() -> None:
    steps = PARSED["release.yml"]["jobs"]["candidate"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert any("-m release unpublished" in command and "CHARTS" in command for command in commands)
    assert any(command.startswith("make release") and "--tagged" in command for command in commands)


def test_the_workflows_call_targets_that_make_has() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    called = set(
        re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join(re.findall(r"run:.*|^ {10}.*", "\n".join(FILES.values()), re.M)))
    )
    assert {"check", "parts", "test", "image", "release", "venv"} <= called
    assert [target for target in called if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
