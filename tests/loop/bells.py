"""A third kind, Bell, registered as another application of the loop would do it: one row, and no line in `controller/`.

`python -m tests.loop.bells operator` is the operator with that row. A Bell rings as often as its spec says, and its
status says how often it has rung.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from pydantic import Field

from controller.announce.announcer import Announcer
from controller.api.failures import LastError
from controller.api.meta import ApiModel, Resource, SpecModel
from controller.api.names import FINALIZER, GROUP, VERSION, ResourceKind
from controller.app.life import open_operator
from controller.backends.bundle import Backends
from controller.facts.learned import Learned
from controller.loop.recipes import RECIPES, Recipe, Recipes
from controller.plan.actions import AddFinalizer, AnyAction, ReleaseFinalizer, Target
from controller.plan.step import Plan
from controller.settings import load_settings
from controller.telemetry import logs

log = structlog.get_logger(__name__)

BELL = ResourceKind("Bell", "bells", "bell", "bl")

CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": BELL.crd},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"kind": BELL.kind, "plural": BELL.plural, "singular": BELL.singular, "listKind": "BellList"},
        "versions": [
            {
                "name": VERSION,
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"rings": {"type": "integer"}}},
                            "status": {"type": "object", "properties": {"rung": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}


class BellSpec(SpecModel):
    """The desired state of a Bell."""

    rings: int


class BellStatus(ApiModel):
    """How often the Bell has rung."""

    rung: int | None = None


class Bell(Resource):
    """The whole object."""

    spec: BellSpec
    status: BellStatus = Field(default_factory=BellStatus)


@dataclass(frozen=True, slots=True)
class BellSeen:
    """The observation of a Bell: the other Bells in its namespace."""

    others: int


async def observe_bell(bell: Bell, backends: Backends, _learned: Learned) -> BellSeen:
    """Count the other Bells in the cache."""
    known = backends.caches[BELL].in_namespace(bell.metadata.namespace)
    return BellSeen(sum(other.metadata.uid != bell.metadata.uid for other in known))


@dataclass(frozen=True, slots=True)
class BellCase:
    """A Bell, its observation, and the time: the input of plan and status."""

    bell: Bell
    seen: BellSeen
    now: datetime


def plan_bell(case: BellCase) -> Plan:
    """Hold the object with our finalizer until it is deleted."""
    metadata = case.bell.metadata
    target = Target(BELL, metadata.namespace, metadata.name, metadata.uid, metadata.resource_version)
    if metadata.deletion_timestamp is not None:
        return Plan((ReleaseFinalizer(target),)) if FINALIZER in metadata.finalizers else Plan()
    if FINALIZER not in metadata.finalizers:
        return Plan((AddFinalizer(target),))
    return Plan(waits_for="its end")


def bell_status(case: BellCase, _error: LastError | None) -> BellStatus:
    """Report that the Bell has rung as often as it should."""
    return BellStatus(rung=case.bell.spec.rings)


def announce_bell(_announcer: Announcer, bell: Bell, status: BellStatus, _first_seen: datetime) -> None:
    """Announce a status that was written (nothing for Bells)."""
    log.info("bell", name=bell.metadata.name, rung=status.rung)


def bell_acted(_announcer: Announcer, bell: Bell, actions: tuple[AnyAction, ...]) -> None:
    """Announce actions that succeeded (nothing for Bells)."""
    log.info("bell acted", name=bell.metadata.name, actions=[type(action).__name__ for action in actions])


WITH_BELLS: Recipes = {
    **RECIPES,
    BELL: Recipe(
        kind=BELL,
        model=Bell,
        seen=BellSeen,
        observe=observe_bell,
        case=BellCase,
        plan=plan_bell,
        status=bell_status,
        acted=bell_acted,
        announce=announce_bell,
    ),
}


async def main() -> None:
    """Run the operator for Matches, Rooms and Bells until SIGTERM."""
    settings = load_settings({})
    logs.configure(settings.log_format, settings.log_level, ())
    async with open_operator(settings, WITH_BELLS) as operator:
        await operator.run()


if __name__ == "__main__":
    asyncio.run(main())
