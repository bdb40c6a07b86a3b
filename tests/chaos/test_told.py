"""What chaos reads in the events: what is illegal or done twice is found, what a fault changed is not."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos.told import Told
from tests.support.rig import Rig


def a_rig(*told: tuple[int, str, str, str]) -> Rig:
    """A stream with these events of users: moment, user, state, UID of the Match."""

    async def xrange(_key: str) -> list[tuple[str, dict[str, str]]]:
        rows = []
        for at_ms, user, state, uid in told:
            event = {"subject": f"user/{user}", "data": {"user": user, "state": state, "match": uid}}
            rows.append((f"{at_ms}-0", {"event": json.dumps(event)}))
        return rows

    return cast("Rig", SimpleNamespace(redis=SimpleNamespace(xrange=xrange), keys=SimpleNamespace(events=lambda: "e")))


CALL: Any = ((1, "a", "WAITING", ""), (2, "a", "CONNECTING", "m"), (3, "a", "WAITING", "m"))
ILLEGAL: Any = (*CALL, (4, "a", "IN_CALL", "m"))
TWICE: Any = (*CALL, (4, "a", "CONNECTING", "n"), (5, "a", "IDLE", "m"))


async def test_a_call_from_its_begin_to_its_end_is_in_order() -> None:
    assert await Told().check(a_rig(*CALL)) == 3, "two steps, and one who was freed"


@pytest.mark.parametrize(("told", "words"), [(ILLEGAL, "S3"), (TWICE, "S4, S5")], ids=["illegal", "twice"])
async def test_a_broken_promise_is_found_unless_a_fault_changed_what_it_is_about(told: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        await Told().check(a_rig(*told))
    for key in ("rk:{test:calls}:user:a", "rk:{test:calls}:match:m", "rk:{test:calls}:queue"):
        touched = Told()
        touched.touch(key)
        await touched.check(a_rig(*told))


async def test_a_restore_between_two_events_breaks_the_steps_off() -> None:
    await Told(restores=[(3, 4)]).check(a_rig(*ILLEGAL))
    with pytest.raises(AssertionError, match="S3"):
        await Told(restores=[(5, 6)]).check(a_rig(*ILLEGAL))
