"""docs/retention.md lists every key with the time for which it stays, as the code has it."""

from __future__ import annotations

import re

import pytest

import contract
from controller.api.match_spec import MatchSpec
from controller.clients.redis import error_store, lua
from controller.clients.redis.keys import KEY_RULES
from controller.clients.redis.retention import RETENTION
from tests.docs.known import ROOT

PAGE = (ROOT / "docs/retention.md").read_text(encoding="utf-8")
_IN_REDIS = PAGE.partition("\n## In Redis\n")[2].partition("\n## ")[0]
ROWS = {
    row[0].strip("`"): row[2]
    for line in _IN_REDIS.splitlines()
    if line.startswith("| `") and (row := [cell.strip() for cell in line.strip("|").split("|")])
}
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_NUMBERS = {"a": 1, "an": 1, "two": 2}


def constant(script: str, name: str) -> int:
    """A number of a Lua script: `local ONE, OTHER = 1, 2`."""
    for names, values in re.findall(r"^local ([A-Z_, ]+) = ([\d, ]+)$", script, re.MULTILINE):
        found = dict(zip(names.split(", "), values.split(", "), strict=True))
        if name in found:
            return int(found[name])
    raise AssertionError(f"the script has no {name}")


_COMMON, _SETTLE = contract.read("common.lua"), lua.SETTLE.text
STAYS = {
    "user:<id>": RETENTION.idle_user_seconds,
    "recent:<id>": constant(_SETTLE, "RECENT_TTL_MS") // 1000,
    "room:<LiveKit name>": RETENTION.room_record_seconds,
    "served": RETENTION.served_seconds,
    "notify:<id>": constant(_COMMON, "NOTICES_TTL_MS") // 1000,
    "disconnects": constant(_COMMON, "DAY_MS") // 1000,
    "events": constant(_COMMON, "DAY_MS") // 1000,
    "match:<uid>": RETENTION.settled_match_seconds,
    "session:<session id>": RETENTION.settled_match_seconds,
    "signals-done": RETENTION.unserved_pool_seconds,
    "incarnation": RETENTION.unserved_pool_seconds,
    "fence:<shard>": RETENTION.unserved_pool_seconds,
    "errors": error_store.TTL_SECONDS,
    "errors-hour:<hour>": error_store.TTL_SECONDS,
}


def seconds(text: str) -> int:
    """The first time that a cell names: `30 days after …`, `an hour after …`."""
    found = re.match(r"(?:about )?(\d+|a|an|two) (second|minute|hour|day)s?\b", text)
    assert found is not None, text
    return int(_NUMBERS.get(found[1], 0) or found[1]) * _UNITS[found[2]]


def test_the_page_lists_every_key() -> None:
    assert list(ROWS) == [rule.form for rule in KEY_RULES]


@pytest.mark.parametrize("form", STAYS)
def test_a_key_stays_for_as_long_as_the_page_says(form: str) -> None:
    assert seconds(ROWS[form]) == STAYS[form]


def test_the_streams_and_notices_have_the_lengths_of_the_page() -> None:
    assert f"the latest {constant(_COMMON, 'NOTICES')} notices" in _IN_REDIS
    assert f"about {constant(_COMMON, 'EVENTS'):,} entries".replace(",", " ") in ROWS["events"]
    assert f"{RETENTION.webhook_entries:,}".replace(",", " ") in ROWS["webhooks:<shard>"]


def test_a_match_stays_for_as_long_as_the_page_says() -> None:
    stays = MatchSpec.model_fields["ttl_seconds_after_finished"].default
    assert f"`ttlSecondsAfterFinished` after the end: {stays // 60} minutes" in PAGE
