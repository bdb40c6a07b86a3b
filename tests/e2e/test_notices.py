"""What a gateway reads in Redis about a call: notices to both users, disconnects, and events that fit the schema."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests import manifests
from tests.redis.promised import check
from tests.redis.world import Told
from tests.support.gateways import heard, send
from tests.support.kube import is_true
from tests.support.rig import Rig
from tests.support.waiting import eventually


async def types(rig: Rig, user_id: str) -> list[str]:
    return [notice["type"] for notice in await rig.stream(rig.keys.notify(user_id))]


async def told(rig: Rig, *user_ids: str) -> Told:
    """Return everything that is in the streams."""
    notices = [(who, dict(fields)) for who in user_ids for fields in await rig.stream(rig.keys.notify(who))]
    events = [json.loads(entry["event"]) for entry in await rig.stream(rig.keys.events())]
    return Told(notices, [dict(entry) for entry in await rig.stream(rig.keys.disconnects())], events)


async def test_both_hear_of_their_call_from_the_match_to_the_queue(rig: Rig) -> None:
    await rig.enqueue("alice", "bob")
    match, (_, bob) = await rig.active(timeouts={"leaveSeconds": 20})
    token = (await rig.tokens(match))["bob"]["token"]
    await bob.leave()
    await rig.kube.match_until(lambda found: found.status.phase == "Reconnecting")
    await rig.people("bob", token).join()
    await rig.kube.match_until(lambda found: found.status.phase == "Active")
    await send(rig, "skip", "alice", match=match.metadata.uid)
    await rig.kube.match_until(lambda found: is_true(found, "Finished"))

    for who, missing in (("alice", "other"), ("bob", "you")):
        assert await types(rig, who) == ["matched", "ready", "reconnecting", "ended", "requeued"]
        matched, ready, reconnecting, ended, _ = await rig.stream(rig.keys.notify(who))
        assert (matched["match"], matched["matchName"]) == (match.metadata.uid, "match")
        assert match.status.room is not None
        assert (ready["room"], ready["url"]) == (match.status.room.livekit_name, match.status.room.url)
        assert reconnecting["missing"] == missing
        # Polling may see it first and count it as a loss; LiveKit's own times are in seconds.
        assert 10_000 < int(reconnecting["until"]) - int(reconnecting["at"]) <= 21_000
        assert (ended["reason"], ended["initiator"], ended["state"]) == ("Skipped", "alice", "WAITING")

    entries = await rig.stream(rig.keys.disconnects())
    assert [(entry["user"], entry["reason"], entry["targetState"]) for entry in entries] == [
        ("alice", "Skipped", "WAITING"),
        ("bob", "Skipped", "WAITING"),
    ]
    await the_course_is(rig, match.metadata.uid)
    check(await told(rig, "alice", "bob"))


async def the_course_is(rig: Rig, uid: str) -> None:
    """The events of the Match come once each and in order; those of its room come in between, from another key."""
    events = (await told(rig)).events
    ours = [event["type"].rpartition(".match.")[2] for event in events if event["data"].get("phase")]
    assert ours == ["creating", "connecting", "active", "reconnecting", "active", "terminating", "ended"]
    assert [event["id"] for event in events if event["data"].get("phase")] == [f"match/{uid}/{n}" for n in range(1, 8)]
    assert len({event["id"] for event in events}) == len(events)

    async def room_is_over() -> None:
        rooms = [event["data"]["status"] for event in (await told(rig)).events if "status" in event["data"]]
        assert rooms == ["creating", "active", "terminating", "terminated"]

    await eventually(room_is_over)


async def test_a_match_that_cannot_be_made_becomes_an_event_and_no_notice(rig: Rig) -> None:
    await rig.enqueue("alice")
    await rig.kube.create(manifests.match("alice", "carol", admission="Queued"))
    await rig.kube.match_until(lambda found: found.status.phase == "Failed")
    assert await types(rig, "alice") == []
    assert await rig.stream(rig.keys.disconnects()) == []
    (event,) = [event for event in (await told(rig)).events if "phase" in event["data"]]
    assert (event["type"], event["subject"]) == ("dev.roomkeeper.match.failed", "match/match")
    assert "carol" in event["data"]["message"]
    check(await told(rig, "alice", "carol"))


async def test_a_user_whose_signal_has_no_effect_learns_why(rig: Rig) -> None:
    match = await rig.ready()
    uid = match.metadata.uid
    await send(rig, "explode", "alice", match=uid)
    await send(rig, "skip", "carol", match=uid)
    await send(rig, "disconnect", "dan", match=uid, by="moderator")
    await heard(rig, await send(rig, "token", "erin"))

    refused = {who: await errors(rig, who) for who in ("alice", "carol", "dan", "erin")}
    assert {who: [error["why"] for error in found] for who, found in refused.items()} == {
        "alice": ["malformed"],
        "carol": ["stranger"],
        "dan": [],
        "erin": ["idle"],
    }
    assert refused["alice"][0]["signal"] == "explode"
    check(await told(rig, *refused))


async def errors(rig: Rig, user_id: str) -> list[Mapping[str, str]]:
    return [notice for notice in await rig.stream(rig.keys.notify(user_id)) if notice["type"] == "error"]
