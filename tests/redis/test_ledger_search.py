"""The search for ledgers by any name of a call, and the story that a ledger tells."""

from __future__ import annotations

import pytest

from controller.api.match import QueuePlace
from controller.cli.explanation import text
from controller.clients.redis.ledger_search import find_ledgers
from controller.facts.ledger import Destination, Ledger
from tests import values as b
from tests.redis.world import World

ORIGINAL, IDLE = (Destination.WAITING, QueuePlace.ORIGINAL), (Destination.IDLE, QueuePlace.ORIGINAL)


async def test_a_call_is_found_by_each_of_its_names_and_users_also_after_its_end(world: World) -> None:
    await world.enqueue_at("alice", 1000)
    await world.claim("m1", "alice", "bob", room="rk-1", url="wss://example.org")
    await world.settled("m1", {"alice": ORIGINAL, "bob": IDLE})
    await world.claim("m2", "bob", "carol", room="rk-2", url="wss://example.org")
    await world.raw("SET", world.keys.match("damaged"), "a string")

    async def found(name: str) -> list[str]:
        return [ledger.uid for ledger in await find_ledgers(world.redis, world.keys, name)]

    (ledger,) = await find_ledgers(world.redis, world.keys, "m1")
    for name in (ledger.match_name, ledger.session_id, "alice"):
        assert await found(name) == ["m1"], name
    assert sorted(await found("bob")) == ["m1", "m2"]
    assert await found("nothing") == []
    assert "alice is back in the queue" in text(ledger)


@pytest.mark.parametrize(
    ("ledger", "state"),
    [
        (b.ledger("Active"), "goes on (Active)"),
        (b.ledger("Active", recorded="Skipped"), "ending (Skipped)"),
        (b.ledger("Terminating", settled="Skipped"), "over (Skipped)"),
    ],
)
def test_the_first_line_says_where_the_call_is(ledger: Ledger, state: str) -> None:
    assert text(ledger).splitlines()[0] == f"match (no name): {state}"


def test_the_story_is_in_the_order_of_its_times() -> None:
    ledger = b.ledger(
        "Terminating",
        settled="Skipped",
        initiator="alice",
        message="alice skipped to the next person",
        queued={"alice": b.ms(-8), "bob": None},
        outcomes=(b.settled_user("alice"), b.settled_user("bob", "IDLE", detail="Blocked")),
        last={"bob": b.event("left", 4, reason="CLIENT_INITIATED")},
    )
    assert text(ledger).splitlines()[1:] == [
        f"  UID {b.MATCH_UID}, LiveKit room {b.LIVEKIT_NAME}",
        "  users alice and bob",
        "  2026-01-31 09:59:52  alice entered the queue",
        "  2026-01-31 10:00:04  LiveKit's last event about bob: participant_left (CLIENT_INITIATED)",
        "  2026-01-31 10:00:05  Skipped: alice skipped to the next person (by alice)",
        "  2026-01-31 10:00:05  alice is back in the queue",
        "  2026-01-31 10:00:05  bob is not in the queue (Blocked)",
    ]
