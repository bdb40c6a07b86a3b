"""The wall clock of the operator's machine is wrong by ten minutes, and steps in the middle of a call."""

from __future__ import annotations

import json
import signal
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.api.match import Match
from tests import factories
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.world import World

_PATIENT: dict[str, Any] = {
    "timeouts": {"leaveSeconds": 60, "reconnectSeconds": 60},
    "room": {"departureTimeoutSeconds": 65},
}


@pytest.mark.parametrize("off_seconds", [600, -600])
async def test_a_call_goes_its_way_whatever_the_machines_clock_says(world: World, off_seconds: int) -> None:
    operator = world.operators.make(poll_seconds="60")
    operator.clock_off_seconds = off_seconds
    await operator.start()
    await world.enqueue("alice", "bob")
    match, (alice, bob) = await world.active(**_PATIENT)
    assert _lied_seconds(operator, match) == pytest.approx(off_seconds, abs=60)

    operator.send(signal.SIGUSR1)
    await bob.leave()
    gone = await world.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    assert _lied_seconds(operator, gone) == pytest.approx(-off_seconds, abs=60)
    await world.people("bob", (await world.tokens(match))["bob"]["token"]).join()
    back = await world.kube.match_until(lambda found: found.status.phase == "Active")
    assert {person.evidence for person in back.status.participants} == {"webhook"}

    await world.kube.patch("Match", "match", factories.termination("Skip", "alice"))
    over = await world.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await world.expect_states(alice="WAITING", bob="WAITING")
    created = over.metadata.creation_timestamp
    assert created is not None
    assert all(timedelta(seconds=-1) <= step.time - created < timedelta(minutes=2) for step in over.status.history)
    metrics = await operator.metrics()
    refused = sum(metrics("roomkeeper_webhooks_total", result=result) for result in ("expired", "not-yet", "bad-token"))
    assert (metrics("roomkeeper_webhooks_total", result="accepted") > 0, refused) == (True, 0), [
        sample for sample in metrics.samples if sample.name == "roomkeeper_webhooks_total"
    ]


def _lied_seconds(operator: Operator, match: Match) -> float:
    """By how much the date of the operator's last record is wrong, by the last step of the Match."""
    said = datetime.fromisoformat(json.loads(operator.log.splitlines()[-1])["timestamp"])
    return (said - match.status.history[-1].time).total_seconds()
