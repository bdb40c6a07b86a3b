"""Recordings of decisions, and their replay with the planner of today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from controller.api import names
from controller.api.endings import EndCode
from controller.api.match import Match
from controller.api.room import Room
from controller.errors import RoomkeeperError
from controller.facts.match import MatchSeen, Refusal
from controller.facts.room import RoomSeen
from controller.loop.key import Key
from controller.loop.recipes import RECIPES
from controller.loop.record import Recorder
from controller.loop.replay import replay
from controller.plan.match import plan_match
from controller.plan.room import plan_room
from controller.rules.match_case import MatchCase
from controller.rules.room_case import RoomCase
from tests import values as b

MATCH, ROOM = Key(names.MATCH, b.NAMESPACE, b.NAME), Key(names.ROOM, b.NAMESPACE, b.ROOM_NAME)
BUSY = Refusal(EndCode.USER_BUSY, "bob", "calls/other")
JOINED = b.ledger(last={"alice": b.event("joined", 3, sid="PA_1")}, queued={"alice": b.ms(-20), "bob": None})
DONE = b.ledger(settled="Ended", initiator="alice", outcomes=[b.settled_user("alice", score_ms=b.ms(-20))])

MATCHES: list[tuple[str, Match, MatchSeen]] = [
    ("new", b.a_match(finalizers=()), b.seen()),
    ("claim", b.a_match(session_id="s-9"), b.seen()),
    ("refused", b.a_match(), b.seen(refusal=BUSY)),
    ("unknown", b.a_match(), b.seen(ledger=b.unknown())),
    ("handing out", b.a_match(), b.seen(ledger=JOINED, room=b.a_room())),
    ("people", b.connecting(), b.both_in(ledger=JOINED)),
    ("up", b.active(), b.both_in()),
    (
        "ending",
        b.active(termination={"action": "Skip", "initiator": "alice"}),
        b.both_in(ledger=b.ledger("Terminating")),
    ),
    ("over", b.active(deleted=True), b.all_gone(ledger=DONE)),
]
ROOMS: list[tuple[str, Room, RoomSeen]] = [
    ("new", b.a_room(metadata={"topic": "go"}), b.room_seen()),
    ("there", b.an_active_room(), b.room_seen(livekit_room=b.a_livekit_room(), people=(b.person("alice"),))),
    ("foreign", b.a_room(), b.room_seen(livekit_room=b.a_livekit_room(foreign=True), owned=False)),
    ("orphaned", b.an_active_room(deleted=True, deletion_policy="Orphan", metadata={"a": "1"}),
     b.room_seen(livekit_room=b.a_livekit_room(), record=b.a_record())),
    ("unknown", b.a_room(deleted=True), b.room_seen(livekit_room=b.unknown(), record=b.unknown())),
]  # fmt: skip


@pytest.mark.parametrize(("match", "seen"), [case[1:] for case in MATCHES], ids=[case[0] for case in MATCHES])
def test_a_recorded_decision_about_a_match_is_replayed_the_same(match: Match, seen: MatchSeen, tmp_path: Path) -> None:
    plan = plan_match(MatchCase(match, seen, b.at(4)))
    Recorder(tmp_path, RECIPES).record(MATCH, match, seen, b.at(4), plan)
    (result,) = replay(tmp_path)
    assert result.is_same
    assert result.planned == result.recorded
    assert result.key == str(MATCH)


@pytest.mark.parametrize(("room", "seen"), [case[1:] for case in ROOMS], ids=[case[0] for case in ROOMS])
def test_a_recorded_decision_about_a_room_is_replayed_the_same(room: Room, seen: RoomSeen, tmp_path: Path) -> None:
    plan = plan_room(RoomCase(room, seen, b.at(4)))
    Recorder(tmp_path, RECIPES).record(ROOM, room, seen, b.at(4), plan)
    (result,) = replay(tmp_path)
    assert result.is_same


def recorded(directory: Path) -> dict[str, Any]:
    """Return the recorded decision as JSON."""
    Recorder(directory, RECIPES).record(
        MATCH, b.active(), b.both_in(), b.at(4), plan_match(MatchCase(b.active(), b.both_in(), b.at(4)))
    )
    (file,) = directory.glob("*.jsonl")
    dump: dict[str, Any] = orjson.loads(file.read_bytes())
    return dump


def test_a_recording_has_the_object_the_observation_and_the_decision(tmp_path: Path) -> None:
    dump = recorded(tmp_path)
    assert set(dump) == {"kind", "key", "now", "desired", "observed", "plan"}
    assert dump["plan"] == {"actions": [], "deadline": "2026-01-31T12:00:03+00:00", "waitsFor": "people"}
    assert dump["desired"]["metadata"]["uid"] == b.MATCH_UID
    assert dump["observed"]["ledger"]["value"]["phase"] == "Active"


def test_the_planner_of_today_may_decide_otherwise(tmp_path: Path) -> None:
    dump = recorded(tmp_path)
    dump["plan"]["actions"] = [{"action": "Claim"}]
    file = tmp_path / "changed.jsonl"
    file.write_bytes(orjson.dumps(dump))
    (result,) = replay(file)
    assert not result.is_same
    assert result.source == "changed.jsonl:1"


def test_decisions_are_appended_one_file_per_object_and_uid(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new" / "directory", RECIPES)
    for _ in range(3):
        recorder.record(MATCH, b.a_match(), b.seen(), b.at(1), plan_match(MatchCase(b.a_match(), b.seen(), b.at(1))))
    recorder.record(ROOM, b.a_room(), b.room_seen(), b.at(1), plan_room(RoomCase(b.a_room(), b.room_seen(), b.at(1))))
    files = sorted((tmp_path / "new" / "directory").iterdir())
    assert [len(file.read_bytes().splitlines()) for file in files] == [3, 1]
    assert all(file.suffix == ".jsonl" for file in files)


@pytest.mark.parametrize("text", [b"no JSON", b"{}", b'{"kind": "Match"}', b"[1]", b'{"kind":"Match","now":"never"}'])
def test_a_line_that_is_no_recording_is_named(text: bytes, tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_bytes(text + b"\n")
    with pytest.raises(RoomkeeperError, match=r"broken\.jsonl:1: is not a dump of this version"):
        list(replay(file))


def test_an_empty_directory_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(RoomkeeperError, match="no dumps"):
        list(replay(tmp_path))
    with pytest.raises(RoomkeeperError, match="cannot be read"):
        list(replay(tmp_path / "nowhere.jsonl"))
