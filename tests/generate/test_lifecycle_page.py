"""The page on the life of a call says what the tables say, all of it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.api.endings import ENDINGS, EndReason, ReleaseDetail, RequeuePolicy, Rollback
from controller.api.machine import Exit, Machine, Stage, machine
from controller.api.match import Match, OutcomeState, ParticipantState, QueuePlace, Requeue, Timeouts
from controller.api.phases import MATCH_PHASES, ROOM_PHASES, MatchPhase, RoomPhase
from controller.api.states import PARTICIPANT_STATES, USER_STATES, UserState
from controller.facts.match import MatchSeen
from controller.generate.command import GENERATOR
from controller.generate.lifecycle_page import fill, place
from controller.generate.markdown import diagram
from controller.rules.end_cause import make_cause
from tests import values as b

PAGE = (GENERATOR.root / "docs/lifecycle.md").read_text(encoding="utf-8")
DIAGRAMS = re.findall(r"```mermaid\n(.*?)\n```", PAGE, re.DOTALL)
DRAWN = {"Match": MATCH_PHASES, "user": USER_STATES, "participant": PARTICIPANT_STATES, "Room": ROOM_PHASES}

ARROW = re.compile(r"    (\[\*\]|\w+) --> (\[\*\]|\w+)(?:: ([^:;\n]+))?")


@pytest.mark.parametrize("word", [*MatchPhase, *RoomPhase, *UserState, *ParticipantState, *EndReason])
def test_every_phase_state_and_ending_has_a_row(word: str) -> None:
    assert f"\n| `{word}` | " in PAGE


@pytest.mark.parametrize("word", [*RequeuePolicy, *ReleaseDetail, *QueuePlace, *OutcomeState])
def test_every_word_of_an_outcome_is_explained(word: str) -> None:
    assert f"`{word}`" in PAGE


@pytest.mark.parametrize("name", Timeouts.model_json_schema(by_alias=True)["properties"])
def test_every_timeout_is_told_with_its_default(name: str) -> None:
    default = Timeouts.model_json_schema(by_alias=True)["properties"][name]["default"]
    assert f"\n| Match `timeouts.{name}` | {default} s | Seconds" in PAGE


@pytest.mark.parametrize(("drawing", "table"), list(zip(DIAGRAMS, DRAWN.values(), strict=True)), ids=DRAWN)
def test_the_arrows_of_a_picture_are_the_exits_of_its_table(drawing: str, table: Machine[UserState]) -> None:
    head, *lines = drawing.splitlines()
    assert head == "stateDiagram-v2"
    found = [ARROW.fullmatch(line) for line in lines]
    drawn = [match.groups() for match in found if match is not None]
    assert len(drawn) == len(lines), "a line that Mermaid would not read"
    inner = [(start, to) for start, to, _ in drawn if "[*]" not in (start, to)]
    assert len(inner) == len(set(inner))
    assert set(inner) == {(stage.name, way.to) for stage in table.values() for way in stage.exits}
    assert [to for start, to, _ in drawn if start == "[*]"] == [next(iter(table))]
    assert {start for start, to, _ in drawn if to == "[*]"} == {s.name for s in table.values() if s.terminal}
    labels = {(start, to): label for start, to, label in drawn}
    for stage in table.values():
        for way in stage.exits:
            assert words(way.when) in words(labels[stage.name, way.to])


def words(text: str | None) -> str:
    """What remains when lines are broken elsewhere, and other marks are set."""
    return " ".join(re.findall(r"\w+", (text or "").replace("<br/>", " ")))


def test_a_mark_that_would_end_a_label_is_not_drawn() -> None:
    table = machine(Stage(UserState.IDLE, "", (Exit("one: two; three", UserState.WAITING),)))
    assert "IDLE --> WAITING: one, two, three" in diagram(table)


SITUATIONS: dict[str, tuple[Match, MatchSeen]] = {
    "not Ready": (b.a_match(), b.seen(ledger=b.ledger())),
    "no participant came yet": (b.connecting(), b.all_made()),
    "in a call": (b.active(), b.both_in()),
}
PLACES = {
    "as usual": ("Original Original", "Original Original", "Now Now"),
    "as usual, if requeued": ("Original Original", "Original Original", "Now Now"),
    "the initiator at the end, the other as usual": ("Now Original", "Now Original", "Now Now"),
    "as before": ("Original Original", "Original Original", "Original Original"),
    "as before; once Ready, as usual": ("Original Original", "Original Original", "Now Now"),
}


@pytest.mark.parametrize("reason", EndReason)
def test_the_place_in_the_queue_is_the_one_that_the_planner_gives(reason: EndReason) -> None:
    ending, found = ENDINGS[reason], []
    for name, (match, seen) in SITUATIONS.items():
        requeue = Requeue.model_validate({ending.requeue_field: "All"})
        spec = match.spec.model_copy(update={"requeue": requeue})
        cause = make_cause(match, reason, "", initiator="alice")
        users = b.releases(match.model_copy(update={"spec": spec}), seen, cause)
        undone = ending.rollback is Rollback.ALWAYS or (
            ending.rollback is Rollback.BEFORE_READY and name == "not Ready"
        )
        assert {user.to for user in users} == {"BACK" if undone else "WAITING"}
        found.append(" ".join(user.place for user in users))
    assert PLACES[place(ending)] == tuple(found)
    assert re.search(rf"\n\| `{reason}` \| .* \| {re.escape(place(ending))} \|\n", PAGE)


def test_the_links_of_the_page_lead_somewhere() -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", PAGE):
        path = Path(GENERATOR.root / "docs" / target) if target else GENERATOR.root / "docs/lifecycle.md"
        headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{target}#{anchor}"


def test_a_gap_that_nothing_fits_is_an_error() -> None:
    assert fill("a {{b}} c {d}", {"b": "B"}) == "a B c {d}"
    with pytest.raises(KeyError, match="unheard"):
        fill("{{unheard}}", {})
