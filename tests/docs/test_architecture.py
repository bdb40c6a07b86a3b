"""The drawing of the layers is the contract that `make check` checks."""

import configparser
import re

from tests.docs.known import ROOT


def test_the_drawing_of_the_layers_is_the_contract() -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    layers = contracts["importlinter:contract:layers"]["layers"].strip().splitlines()
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawing = re.search(r"```text\n(.*?)```", page, re.DOTALL)
    assert drawing is not None
    drawn = [re.split(r"\s{2,}", line)[0] for line in drawing[1].splitlines()]
    assert drawn == [layer.strip() for layer in layers]


def test_every_package_of_the_layers_has_its_job_in_the_table() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`controller/(\w+)(?:\.py)?`", page))
    modules = {path.stem for path in (ROOT / "controller").iterdir() if not path.name.startswith("_")}
    assert modules <= told
