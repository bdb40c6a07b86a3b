"""The reply tables: every script has one, and a reply outside of it is refused by name."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from controller.clients.redis import gateway, lua
from controller.clients.redis.replies import inbox, match, pool
from controller.clients.redis.replies.table import ReplyTable
from controller.errors import BackendRefused

SECRET = "canary-c0ffee"
TABLES: list[ReplyTable[Any]] = [
    value
    for module in (gateway, inbox, match, pool)
    for value in vars(module).values()
    if isinstance(value, ReplyTable)
]


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
