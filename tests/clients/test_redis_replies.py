"""The reply tables: every script has one, and a reply outside of it is refused by name."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from structlog.testing import capture_logs

from controller.clients.reading import MAX_MS
from controller.clients.redis import epochs, gateway, held, leftovers, lua, sweeps
from controller.clients.redis.replies import inbox, match, pool
from controller.clients.redis.replies.table import ReplyTable
from controller.errors import BackendRefused
from controller.telemetry import metrics

SECRET = "canary-c0ffee"
TABLES: list[ReplyTable[Any]] = [
    value
    for module in (epochs, gateway, held, inbox, leftovers, match, pool, sweeps)
    for value in vars(module).values()
    if isinstance(value, ReplyTable)
]


@pytest.mark.parametrize("beat", ["-inf", "inf", "nan", "1e400", "soon", ""])
def test_a_heartbeat_at_no_time_costs_no_other_and_is_named_once(beat: str) -> None:
    counted = metrics.unreadable_rows.labels("Redis", "heartbeat")._value
    before, who = counted.get(), f"mallory {beat}"
    raw = ["OK", "3", "1700000000000", "1", "1700000000000", "", "2", who, beat, "alice", "1690000000000", "bob", "5"]
    with capture_logs() as logs:
        for _ in range(3):
            silence = inbox.SILENT.parse(raw)
    assert (silence.newly_silent, silence.still_silent) == ({"alice": 1_690_000_000_000}, {"bob": 5})
    assert counted.get() == before + 3
    assert [entry["row"] for entry in logs] == [repr((who, beat))]


@pytest.mark.parametrize(
    ("place", "read"), [("inf", MAX_MS), ("-inf", 0), ("1e300", MAX_MS), ("1700000000000", 17 * 10**11)]
)
def test_a_claim_is_read_whatever_place_a_user_had(place: str, read: int) -> None:
    reply = match.CLAIM.parse(["OK", "new", "alice", place, "bob", ""])
    assert reply == match.ClaimOk((match.ClaimedUser("alice", read), match.ClaimedUser("bob", None)), replay=False)


def test_every_script_has_one_table() -> None:
    assert sorted(table.script for table in TABLES) == sorted(script.name for script in lua.ALL)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.script)
def test_an_unknown_reply_is_refused_with_the_script_and_its_first_word(table: ReplyTable[Any]) -> None:
    with pytest.raises(BackendRefused, match=rf"Redis {table.script}: the script answered 'HELLO'") as caught:
        table.parse(["HELLO", SECRET])
    assert SECRET not in str(caught.value)
    with pytest.raises(BackendRefused, match=rf"Redis {table.script}: the script answered nothing"):
        table.parse([])


@pytest.mark.parametrize(
    ("table", "raw"),
    [
        (match.CLAIM, ["BUSY", SECRET]),
        (match.CLAIM, ["OK", "new", SECRET]),
        (match.CLAIM, ["STALE", SECRET]),
        (match.ADVANCE, ["OK", "alice", SECRET]),
        (match.SETTLE, ["OK", "new"]),
        (match.WITNESS, ["OK", "1-0", SECRET]),
        (inbox.EXPIRE, ["OK", SECRET]),
        (inbox.SILENT, ["OK", "1", "2", SECRET, "", "", "0"]),
        (gateway.BEAT, ["OK", SECRET, "", "", "", "", "1"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value.script,
)
def test_a_known_code_with_words_that_cannot_be_read_is_refused_without_them(
    table: ReplyTable[Any], raw: list[str]
) -> None:
    with pytest.raises(BackendRefused, match=f"Redis {table.script}: the script answered '{raw[0]}'") as caught:
        table.parse(raw)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
