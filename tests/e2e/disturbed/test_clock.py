"""Clocks that are wrong by ten minutes, and step in the middle of a call: the machine's own, and the API server's."""

from __future__ import annotations

import json
import signal
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from livekit import api

from controller.api.match import Match
from controller.api.names import room_name
from sandbox.ports import PortLocks
from tests import manifests
from tests.support.date_proxy import DateProxy
from tests.support.kube import is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import consistently, eventually

_PATIENT: dict[str, Any] = {
    "timeouts": {"leaveSeconds": 60, "reconnectSeconds": 60},
    "room": {"departureTimeoutSeconds": 65},
}


@pytest.mark.parametrize("off_seconds", [600, -600])
async def test_a_call_is_the_same_whatever_the_machines_clock_says(rig: Rig, off_seconds: int) -> None:
    operator = rig.operators.make(poll_seconds="60")
    operator.clock_off_seconds = off_seconds
    await operator.start()
    await rig.enqueue("alice", "bob")
    match, (alice, bob) = await rig.active(**_PATIENT)
    await eventually(partial(_is_off, operator, match, off_seconds))

    operator.send(signal.SIGUSR1)
    await bob.leave()
    gone = await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    await eventually(partial(_is_off, operator, gone, -off_seconds))
    await rig.people("bob", (await rig.tokens(match))["bob"]["token"]).join()
    back = await rig.kube.match_until(lambda found: found.status.phase == "Active")
    assert {person.evidence for person in back.status.participants} == {"webhook"}

    await rig.kube.patch("Match", "match", manifests.termination("Skip", "alice"))
    over = await rig.kube.match_until(lambda found: is_true(found, "Finished"))
    assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
    await rig.expect_states(alice="WAITING", bob="WAITING")
    created = over.metadata.creation_timestamp
    assert created is not None
    assert all(timedelta(seconds=-1) <= step.time - created < timedelta(minutes=2) for step in over.status.history)
    metrics = await operator.metrics()
    refused = sum(metrics("roomkeeper_webhooks_total", result=result) for result in ("expired", "not-yet", "bad-token"))
    assert (metrics("roomkeeper_webhooks_total", result="accepted") > 0, refused) == (True, 0), [
        sample for sample in metrics.samples if sample.name == "roomkeeper_webhooks_total"
    ]


async def _is_off(operator: Operator, match: Match, off_seconds: float) -> None:
    """The date of the operator's last log record differs by so much from the last step of the Match."""
    said = datetime.fromisoformat(json.loads(operator.log.splitlines()[-1])["timestamp"])
    assert abs((said - match.status.history[-1].time).total_seconds() - off_seconds) < 60


@pytest.mark.parametrize("step_seconds", [600, -600])
async def test_a_call_survives_when_the_api_servers_clock_is_set_and_corrected(
    rig: Rig, ports: PortLocks, tmp_path: Path, step_seconds: int
) -> None:
    """A participant who is away meanwhile keeps the whole time to come back; nothing ends because a clock was set."""
    operator = rig.operators.make(poll_seconds="1")
    async with DateProxy(Path(operator.environment["KUBECONFIG"]), ports.take()) as proxy:
        operator.environment["KUBECONFIG"] = proxy.kubeconfig(tmp_path / "kubeconfig")
        await operator.start()
        await rig.enqueue("alice", "bob")
        match, (alice, bob) = await rig.active(timeouts={"leaveSeconds": 20, "soloSeconds": 25})
        token = (await rig.tokens(match))["bob"]["token"]
        await bob.leave()
        await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")

        for count, off_seconds in enumerate((step_seconds, 0), start=1):
            proxy.off_seconds = off_seconds
            await eventually(partial(_was_noticed, operator, count))
            await consistently(lambda: _is_reconnecting(rig), 1.5)
        await rig.people("bob", token).join()
        back = await rig.kube.match_until(lambda found: found.status.phase == "Active")
        assert back.status.connected_at == match.status.connected_at

        name = await rig.livekit_name(match)
        await rig.livekit.room.delete_room(api.DeleteRoomRequest(room=name))
        await rig.kube.room_until(lambda room: room.status.restores == 1, room_name(match.metadata.uid))
        await rig.kube.patch("Match", "match", manifests.termination("Skip", "alice"))
        await rig.kube.match_until(lambda found: is_true(found, "Finished"))
        assert (await alice.wait_for("disconnected"))["reason"] == "ROOM_DELETED"
        await rig.expect_states(alice="WAITING", bob="WAITING")
        await operator.end()


async def _was_noticed(operator: Operator, times: int) -> None:
    assert operator.log.count("clock was set") == times


async def _is_reconnecting(rig: Rig) -> None:
    assert (await rig.kube.match()).status.phase == "Reconnecting"
