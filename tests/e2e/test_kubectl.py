"""kubectl, as people use it on our kinds, with the operator at work."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
import yaml

from controller.api.match import Match
from tests import manifests
from tests.support.rig import Rig
from tests.support.waiting import eventually


@pytest.mark.parametrize("mode", [(), ("--server-side",)], ids=["client-side", "server-side"])
async def test_a_second_apply_and_diff_show_no_change_while_the_call_is_up(rig: Rig, mode: tuple[str, ...]) -> None:
    manifest = manifests.match()
    assert "created" in await rig.kube.apply(manifest, options=mode) or mode
    await rig.kube.wait("Ready")
    before = await rig.kube.match()
    assert await rig.kube.ask("diff", *mode, "-f", "-", input=yaml.safe_dump(manifest)) == ""
    await rig.kube.apply(manifest, options=mode)
    after = await rig.kube.match()
    assert after.metadata.uid == before.metadata.uid
    assert after.metadata.generation == before.metadata.generation
    assert after.status == before.status


async def test_diff_shows_what_would_change(rig: Rig) -> None:
    await rig.ready()
    other = yaml.safe_dump(manifests.match(timeouts={"soloSeconds": 33}))
    shown = await rig.kube.ask("diff", "-f", "-", input=other, status=1)
    assert "+    soloSeconds: 33" in shown


async def test_an_edited_spec_is_followed_by_every_condition(rig: Rig) -> None:
    """`kubectl wait` ignores conditions that are older than the spec."""
    await rig.ready()
    await rig.kube.apply(manifests.match(timeouts={"soloSeconds": 33}))
    await rig.kube.wait("Ready")
    match = await rig.kube.match_until(lambda found: found.status.observed_generation == found.metadata.generation)
    assert match.metadata.generation == 2
    assert {entry.observed_generation for entry in match.status.conditions} == {2}


async def test_the_columns_tell_how_a_call_goes(rig: Rig) -> None:
    await rig.active()
    header, row = (await rig.kube.ask("get", "matches")).splitlines()
    assert header.split() == ["NAME", "PHASE", "READY", "CONNECTED", "PARTICIPANTS", "REASON", "AGE"]
    assert row.split()[:6] == ["match", "Active", "True", "2/2", "alice,", "bob"]
    match = await rig.kube.match()
    assert match.status.room is not None
    assert match.status.room.name is not None
    assert match.status.room.name in await rig.kube.ask("get", "mt", "-o", "wide")
    rooms = (await rig.kube.ask("get", "rooms")).splitlines()
    assert rooms[1].split()[:7] == [match.status.room.name, "Active", "True", "Occupied", "2", "match", "default"]
    everything = await rig.kube.ask("get", "roomkeeper", "-o", "name")
    assert everything.split() == ["match.roomkeeper.dev/match", f"room.roomkeeper.dev/{match.status.room.name}"]
    for selector in (
        "status.phase=Active",
        "status.room.server=default",
        f"status.sessionID={match.metadata.uid}",
        f"status.room.liveKitName={match.status.room.livekit_name}",
    ):
        assert (await rig.kube.ask("get", "mt", "-o", "name", "--field-selector", selector)).split()
        assert not (await rig.kube.ask("get", "mt", "-o", "name", "--field-selector", selector + "x")).split()
    # The finalizer of the Match is the policy's, so its labels would be its creator's.
    alice, carol = (hashlib.sha256(who.encode()).hexdigest()[:20] for who in ("alice", "carol"))
    asked = ("get", "matches,rooms", "-o", "name", "-l")
    assert (await rig.kube.ask(*asked, f"user.roomkeeper.dev/{alice}")).split() == everything.split()[1:]
    assert not (await rig.kube.ask(*asked, f"user.roomkeeper.dev/{carol}")).split()
    assert (await rig.kube.ask(*asked, "roomkeeper.dev/match=match")).split() == everything.split()[1:]


async def test_describe_tells_the_story_in_sentences(rig: Rig) -> None:
    await rig.active(sessionID="s-81f2")
    match = await rig.kube.match()
    assert match.status.room is not None

    async def told() -> str:
        text = await rig.kube.ask("describe", "match", "match")
        assert "both participants are in the room" in text
        return " ".join(text.split())

    text = await eventually(told)
    for sentence in (
        "Session ID: s-81f2",
        "this Match holds alice and bob",
        f"LiveKit room {match.status.room.livekit_name} is on default",
        f"tokens are in secret {match.status.room.name}-tokens",
        "alice and bob are in the room",
        "Kubernetes, LiveKit and Redis answer",
        "the Match is not over",
        "Normal Connected",
    ):
        assert sentence in text


async def test_the_history_tells_every_phase_once(rig: Rig) -> None:
    await rig.active()
    await rig.kube.patch("Match", "match", manifests.termination("End", "bob"))
    await rig.kube.wait("Finished")
    match: Match = await rig.kube.match()
    phases = [str(entry.phase) for entry in match.status.history]
    course = ["Pending", "Creating", "Connecting", "Active", "Terminating", "Ended"]
    # Phases that pass in a moment may be missing; none appears twice or out of order.
    assert phases == [phase for phase in course if phase in phases]
    assert {"Connecting", "Active", "Ended"} <= set(phases)
    assert all(entry.message and entry.reason for entry in match.status.history)


async def test_waiting_for_the_end_ends_with_the_end(rig: Rig) -> None:
    await rig.ready()
    waiting = asyncio.create_task(rig.kube.wait("Finished"), name="kubectl wait")
    await rig.kube.ask(
        "patch", "match", "match", "--type=merge", "-p", yaml.safe_dump(manifests.termination("Skip", "bob"))
    )
    assert "condition met" in await waiting


async def test_kubectl_delete_returns_when_all_is_in_order(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    await rig.ready()
    await rig.kube.remove("match", "match")
    assert await rig.states("alice", "bob") == {"alice": "WAITING", "bob": "WAITING"}
    assert await rig.livekit_rooms() == {}
    assert await rig.kube.list("Secret") == []


async def test_delete_all_takes_matches_and_rooms_together(rig: Rig) -> None:
    await rig.ready(name="one")
    await rig.ready("carol", "dave", name="two")
    await rig.kube.apply(manifests.room())
    await rig.kube.remove("matches,rooms", "--all")
    assert await rig.livekit_rooms() == {}
