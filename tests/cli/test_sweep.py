"""`roomkeeper sweep` refuses what makes no sense, and its report says what was found, why, and what became of it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from controller.cli.progress import Lines
from controller.cli.sweep import progress_bar
from controller.cli.sweep_report import REMEDIES, SHOWN, SweepReport, document, done_text, found_text
from controller.facts.leftover import Cleaned, Leftover, Outcome, Remedy, SweepKind
from tests.cli.support import run

ALICE = Leftover(SweepKind.USERS, Remedy.FREE, "calls", "alice", "IN_CALL, and the match u1 does not live")
ROOM = Leftover(SweepKind.ROOMS, Remedy.CLOSE, "calls", "rk-1", "it is open with 2 participants, and its Room is gone")
NOTES = {
    "runs:deep": "3",
    "ended:deep": "1700000000000",
    "succeeded:deep": "1700000000000",
    "took:deep": "1500",
    "found:users": "7",
    "cleaned:users": "6",
    "errors:users": "1",
    "runs:light": "nonsense",
}
REPORT = SweepReport(
    is_dry_run=False,
    is_forced=False,
    keys=12,
    leftovers=(ALICE, ROOM),
    outcomes=(Outcome(ALICE, Cleaned.DONE), Outcome(ROOM, Cleaned.KEPT, "LiveKit does not answer")),
    problems=(),
    notes=NOTES,
)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--type", "people"), "'people' is none of rooms, users, sessions, matches, heartbeats, notices"),
        (("--id", "alice"), "say with --type what it is an id of"),
        (("--output", "yaml"), "'yaml' is none of table, json"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_with_a_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    done = run("sweep", *arguments)
    assert done.status == 2
    assert sentence in " ".join(done.err.split())
    assert not done.imported("kopf", "aiohttp")


def test_what_was_found_and_why_is_shown_before_anything_is_done() -> None:
    text = found_text((ALICE, ROOM), 12)
    assert text.startswith("2 leftovers (12 keys looked at)")
    for part in (ALICE.why, ROOM.why, "alice", "rk-1", REMEDIES[Remedy.FREE], REMEDIES[Remedy.CLOSE]):
        assert part in text
    assert found_text((), 12) == "Nothing is left over (12 keys looked at)."
    many = found_text([replace(ALICE, id=f"user-{n}") for n in range(SHOWN + 5)], 12)
    assert many.endswith("… and 5 more; --output json has all.")


def test_what_became_of_each_is_told_with_the_statistics_of_the_operator() -> None:
    text = done_text(REPORT)
    assert text.startswith("1 cleaned.")
    assert "1 could not be cleaned" in text
    assert "LiveKit does not answer" in text
    assert [line.split() for line in text.splitlines() if line.startswith(("deep", "users"))] == [
        ["deep", "3", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20Z", "1.5"],
        ["users", "7", "6", "1"],
    ]
    assert not REPORT.is_clean
    assert "Nothing was changed." in done_text(replace(REPORT, is_dry_run=True, outcomes=()))
    assert "What could not be looked at:\nLiveKit" in done_text(replace(REPORT, problems=("LiveKit: no answer",)))


def test_the_document_has_everything_in_one_shape() -> None:
    found = document(REPORT)
    assert found["leftovers"] == [
        {"type": "users", "namespace": "calls", "id": "alice", "why": ALICE.why, "remedy": "free", "outcome": "done"},
        {
            "type": "rooms",
            "namespace": "calls",
            "id": "rk-1",
            "why": ROOM.why,
            "remedy": "close",
            "outcome": "failed",
            "problem": "LiveKit does not answer",
        },
    ]
    assert found["operator"]["types"]["users"] == {"found": 7, "cleaned": 6, "errors": 1}
    assert found["operator"]["sweeps"]["light"]["runs"] == 0


def test_every_remedy_has_its_words() -> None:
    assert set(REMEDIES) == set(Remedy)


def test_the_progress_bar_shows_how_much_is_done() -> None:
    assert progress_bar(250, 1000).split() == ["████████░░░░░░░░░░░░░░░░░░░░░░", "25%", "250", "of", "1000"]
    assert progress_bar(7, 0) == "7"
    out = io.StringIO()
    Lines(out).running("keys", progress_bar(1, 2))
    assert "50%" in out.getvalue()
