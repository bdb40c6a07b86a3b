"""The package `contract`: what it gives to a Python program, and that the distribution holds all of it."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from importlib import resources

import pytest
from jsonschema import Draft202012Validator

import contract
from controller.generate.command import COMMAND
from controller.generate.library import library_text
from sandbox.source import ROOT


def test_the_distribution_holds_every_file_of_the_contract() -> None:
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert any(fnmatch("contract", pattern) for pattern in setuptools["packages"]["find"]["include"])
    patterns = [*setuptools["package-data"]["contract"], "*.py"]
    for file in resources.files("contract").iterdir():
        if file.is_file():
            assert any(fnmatch(file.name, pattern) for pattern in patterns), f"the wheel leaves {file.name} out"


@pytest.mark.parametrize("name", contract.SCRIPTS)
def test_the_text_of_a_script_is_its_two_files_and_nothing_else(name: str) -> None:
    files = [(ROOT / "contract" / file).read_text(encoding="utf-8") for file in ("common.lua", f"{name}.lua")]
    assert contract.script(name) == "".join(files)


def test_an_unknown_script_is_refused_with_the_names_that_there_are() -> None:
    with pytest.raises(ValueError, match="no published script 'claim'; use one of enqueue, beat, leave"):
        contract.script("claim")


def test_the_schema_of_events_is_a_json_schema() -> None:
    Draft202012Validator.check_schema(contract.events_schema())


def test_the_library_changes_its_digest_with_every_change_of_a_script(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contract.library() == library_text(COMMAND)
    read = contract.read
    monkeypatch.setattr(contract, "read", lambda file: read(file).replace("return {'UNKNOWN'}", "return {'WHO'}"))
    assert library_text(COMMAND).splitlines()[-2] != contract.library().splitlines()[-2]
