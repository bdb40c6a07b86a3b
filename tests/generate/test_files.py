"""What is made from the code is fresh, and the command that makes it says what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.generate.command import GENERATOR
from controller.generate.files import Generator

SAME = {"docs/one.md": "eins\n", "two.yaml": "zwei: ü\n"}


@pytest.fixture
def generator(tmp_path: Path) -> Generator:
    """One that makes two files."""
    return Generator("python -m maker", "two files", "the maker", lambda _root: SAME, tmp_path)


def test_what_is_made_from_the_code_is_fresh() -> None:
    assert list(GENERATOR.stale()) == []


def test_what_is_missing_is_written_and_named(generator: Generator, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["wrote docs/one.md", "wrote two.yaml"]
    assert {name: (generator.root / name).read_text(encoding="utf-8") for name in SAME} == SAME
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_a_stale_file_is_named_with_the_command_that_mends_it(
    generator: Generator, capsys: pytest.CaptureFixture[str]
) -> None:
    generator.write()
    (generator.root / "two.yaml").write_text("drei\n")
    assert generator.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "stale: two.yaml",
        "They are made from the maker. To update them, run: python -m maker",
    ]
    assert (generator.root / "two.yaml").read_text() == "drei\n"
