"""The check of names finds what is wrong, and leaves alone what is right or not ours."""

import pytest

from tests.docs.known import Known
from tests.docs.references import References
from tests.docs.texts import Text, of_comments, of_markdown, of_python

REFERENCES = References(Known())

WRONG = {
    "a file": ("`docs/gone.md`", "no file docs/gone.md"),
    "a file without backticks": ("see docs/gone.md", "no file docs/gone.md"),
    "a file by its last segments": ("`act/gone.py`", "no file act/gone.py"),
    "a pattern of files": ("`parts/<program>/gone.mod`", "no file parts/<program>/gone.mod"),
    "a link": ("[x](gone.md)", "the link leads to no file: gone.md"),
    "a heading": ("[x](lifecycle.md#gone)", "the link leads to no heading: lifecycle.md#gone"),
    "a module": ("`plan.gone`", "no module plan.gone"),
    "a function of a module": ("`plan.match.gone`", "no module plan.match.gone"),
    "a member of a class": ("`Present.gone`", "Present has no gone"),
    "a function": ("`gone_for_good()`", "nothing is called gone_for_good()"),
    "a name in a file": ("`gone_for_good` in `act/users.py`", "act/users.py does not define gone_for_good"),
    "a test": ("test_gone_for_good", "no test test_gone_for_good"),
    "a target": ("`make gone`", "no target gone in the Makefile"),
    "a command": ("`roomkeeper sandbox gone`", "no command roomkeeper sandbox gone"),
    "a flag of a command": ("`roomkeeper operator --gone`", "roomkeeper operator has no flag --gone"),
    "a flag alone": ("`--gone DIR`", "no program of ours has a flag --gone"),
    "a program": ("`python -m sandbox.gone`", "no module sandbox.gone"),
    "a flag of a program": ("`python -m sandbox.person --gone`", "python -m sandbox.person has no flag --gone"),
    "a setting": ("ROOMKEEPER_GONE", "no setting ROOMKEEPER_GONE"),
    "a metric": ("roomkeeper_gone_total", "no metric roomkeeper_gone_total"),
    "a field": ("`spec.gone`", "no field spec.gone"),
    "a value of the chart": ("`rbac.gone`", "no value rbac.gone of the chart"),
    "a field of kubectl's output": ("-o jsonpath='{.status.end.gone}'", "no field status.end.gone"),
}


@pytest.mark.parametrize(("text", "problem"), WRONG.values(), ids=WRONG)
def test_a_name_that_leads_nowhere_is_found(text: str, problem: str) -> None:
    found = list(REFERENCES.broken(Text("docs/page.md", 7, f"First line.\n{text}")))
    assert f"docs/page.md:8: {problem}" in found


RIGHT = """\
`docs/lifecycle.md`, [x](lifecycle.md#endings), `act/users.py`, `parts/<program>/go.mod`, `plan.match`, `Present.value`,
`controller/`, `write_status` in `act/kubernetes.py`, `make bench ARGS="--only life"`, `roomkeeper sandbox parts list`,
`roomkeeper operator --record-dir`, `--record-dir`, `python -m sandbox.person --url`, ROOMKEEPER_REDIS_URL,
ROOMKEEPER_<NAME>, roomkeeper_matches_finished_total, `spec.requeue`, `status.participants[].state`, `match.active`,
{.status.end.reason}, `livekit.existingSecret`, `settings.logLevel`, `python -m sandbox.manifests --check`
"""


@pytest.mark.parametrize("text", RIGHT.replace("\n", " ").split(", "))
def test_a_name_that_leads_somewhere_is_none_to_report(text: str) -> None:
    assert list(REFERENCES.broken(Text("docs/page.md", 1, text))) == []


@pytest.mark.parametrize(
    "text",
    ["`kubectl get gone --gone`", "`/tmp/gone.py`", "https://example.com/docs/gone.md", "`asyncio.gone`", "gone"],
)
def test_what_is_not_ours_is_left_alone(text: str) -> None:
    assert list(REFERENCES.broken(Text("docs/page.md", 1, text))) == []


def test_a_page_has_prose_and_commands_and_its_other_blocks_are_output() -> None:
    page = "One\n```sh\nmake gone\n```\ntwo\n```\n`docs/gone.md`\n```\n"
    texts = [(text.line, text.text, text.is_shell) for text in of_markdown("page.md", page)]
    assert texts == [(1, "One\n", False), (3, "make gone\n", True), (4, "\ntwo\n", False), (8, "\n", False)]


def test_a_module_has_docstrings_comments_and_messages_that_quote() -> None:
    source = '"""Top."""\n# one\n# two\nx = 1  # three\n"""Of x."""\nraise OSError("try `make parts`")\ny = "plain"\n'
    texts = {(text.line, text.text) for text in of_python("controller/x.py", source)}
    assert texts == {(1, "Top."), (2, "one\ntwo\nthree"), (5, "Of x."), (6, "try `make parts`")}


def test_a_makefile_has_comments_and_the_programs_that_it_runs() -> None:
    source = "# one\nx:\n\t@$(PY) -m sandbox.demo\n"
    texts = [(text.line, text.text, text.is_shell) for text in of_comments("Makefile", source, "#")]
    assert texts == [(1, "one", False), (3, "python -m sandbox.demo", True)]
