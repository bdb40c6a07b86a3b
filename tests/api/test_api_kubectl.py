"""What people see with kubectl, what a status keeps, and what the operator may do."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api import names
from controller.api.endings import EndReason
from controller.api.failures import ErrorType, LastError, Recovery, Severity
from controller.api.match import (
    EndStatus,
    Evidence,
    HistoryEntry,
    MatchSpec,
    MatchStatus,
    OutcomeState,
    OutcomeStatus,
    ParticipantState,
    ParticipantStatus,
    QueuePlace,
    RoomReference,
    TokensStatus,
)
from controller.api.meta import Condition, SpecModel
from controller.api.phases import MatchPhase, RoomPhase
from controller.api.room import Occupancy, RoomEndReason, RoomIssue, RoomSpec, RoomStatus
from controller.generate.crds import schema_digests
from tests.api.cluster import change, create, match, room
from tests.support.kstatus import kstatus
from tests.support.kube import Kube
from tests.support.waiting import eventually, patience

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 31, 10, 0, 0, 250_000, tzinfo=UTC)
OPERATOR = f"system:serviceaccount:{names.SYSTEM_NAMESPACE}:{names.SERVICE_ACCOUNT}"


def kubectl(kube: Kube, *args: str, input: str | None = None) -> str:
    done = kube.kubectl(*args, input=input)
    assert done.returncode == 0, done.stderr
    return done.stdout


READY = Condition(
    type="Ready",
    status="True",
    reason="TokensDelivered",
    message="room rk-1 on default",
    last_transition_time=NOW,
    observed_generation=1,
)
MATCH_STATUS = MatchStatus(
    observed_generation=1,
    phase=MatchPhase.RECONNECTING,
    reason="NetworkLost",
    session_id="s-1",
    conditions=(READY,),
    room=RoomReference(name="rk-1", livekit_name="rk-2", sid="RM_1", server="default", url="wss://x"),
    tokens=TokensStatus(secret_name="rk-1-tokens", expires_at=NOW),
    participants=tuple(
        ParticipantStatus(
            identity=identity,
            state=ParticipantState.CONNECTED,
            since=NOW,
            evidence=Evidence.WEBHOOK,
            detail="CONNECTION_TIMEOUT",
            queued_at=NOW,
            participant_sid="PA_1",
            connected_at=NOW,
        )
        for identity in ("alice", "bob")
    ),
    participants_summary="alice, bob",
    connected="1/2",
    started_at=NOW,
    ready_at=NOW,
    connected_at=NOW,
    ended_at=NOW,
    end=EndStatus(
        reason=EndReason.SKIPPED,
        initiator="alice",
        message="alice skipped",
        outcomes=(
            OutcomeStatus(identity="alice", state=OutcomeState.WAITING, place=QueuePlace.NOW, detail="x"),
            OutcomeStatus(identity="bob", state=OutcomeState.IDLE),
        ),
    ),
    history=(HistoryEntry(phase=MatchPhase.ACTIVE, time=NOW, reason="Connected", message="both"),),
    last_error=LastError(
        type=ErrorType.LIVEKIT, severity=Severity.HIGH, recovery=Recovery.RETRY, message="no answer", at=NOW
    ),
)
ROOM_STATUS = RoomStatus(
    observed_generation=1,
    phase=RoomPhase.TERMINATED,
    reason=RoomEndReason.EMPTY,
    occupancy=Occupancy.AVAILABLE,
    conditions=(READY,),
    livekit_name="rk-2",
    sid="RM_1",
    server="default",
    num_participants=0,
    empty_since=NOW,
    created_at=NOW,
    terminated_at=NOW,
    lost_at=NOW,
    restores=1,
    restored_at=(NOW,),
    issues=(RoomIssue.STALE,),
    last_error=MATCH_STATUS.last_error,
)


async def test_a_status_is_kept_as_it_was_written(kube: Kube) -> None:
    for manifest, status in ((match(), MATCH_STATUS), (room(), ROOM_STATUS)):
        assert (await create(kube, manifest)).status == 201
        answer = await change(kube, manifest, {"status": status.manifest()}, sub="status")
        assert answer.status == 200, answer.body
        assert answer.body["status"] == status.manifest()
        assert set(status.manifest()) == {f.alias for f in type(status).model_fields.values()}
        assert type(status).model_validate(answer.body["status"]).manifest() == status.manifest()


async def test_a_status_that_was_written_gets_no_defaults(kube: Kube) -> None:
    await create(kube, match())
    patch = {"status": {"phase": "Pending", "observedGeneration": None}}
    answer = await change(kube, match(), patch, sub="status")
    assert answer.body["status"] == {"phase": "Pending"}


async def test_the_columns_of_matches_and_rooms(kube: Kube) -> None:
    await create(kube, match())
    await create(kube, room())
    await change(kube, match(), {"status": MATCH_STATUS.manifest()}, sub="status")
    await change(kube, room(), {"status": ROOM_STATUS.manifest()}, sub="status")
    table = kubectl(kube, "get", "mt", "-n", kube.namespace).splitlines()
    assert table[0].split() == ["NAME", "PHASE", "READY", "CONNECTED", "PARTICIPANTS", "REASON", "AGE"]
    assert table[1].split()[:7] == ["match", "Reconnecting", "True", "1/2", "alice,", "bob", "NetworkLost"]
    wide = kubectl(kube, "get", "mt", "-o", "wide", "-n", kube.namespace).splitlines()
    assert wide[0].split()[5:8] == ["ROOM", "LIVEKIT-ROOM", "DEGRADED"]
    rooms = kubectl(kube, "get", "rm", "-n", kube.namespace).splitlines()
    assert rooms[0].split() == [
        "NAME",
        "PHASE",
        "READY",
        "OCCUPANCY",
        "PARTICIPANTS",
        "MATCH",
        "SERVER",
        "REASON",
        "AGE",
    ]
    assert rooms[1].split()[:7] == ["room", "Terminated", "True", "Available", "0", "default", "Empty"]
    assert "match.roomkeeper.dev/match" in kubectl(kube, "get", "roomkeeper", "-n", kube.namespace)


@pytest.mark.parametrize(
    "selector",
    [
        *("status.phase=Reconnecting", "status.reason=NetworkLost", "status.sessionID=s-1"),
        *("status.room.server=default", "status.room.name=rk-1", "status.room.liveKitName=rk-2"),
    ],
)
async def test_matches_can_be_selected_by_field(kube: Kube, selector: str) -> None:
    await create(kube, match(name="one"))
    await create(kube, match(name="two"))
    await change(kube, match(name="one"), {"status": MATCH_STATUS.manifest()}, sub="status")
    chosen = kubectl(kube, "get", "mt", "-n", kube.namespace, "-o", "name", "--field-selector", selector)
    assert chosen.split() == ["match.roomkeeper.dev/one"]


async def test_wait_sees_a_condition(kube: Kube) -> None:
    await create(kube, match())
    await change(kube, match(), {"status": MATCH_STATUS.manifest()}, sub="status")
    kubectl(kube, "wait", "--for=condition=Ready", "match/match", "-n", kube.namespace, f"--timeout={patience():g}s")


@pytest.mark.parametrize(
    ("field", "sentences"),
    [
        ("match", ["One call between two users."]),
        (
            "match.spec.timeouts",
            ["Seconds from Ready until both participants must be in the room, 1 to 3600.", "Default: 25."],
        ),
        ("match.spec.participants", ["Redis stores the user's state under this id.", "Default: `identity`."]),
        ("match.spec.requeue", ["after Skipped: a termination or a signal asked to skip", "Default: All."]),
        ("match.status.end", ["The state of each user after the end."]),
        ("room.spec", ["Empty (the default): every participant with a valid token may be in the room."]),
        ("livekitserver.spec.drain", ["`emergency`: at once."]),
    ],
)
def test_explain_reads_like_documentation(kube: Kube, field: str, sentences: list[str]) -> None:
    text = " ".join(kubectl(kube, "explain", field).split())
    assert "<no description>" not in text
    for sentence in sentences:
        assert sentence in text


def test_apply_says_what_is_wrong_all_at_once(kube: Kube) -> None:
    bad = match({"room": {"emptyTimeoutSeconds": 20}, "termination": {"action": "Skip", "initiator": "zed"}}, name="x")
    done = kube.kubectl("apply", "-n", kube.namespace, "-f", "-", input=yaml.safe_dump(bad))
    assert done.returncode == 1
    head, *sentences = done.stderr.strip().splitlines()
    assert head.strip() == 'The Match "x" is invalid:'
    assert sorted(sentences) == [
        "* spec.room.emptyTimeoutSeconds: Invalid value: 20 s is less than connectSeconds + 5 (30 s): "
        "LiveKit would close the room while participants are still joining",
        "* spec.termination.initiator: Invalid value: initiator zed is not one of the two participants, alice and bob",
    ]


def test_apply_names_an_unknown_field(kube: Kube) -> None:
    typo = yaml.safe_dump(match({"timeouts": {"conectSeconds": 3}}))
    done = kube.kubectl("apply", "-n", kube.namespace, "-f", "-", input=typo)
    assert done.returncode == 1
    assert 'unknown field "spec.timeouts.conectSeconds"' in done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
@pytest.mark.parametrize("mode", [(), ("--server-side",)], ids=["client", "server-side"])
def test_examples_apply_and_a_second_time_change_nothing(kube: Kube, path: Path, mode: tuple[str, ...]) -> None:
    apply = ("apply", *mode, "-n", kube.namespace, "-f", str(path))
    kubectl(kube, *apply)
    before = kubectl(kube, "get", "roomkeeper", "-n", kube.namespace, "-o", "name")
    diff = kube.kubectl("diff", *mode, "-n", kube.namespace, "-f", str(path))
    assert (diff.returncode, diff.stdout) == (0, ""), diff.stderr
    kubectl(kube, *apply)
    assert kubectl(kube, "get", "roomkeeper", "-n", kube.namespace, "-o", "name") == before


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
async def test_the_server_and_the_models_fill_in_the_same_defaults(kube: Kube, path: Path) -> None:
    document = _document(path)
    specs: dict[str, type[SpecModel]] = {"Match": MatchSpec, "Room": RoomSpec}
    spec = specs[document["kind"]]
    answer = await create(kube, document, dry_run=True)
    assert spec.model_validate(answer.body["spec"]) == spec.model_validate(document["spec"])


async def test_a_termination_by_somebody_else_survives_an_apply(kube: Kube) -> None:
    manifest = yaml.safe_dump(match())
    apply = ("apply", "--server-side", "-n", kube.namespace, "-f", "-")
    kubectl(kube, *apply, input=manifest)
    await change(kube, match(), {"spec": {"termination": {"action": "End", "initiator": "bob"}}})
    kubectl(kube, *apply, input=manifest)
    kept = kubectl(kube, "get", "mt", "match", "-n", kube.namespace, "-o", "jsonpath={.spec.termination.initiator}")
    assert kept == "bob"


def _document(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    return document


def test_the_installed_crds_carry_our_digests(kube: Kube) -> None:
    for name, digest in schema_digests().items():
        path = names.SCHEMA_DIGEST.replace(".", r"\.")
        assert kubectl(kube, "get", "crd", name, "-o", f"jsonpath={{.metadata.annotations.{path}}}") == digest


CALLS = "calls"
SYSTEM = names.SYSTEM_NAMESPACE


@pytest.mark.parametrize(
    ("answer", "verb", "resource", "namespace"),
    [
        ("yes", "watch", "matches.roomkeeper.dev", CALLS),
        ("yes", "patch", "matches.roomkeeper.dev/status", CALLS),
        ("yes", "delete", "matches.roomkeeper.dev", CALLS),
        ("no", "create", "matches.roomkeeper.dev", CALLS),
        ("yes", "create", "rooms.roomkeeper.dev", CALLS),
        ("yes", "update", "matches.roomkeeper.dev/finalizers", CALLS),
        ("yes", "watch", "livekitservers.roomkeeper.dev", SYSTEM),
        ("yes", "patch", "livekitservers.roomkeeper.dev/status", SYSTEM),
        ("yes", "patch", "livekitservers.roomkeeper.dev", SYSTEM),
        ("no", "list", "livekitservers.roomkeeper.dev", CALLS),
        ("no", "create", "livekitservers.roomkeeper.dev", SYSTEM),
        ("yes", "create", "secrets", CALLS),
        ("yes", "delete", "secrets", CALLS),
        ("no", "get", "secrets", CALLS),
        ("no", "list", "secrets", CALLS),
        ("no", "watch", "secrets", SYSTEM),
        ("yes", "create", "events", CALLS),
        ("no", "get", "pods", CALLS),
        ("no", "list", "namespaces", CALLS),
        ("yes", "create", "leases.coordination.k8s.io", SYSTEM),
        ("no", "create", "leases.coordination.k8s.io", CALLS),
        ("yes", "update", "leases.coordination.k8s.io/roomkeeper-shard-0", SYSTEM),
        ("no", "update", "leases.coordination.k8s.io/another", SYSTEM),
        ("yes", "get", "customresourcedefinitions.apiextensions.k8s.io/rooms.roomkeeper.dev", SYSTEM),
        ("no", "list", "customresourcedefinitions.apiextensions.k8s.io", SYSTEM),
    ],
)
def test_what_the_operator_may_do(kube: Kube, answer: str, verb: str, resource: str, namespace: str) -> None:
    resource, subresource = _split(resource)
    done = kube.kubectl("auth", "can-i", verb, resource, *subresource, "-n", namespace, "--as", OPERATOR)
    assert done.stdout.strip() == answer


def _split(resource: str) -> tuple[str, tuple[str, ...]]:
    kind, _, rest = resource.partition("/")
    if rest in {"status", "finalizers"}:
        return kind, (f"--subresource={rest}",)
    return resource, ()


async def test_where_it_is_wanted_the_server_adds_the_finalizer(kube: Kube) -> None:
    policy = ROOT / "manifests" / "finalizer-policy.yaml"
    kubectl(kube, "apply", "--server-side", "--force-conflicts", "-f", str(policy))
    assert "finalizers" not in (await create(kube, match(), dry_run=True)).body["metadata"]
    kubectl(kube, "label", "namespace", kube.namespace, f"{names.MANAGED_LABEL}=true")

    async def is_in_force() -> None:
        made = await create(kube, match(), dry_run=True)
        assert made.body["metadata"].get("finalizers") == [names.FINALIZER], "the policy is not in force yet"

    await eventually(is_in_force)
    for given in ([names.FINALIZER], ["example.com/other"]):
        manifest = match()
        manifest["metadata"]["finalizers"] = given
        finalizers = (await create(kube, manifest, dry_run=True)).body["metadata"]["finalizers"]
        assert sorted(finalizers) == sorted({*given, names.FINALIZER})


@pytest.mark.parametrize("manifest", [match(), room()], ids=["Match", "Room"])
async def test_an_object_that_the_operator_has_not_seen_is_in_progress_for_tools_that_wait(
    kube: Kube, manifest: dict[str, Any]
) -> None:
    made = await create(kube, manifest)
    assert made.status == 201
    assert kstatus(made.body) == "InProgress"
    seen = await change(kube, manifest, {"status": {"observedGeneration": 1}}, sub="status")
    assert kstatus(seen.body) == "Current"
