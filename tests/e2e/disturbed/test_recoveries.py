"""Each recovery of the table of errors really happens: users, the status, the metrics and the records show it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from controller.api.failure_codes import FailureCode
from controller.api.failures_table import FAILURES
from controller.api.match import Match
from controller.api.names import PAUSED, room_name
from sandbox.endpoints import Endpoints
from sandbox.stack import Stack, StackOptions
from tests import manifests
from tests.cli.support import run
from tests.support.chaos import frozen
from tests.support.kube import condition, is_true
from tests.support.operators import Operator
from tests.support.rig import Rig
from tests.support.waiting import eventually

_POLICIES = "/apis/admissionregistration.k8s.io/v1"
_ERRORS = "roomkeeper_errors_total"
_RECOVERED = "roomkeeper_error_recoveries_total"


@pytest.fixture(scope="module")
async def where(
    tmp_path_factory: pytest.TempPathFactory, audit_log: Path, real_programs: None
) -> AsyncIterator[Endpoints]:
    """A stack for this module: a Redis that is full or busy is so for all tests."""
    log = audit_log.with_suffix(".recoveries.log")
    directory = tmp_path_factory.mktemp("recoveries") / "stack"
    async with Stack(StackOptions(directory, operator=False, audit_log=log)) as stack:
        yield stack.endpoints


async def counted(operator: Operator, name: str, **labels: str) -> float:
    return (await operator.metrics())(name, **labels)


async def reported(operator: Operator, rig: Rig, code: str, step: str = "") -> dict[str, Any]:
    """What `roomkeeper errors` says about an error of the namespace, in `step` if it is given.

    It runs with the settings of the operator.
    """

    async def there() -> dict[str, Any]:
        arguments = ("errors", "-n", rig.kube.namespace, "-o", "json")
        done = await asyncio.to_thread(run, *arguments, environment=operator.environment)
        assert done.status == 0, done.err
        errors = json.loads(done.out)["errors"]
        found = [error for error in errors if error["code"] == code and step in {"", error["step"]}]
        assert found, f"{code} is not in {done.out}"
        return cast("dict[str, Any]", found[0])

    return await eventually(there)


async def command(rig: Rig, *words: str | int) -> Any:
    return await cast("Any", rig.redis).execute_command(*words)


async def notices(rig: Rig, user: str, code: str) -> list[Mapping[str, str]]:
    return [entry for entry in await rig.stream(rig.keys.notify(user)) if entry.get("error") == code]


def has_failed(match: Match) -> bool:
    return match.status.phase == "Failed"


async def test_retry_a_redis_that_does_not_answer_for_a_moment_costs_a_user_nothing(rig: Rig) -> None:
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    # Longer than the attempts of one request take together.
    await command(rig, "CLIENT", "PAUSE", 5000, "ALL")
    await rig.kube.create(manifests.match())
    match = await rig.kube.match_until(lambda match: is_true(match, "Ready"))
    found = await reported(operator, rig, "RedisTimeout", "Claim")
    assert found["context"]["match"] == match.metadata.uid
    assert (found["context"]["user"], found["object"]) == ("alice, bob", "match/match")
    assert await counted(operator, _ERRORS, type="Timeout", recovery="Retry") >= 1
    assert await counted(operator, _RECOVERED, recovery="Retry") >= 1


async def test_fallback_without_another_server_gives_both_users_their_places_back(rig: Rig) -> None:
    operator = await rig.operators.start(livekit_url="ws://127.0.0.1:1")
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    await rig.kube.create(manifests.match(timeouts={"readySeconds": 3}))
    match = await rig.kube.match_until(lambda match: match.status.reason == "TooLate")
    assert await rig.queue() == places
    assert await counted(operator, _ERRORS, type="Room", severity="High", recovery="Fallback") >= 3
    found = await reported(operator, rig, "RoomNotMade")
    assert (found["step"], found["object"]) == ("CreateLiveKitRoom", f"room/{room_name(match.metadata.uid)}")
    assert found["context"]["match"] == match.metadata.uid
    await operator.end()
    repaired = await rig.operators.start()
    await rig.kube.match_until(has_failed)
    late = await reported(repaired, rig, "TooLate")
    assert (late["recovery"], late["count"]) == ("Requeue", 1)
    assert await rig.queue() == places


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("user:alice", ("SET", "nonsense")),
        ("reservations", ("XADD", "*", "enqueue", "with exchanged keys")),
        ("notify:bob", ("SET", "nonsense")),
        ("live", ("SET", "nonsense")),
        ("incarnation", ("RPUSH", "nonsense")),
        ("fence:0", ("RPUSH", "nonsense")),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
async def test_reset_records_that_another_client_damaged_are_written_again(
    rig: Rig, key: str, words: tuple[str, ...]
) -> None:
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    is_private = key in {"live", "incarnation", "fence:0"}
    name = f"{rig.keys.private if is_private else rig.keys.prefix}{key}"
    await rig.redis.delete(name)
    verb, *rest = words
    await command(rig, verb, name, *rest)
    match = await rig.ready(timeouts={"readySeconds": 20})
    assert await rig.states("alice", "bob") == {"alice": "CONNECTING", "bob": "CONNECTING"}
    assert (await rig.user("alice")).match == match.metadata.uid
    assert await counted(operator, _ERRORS, recovery="Reset") >= 1
    assert await counted(operator, _RECOVERED, recovery="Reset") >= 1


async def test_reset_the_list_of_live_calls_has_all_of_them_again(rig: Rig) -> None:
    await rig.operators.start()
    first = await rig.ready("alice", "bob")
    await rig.enqueue("carol", "dan")
    await command(rig, "SET", rig.keys.live(), "nonsense")
    await rig.kube.create(manifests.match("carol", "dan", name="second"))
    second = await rig.kube.match_until(lambda match: is_true(match, "Ready"), "second")
    live = {str(uid) for uid in await command(rig, "ZRANGE", rig.keys.live(), 0, -1)}
    assert live == {first.metadata.uid, second.metadata.uid}


async def test_reset_a_user_of_a_live_call_is_not_taken_by_another_match_meanwhile(rig: Rig) -> None:
    await rig.operators.start()
    match = await rig.ready("alice", "bob")
    await rig.enqueue("carol")
    await rig.redis.delete(rig.keys.user("alice"))
    await command(rig, "SET", rig.keys.user("alice"), "nonsense")
    await rig.kube.create(manifests.match("alice", "carol", name="second"))
    second = await rig.kube.match_until(has_failed, "second")
    assert second.status.reason == "UserBusy"
    assert (await rig.user("alice")).match == match.metadata.uid
    assert "carol" in await rig.queue()


async def test_reset_a_ledger_with_a_user_who_is_not_in_the_match_can_be_settled(rig: Rig) -> None:
    await rig.operators.start()
    match = await rig.ready("alice", "bob")
    await command(rig, "HSET", rig.keys.match(match.metadata.uid), "q:mallory", "")
    await rig.kube.patch("Match", "match", manifests.termination("End", "alice"))
    ended = await rig.kube.match_until(lambda match: match.status.phase == "Ended")
    assert ended.status.end is not None
    assert ended.status.end.reason == "Ended"


@pytest.mark.parametrize(("field", "is_deleted"), [("q:alice", False), ("q:alice", True), ("endAt", False)])
async def test_reset_a_ledger_that_makes_no_sense_holds_up_no_end(rig: Rig, field: str, *, is_deleted: bool) -> None:
    operator = await rig.operators.start()
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    match = await rig.ready()
    await command(rig, "HSET", rig.keys.match(match.metadata.uid), field, "nonsense")
    if is_deleted:
        await rig.kube.delete("Match", "match")
        await rig.kube.gone("Match", "match")
    else:
        await rig.kube.patch("Match", "match", manifests.termination("Skip", "alice"))
        ended = await rig.kube.match_until(lambda match: match.status.phase == "Ended")
        assert ended.status.end is not None
        assert ended.status.end.reason == "Skipped"
    await rig.expect_states(alice="WAITING", bob="WAITING")
    assert (await rig.queue()).keys() == places.keys()
    assert await counted(operator, _ERRORS, recovery="Reset") >= 1


async def test_requeue_a_match_with_a_busy_user_leaves_the_other_one_in_place(rig: Rig) -> None:
    operator = await rig.operators.start()
    await rig.ready("alice", "bob")
    (place,) = await rig.enqueue("carol")
    await rig.kube.create(manifests.match("alice", "carol", name="second"))
    await rig.kube.match_until(has_failed, "second")
    assert await rig.queue() == {"carol": place}
    assert await counted(operator, _ERRORS, type="Matching", severity="Low", recovery="Requeue") == 1
    assert await counted(operator, _RECOVERED, recovery="Requeue") == 1
    found = await reported(operator, rig, "UserBusy")
    assert (found["object"], found["context"]["user"]) == ("match/second", "alice, carol")


async def test_notify_a_blocked_user_reads_what_to_do_and_the_other_one_learns_nothing(rig: Rig) -> None:
    await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await command(rig, "SET", rig.keys.blocked("bob"), "spam", "EX", 300)
    await rig.kube.create(manifests.match())
    match = await rig.kube.match_until(has_failed)

    async def told() -> None:
        found = [(one["type"], one["about"], one["notice"]) for one in await notices(rig, "bob", "UserBlocked")]
        sentence = FAILURES[FailureCode.USER_BLOCKED].user
        assert found == [("error", f"{match.metadata.uid}/UserBlocked", sentence)]

    await eventually(told)
    assert not await notices(rig, "alice", "UserBlocked")


async def test_notify_users_of_a_match_that_the_api_server_refuses_to_make(rig: Rig) -> None:
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    name = f"no-rooms-{rig.kube.namespace}"
    admin = rig.kube.admin
    rule = {"apiGroups": ["roomkeeper.dev"], "apiVersions": ["*"], "resources": ["rooms"], "operations": ["CREATE"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": rig.kube.namespace}}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "no rooms today"}],
        },
    }
    binding = {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    await admin.call("POST", f"{_POLICIES}/validatingadmissionpolicies", policy)
    await admin.call("POST", f"{_POLICIES}/validatingadmissionpolicybindings", binding)
    try:

        async def is_in_force() -> None:
            answer = await rig.kube.try_to_create(manifests.room(), dry_run=True)
            assert (answer.status, "no rooms today" in answer.message) == (422, True), answer

        await eventually(is_in_force)
        await rig.kube.create(manifests.match(timeouts={"readySeconds": 20}))

        async def told() -> None:
            for user in ("alice", "bob"):
                found = [notice["notice"] for notice in await notices(rig, user, "ObjectInvalid")]
                assert found == [FAILURES[FailureCode.OBJECT_INVALID].user]

        await eventually(told)
        match = await rig.kube.match_until(lambda match: match.status.last_error is not None)
        assert match.status.last_error is not None
        assert (match.status.last_error.type, match.status.last_error.recovery) == ("Validation", "Notify")
        assert "no rooms today" in match.status.last_error.message
        assert (await reported(operator, rig, "ObjectInvalid"))["step"] == "CreateRoom"
    finally:
        await admin.call("DELETE", f"{_POLICIES}/validatingadmissionpolicybindings/{name}")
        await admin.call("DELETE", f"{_POLICIES}/validatingadmissionpolicies/{name}")
    await rig.kube.match_until(lambda match: is_true(match, "Ready"))


async def test_escalate_a_full_redis_is_seen_in_the_condition_an_event_and_the_metric(rig: Rig) -> None:
    operator = await rig.operators.start()
    await rig.enqueue("alice", "bob")
    await command(rig, "CONFIG", "SET", "maxmemory", 1)
    try:
        await rig.kube.create(manifests.match(timeouts={"readySeconds": 60}))
        match = await rig.kube.match_until(lambda match: is_true(match, "Degraded"))
        assert condition(match, "Degraded").reason == "ActionRequired"
        assert "OOM" in condition(match, "Degraded").message
        assert match.status.last_error is not None
        assert (match.status.last_error.severity, match.status.last_error.recovery) == ("Critical", "Escalate")

        async def warned() -> None:
            events = [event for event in await rig.events() if event["reason"] == "RedisError"]
            assert [event["type"] for event in events] == ["Warning"]

        await eventually(warned)
        assert await counted(operator, _ERRORS, type="Redis", severity="Critical", recovery="Escalate") >= 1
    finally:
        await command(rig, "CONFIG", "SET", "maxmemory", 0)
    ready = await rig.kube.match_until(lambda match: is_true(match, "Ready"))
    assert not is_true(ready, "Degraded")
    assert await counted(operator, _RECOVERED, recovery="Escalate") >= 1


async def test_ignore_a_namespace_that_is_being_deleted_is_counted_and_told_to_no_user(rig: Rig) -> None:
    operator = await rig.operators.start()
    places = dict(zip(("alice", "bob"), await rig.enqueue("alice", "bob"), strict=True))
    await rig.kube.create(manifests.match(meta={"annotations": {PAUSED: "true"}}, timeouts={"readySeconds": 15}))
    # Until the namespace's objects are deleted too, it only refuses new ones.
    with frozen(rig.where, "kube-controller-manager"):
        await rig.kube.admin.call("DELETE", f"/api/v1/namespaces/{rig.kube.namespace}")
        await rig.kube.patch("Match", "match", {"metadata": {"annotations": {PAUSED: None}}})

        async def ignored() -> None:
            assert await counted(operator, _ERRORS, type="System", severity="Info", recovery="Ignore") >= 1

        await eventually(ignored)
        found = await reported(operator, rig, "NamespaceTerminating")
        assert found["step"] == "CreateRoom"
        match = await rig.kube.match()
        assert match.status.last_error is None
        assert not is_true(match, "Degraded")
        assert not [event for event in await rig.events() if event["reason"].endswith("Error")]
    await rig.kube.gone("Match", "match")
    assert await rig.queue() == places
