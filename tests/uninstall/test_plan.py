"""What is done in which order, for what was found. Pure: no cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.api.names import FINALIZER, KINDS, LIVEKIT_SERVER, MATCH, ROOM
from controller.facts.observation import Absent, Present, Unknown
from controller.uninstall.facts import (
    CrdFacts,
    DeploymentFacts,
    Found,
    Installation,
    LeaseFacts,
    Life,
    ObjectFacts,
    Policy,
    PolicyFacts,
    pulse,
)
from controller.uninstall.plan import (
    DeleteCrds,
    DeleteDeployment,
    DeleteLease,
    DeletePolicy,
    Drain,
    EndOperator,
    Release,
    RunOperator,
    StopOperator,
    Wishes,
    plan,
)
from controller.uninstall.words import describe

NOW = datetime(2026, 1, 31, 10, 0, tzinfo=UTC)
ABSENT = Absent(NOW)
MATCH_OF_TWO = ObjectFacts(
    MATCH, "calls", "m", "uid-m", (FINALIZER,), False, False, False, ("alice", "bob"), "Active", ""
)  # fmt: skip
ITS_ROOM = ObjectFacts(ROOM, "calls", "rk-m", "uid-r", (FINALIZER,), False, False, True, (), "Active", "")
DEPLOYMENT = DeploymentFacts("uid-d", wanted=1, ready=1, selector=(("app", "roomkeeper"),), resource_version="7")
LEASE = LeaseFacts("uid-l", "pod-1", NOW - timedelta(seconds=2), timedelta(seconds=15))
LIVE = Found(
    installation=Installation("roomkeeper-system", "roomkeeper", watched=()),
    now=NOW,
    deployment=Present(DEPLOYMENT, NOW),
    pods=Present(("pod-1",), NOW),
    lease=Present(LEASE, NOW),
    policies=(Present(PolicyFacts("uid-b"), NOW), Present(PolicyFacts("uid-p"), NOW)),
    crds=tuple(Present(CrdFacts(kind.crd, f"uid-{kind}", is_deleting=False), NOW) for kind in KINDS),
    objects=Present((MATCH_OF_TWO, ITS_ROOM), NOW),
    elsewhere=Present((), NOW),
    others=Present((), NOW),
    servers=Present((), NOW),
)
DEAD = replace(LIVE, lease=Present(replace(LEASE, renewed_at=NOW - timedelta(minutes=5)), NOW))
SCALED_DOWN = replace(
    DEAD, deployment=Present(replace(DEPLOYMENT, wanted=0, ready=0), NOW), pods=Present((), NOW)
)  # fmt: skip
NO_OPERATOR = replace(DEAD, deployment=ABSENT, pods=ABSENT, lease=ABSENT)
"""As after `kubectl delete -f manifests/install.yaml`."""


def steps(found: Found, wishes: Wishes | None = None) -> list[type]:
    made = plan(found, wishes or Wishes())
    assert not made.refusal, made.refusal
    return [type(step) for step in made.steps]


def refusal(found: Found, wishes: Wishes) -> str:
    made = plan(found, wishes)
    assert made.steps == ()
    assert made.refusal
    return made.refusal


@pytest.mark.parametrize(
    ("found", "life"),
    [
        (LIVE, Life.WORKS),
        (replace(LIVE, deployment=ABSENT, pods=ABSENT), Life.WORKS),
        (DEAD, Life.SILENT),
        (replace(LIVE, lease=Present(replace(LEASE, holder=""), NOW)), Life.SILENT),
        (SCALED_DOWN, Life.STOPPED),
        (replace(SCALED_DOWN, pods=Present(("pod-1",), NOW)), Life.SILENT),
        (NO_OPERATOR, Life.STOPPED),
        (replace(LIVE, lease=Unknown(NOW, "forbidden")), Life.UNKNOWN),
        (replace(DEAD, deployment=Unknown(NOW, "forbidden")), Life.UNKNOWN),
    ],
)
def test_the_lease_says_whether_the_operator_works_and_the_deployment_whether_it_may_yet(
    found: Found, life: Life
) -> None:
    assert pulse(found).life is life


def test_the_policy_goes_first_and_what_the_operator_needs_goes_last() -> None:
    whole = [DeletePolicy, Drain, StopOperator, Release, DeleteLease, DeleteDeployment, DeleteCrds]
    assert steps(LIVE, Wishes(crds=True)) == whole


def test_a_release_stops_the_operator_before_it_takes_finalizers_off() -> None:
    released = [DeletePolicy, StopOperator, Release, DeleteLease, DeleteDeployment]
    assert steps(LIVE, Wishes(Policy.RELEASE)) == released


def test_the_hook_leaves_the_deployment_to_helm() -> None:
    assert steps(LIVE, Wishes(Policy.DRAIN, is_hook=True)) == [DeletePolicy, Drain, StopOperator, Release, DeleteLease]


@pytest.mark.parametrize("found", [DEAD, SCALED_DOWN, NO_OPERATOR])
def test_the_hook_does_not_wait_for_an_operator_that_does_not_work(found: Found) -> None:
    made = plan(found, Wishes(Policy.DRAIN, is_hook=True))
    assert made.policy is Policy.RELEASE
    assert Drain not in map(type, made.steps)
    assert Release in map(type, made.steps)


def test_by_hand_a_drain_that_was_asked_for_is_refused_without_an_operator() -> None:
    assert "--policy release" in refusal(DEAD, Wishes(Policy.DRAIN))


def test_with_the_operators_settings_one_of_our_own_drains_where_none_works() -> None:
    settles = Wishes(settles=True)
    assert steps(LIVE, settles) == [DeletePolicy, Drain, StopOperator, Release, DeleteLease, DeleteDeployment]
    own = [RunOperator, Drain, EndOperator, Release]
    assert steps(NO_OPERATOR, settles) == [DeletePolicy, *own]
    gone = replace(NO_OPERATOR, crds=(*NO_OPERATOR.crds[:2], ABSENT))
    assert "some of its CRDs are gone: apply crds/ again" in refusal(gone, settles)
    assert steps(DEAD, settles) == [DeletePolicy, StopOperator, *own, DeleteLease, DeleteDeployment]


def test_a_deletion_in_the_wrong_order_is_repaired_with_what_is_left() -> None:
    deleting = tuple(replace(thing, is_deleting=True) for thing in (MATCH_OF_TWO, ITS_ROOM))
    crds = tuple(Present(CrdFacts(kind.crd, "uid", is_deleting=True), NOW) for kind in KINDS)
    found = replace(NO_OPERATOR, policies=(ABSENT, ABSENT), objects=Present(deleting, NOW), crds=crds)
    assert steps(found) == [Release]
    told = describe(plan(found, Wishes()), found)
    assert "take our finalizer off 1 Match and 1 Room" in told
    assert "Redis: alice, bob stay in a call that no longer has a Match" in told
    assert "LiveKit: a room closes by itself" in told
    assert "the CRDs are being deleted already" in told


SERVER = ObjectFacts(
    LIVEKIT_SERVER, "roomkeeper-system", "eu-1", "uid-s", (FINALIZER,), False, False, False, (), "", ""
)  # fmt: skip


def test_our_finalizer_is_taken_off_livekit_servers_which_are_not_deleted() -> None:
    found = replace(LIVE, objects=Present((), NOW), servers=Present((SERVER,), NOW))
    assert steps(found) == [DeletePolicy, StopOperator, Release, DeleteLease, DeleteDeployment]
    both: Present[tuple[ObjectFacts, ...]] = Present((SERVER, replace(SERVER, uid="uid-t")), NOW)
    stopped = replace(SCALED_DOWN, objects=Present((), NOW), servers=both)
    text = describe(plan(stopped, Wishes()), stopped)
    assert "take our finalizer off 2 LiveKitServers" in text
    assert "2 LiveKitServers stay; an operator that is installed later takes them up" in text


def test_livekit_servers_that_cannot_be_listed_are_told_and_stop_nothing() -> None:
    found = replace(LIVE, servers=Unknown(NOW, "livekitservers is forbidden"))
    told = "LiveKitServers are not checked, and may keep our finalizer: livekitservers is forbidden"
    assert told in describe(plan(found, Wishes()), found)
    assert Drain in steps(found)


def test_where_nothing_is_left_there_is_nothing_to_do() -> None:
    found = replace(NO_OPERATOR, policies=(ABSENT, ABSENT), objects=Present((), NOW), crds=(ABSENT,) * 3)
    assert steps(found) == []
    assert describe(plan(found, Wishes()), found).endswith("Nothing to do.")


def test_what_cannot_be_read_is_never_taken_for_absent() -> None:
    unread = replace(LIVE, objects=Unknown(NOW, "matches is forbidden"))
    assert "matches is forbidden; name the namespaces with --watch-namespaces" in refusal(unread, Wishes())
    assert "not known whether the operator works" in refusal(
        replace(LIVE, lease=Unknown(NOW, "leases is forbidden")), Wishes(Policy.RELEASE)
    )
    blind = replace(LIVE, policies=(Unknown(NOW, "forbidden"), Unknown(NOW, "forbidden")))
    assert DeletePolicy not in steps(blind)
    assert "the policy roomkeeper-finalizer is not checked: forbidden" in describe(plan(blind, Wishes()), blind)


def test_where_its_namespaces_are_not_known_it_does_not_guess_whose_the_objects_are() -> None:
    unnamed = replace(NO_OPERATOR, installation=Installation("roomkeeper-system", "roomkeeper"))
    assert steps(unnamed)
    beside = replace(unnamed, others=Present(("team-a/roomkeeper",), NOW))
    assert "also has team-a/roomkeeper" in refusal(beside, Wishes())
    named = replace(beside, installation=Installation("roomkeeper-system", "roomkeeper", ("calls",)))
    assert Release in steps(named)


def test_an_operator_is_not_stopped_for_some_of_its_namespaces() -> None:
    """The objects of the others would keep our finalizer, and nobody would take it off."""
    some = Installation("roomkeeper-system", "roomkeeper", ("calls",))
    assert "the operator serves all namespaces, and stops for all of them" in refusal(
        replace(LIVE, installation=some), Wishes()
    )
    two = replace(DEPLOYMENT, watched=("calls", "more"))
    assert "the operator serves more," in refusal(
        replace(LIVE, installation=some, deployment=Present(two, NOW)), Wishes()
    )
    unread = replace(DEPLOYMENT, watched=None)
    for deployment in (replace(DEPLOYMENT, watched=("calls",)), unread):
        assert steps(replace(LIVE, installation=some, deployment=Present(deployment, NOW)))


def test_an_operator_without_a_deployment_is_not_released_under_its_hands() -> None:
    process = replace(LIVE, deployment=ABSENT, pods=ABSENT)
    assert "stop it yourself" in refusal(process, Wishes(Policy.RELEASE))
    assert steps(process) == [DeletePolicy, Drain]


def test_the_crds_stay_while_another_namespace_or_installation_needs_them() -> None:
    elsewhere = replace(LIVE, elsewhere=Present((replace(MATCH_OF_TWO, namespace="other"),), NOW))
    assert "Match other/m is in a namespace that this installation does not serve" in refusal(
        elsewhere, Wishes(crds=True)
    )
    shared = replace(LIVE, others=Present(("team-a/roomkeeper",), NOW))
    assert "team-a/roomkeeper in this cluster needs them" in refusal(shared, Wishes(crds=True))
    unread = replace(LIVE, elsewhere=Unknown(NOW, "forbidden"))
    assert "they cannot be listed: forbidden" in refusal(unread, Wishes(crds=True))


def test_of_many_objects_ten_are_shown_and_the_others_counted() -> None:
    many = tuple(replace(MATCH_OF_TWO, name=f"m{number:02}", uid=f"uid-{number}") for number in range(25))
    found = replace(LIVE, objects=Present(many, NOW))
    told = describe(plan(found, Wishes()), found)
    assert "25 Matches in namespace calls" in told
    assert "… and 15 more" in told
    assert told.count("Match calls/m") == 10


def test_helms_release_is_named_with_the_command_that_removes_the_rest() -> None:
    found = replace(LIVE, deployment=Present(replace(DEPLOYMENT, helm_release="rk"), NOW))
    assert "`helm uninstall rk --namespace roomkeeper-system`" in describe(plan(found, Wishes()), found)
