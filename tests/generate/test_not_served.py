"""What the API shows and nothing serves yet says so in `kubectl explain`."""

from typing import Any

import pytest

from controller.generate.crds import DEFINITIONS, crd


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("Room", "status.reason"),
    ],
)
def test_what_nothing_serves_yet_says_so(kind: str, path: str) -> None:
    definition = next(row for row in DEFINITIONS if row.kind.kind == kind)
    field: dict[str, Any] = crd(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in filter(None, path.split(".")):
        field = field["properties"][name]
    assert "not served yet" in field["description"].lower()
