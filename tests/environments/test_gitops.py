"""What is kept in Git and applied again and again: defaults and finalizers of ours are no drift, tools see health."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml

from controller.api.names import FIELD_MANAGER, FINALIZER
from sandbox.cluster import read_manifests
from sandbox.source import CRDS, FINALIZER_POLICY, INSTALL
from tests import manifests
from tests.support.kstatus import kstatus
from tests.support.kube import Body, Kube
from tests.support.rig import Rig
from tests.support.waiting import eventually

_MODES = {"client-side": (), "server-side": ("--server-side",)}


async def body_of(kube: Kube, kind: str, name: str) -> Body:
    """The object as it is now, with the managers of its fields."""
    found = await kube.get(kind, name)
    assert found is not None
    return found


async def is_current(kube: Kube, kind: str, name: str) -> Body:
    """The object, once tools say that it is healthy."""

    async def healthy() -> Body:
        found = await body_of(kube, kind, name)
        assert found.get("status", {}).get("conditions"), "the operator has not seen it"
        assert kstatus(found) == "Current"
        return found

    return await eventually(healthy)


def owned(found: Body) -> dict[str, set[str]]:
    """The fields that the operator owns, by subresource: paths such as `f:metadata.f:finalizers`."""
    fields: dict[str, set[str]] = {}
    for entry in found["metadata"]["managedFields"]:
        if entry["manager"] == FIELD_MANAGER:
            fields.setdefault(entry.get("subresource", ""), set()).update(_paths(entry["fieldsV1"]))
    return fields


def _paths(node: dict[str, Any], path: str = "") -> set[str]:
    inner = {name: value for name, value in node.items() if name != "."}
    if not inner:
        return {path}
    return set().union(*(_paths(value, f"{path}.{name}".removeprefix(".")) for name, value in inner.items()))


@pytest.mark.parametrize("managed", [True, False], ids=["finalizer by the policy", "finalizer by the operator"])
@pytest.mark.parametrize("mode", _MODES.values(), ids=_MODES)
async def test_no_tool_sees_drift_and_the_operator_owns_its_status_its_finalizer_and_its_labels_alone(
    rig: Rig, mode: tuple[str, ...], managed: bool
) -> None:
    """Argo CD compares as `kubectl diff` does, and Flux applies as `kubectl apply --server-side`."""
    await rig.operators.start()
    match, room = manifests.match(), manifests.room("lobby")
    git = yaml.safe_dump_all([match, room])
    await rig.kube.apply(match, room, options=mode)
    for kind, name in (("Match", "match"), ("Room", "lobby")):
        before = await is_current(rig.kube, kind, name)
        assert before["metadata"]["finalizers"] == [FINALIZER]
        assert await rig.kube.ask("diff", *mode, "-f", "-", input=git) == ""
        await rig.kube.apply(match, room, options=mode)
        after = await is_current(rig.kube, kind, name)
        assert after["metadata"]["generation"] == before["metadata"]["generation"] == 1
        assert after["metadata"]["finalizers"] == [FINALIZER], "an apply takes it off"
        fields = owned(after)
        assert {path.partition(".")[0] for path in fields["status"]} == {"f:status"}
        ours = ("f:metadata.f:finalizers", "f:metadata.f:labels.f:user.roomkeeper.dev/")
        assert {path for path in fields.get("", set()) if not path.startswith(ours)} == set()


async def test_the_installed_objects_do_not_drift_while_the_operator_runs(rig: Rig) -> None:
    await rig.operators.start()
    await rig.ready()
    git = yaml.safe_dump_all(read_manifests([CRDS, INSTALL, FINALIZER_POLICY]))  # as the stack installs it
    options = ("--server-side", "--force-conflicts", "-f", "-")
    done = await asyncio.to_thread(rig.kube.kubectl, "diff", *options, input=git)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_what_is_pruned_from_git_ends_in_the_ordinary_way(rig: Rig) -> None:
    """Tools prune with a deletion in the foreground, and wait until it is done."""
    await rig.operators.start()
    places = await rig.enqueue("alice", "bob")
    await rig.kube.apply(manifests.match(), manifests.room("lobby"))
    await is_current(rig.kube, "Match", "match")
    await is_current(rig.kube, "Room", "lobby")
    await rig.kube.remove("match/match", "room/lobby", "--cascade=foreground")
    assert list((await rig.queue()).values()) == list(places)
