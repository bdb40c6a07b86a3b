"""What the doctor says of other operators, by what their Leases say: who serves, and what was left behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from controller.doctor.checks import CHECKS
from controller.doctor.findings import Scene, Verdict, finding
from controller.errors import Backend, Forbidden
from controller.rules.installations import mark
from tests import values as b

(CHECK,) = (check for check in CHECKS if check.name == "other operators")
NOW = 1000.0


def lease(
    name: str, *namespaces: str, created: float = 0, renewed: float = NOW, holder: str = "pod", sees_all: bool = True
) -> dict[str, Any]:
    """The Lease of an operator in a namespace of its own."""
    metadata = {
        "namespace": f"home-of-{name}",
        "name": name,
        "uid": name,
        "creationTimestamp": b.at(created).isoformat(),
    }
    spec = {"holderIdentity": holder, "renewTime": b.at(renewed).isoformat(), "leaseDurationSeconds": 15}
    return {"metadata": {**metadata, **mark(namespaces, f"id-of-{name}", sees_all=sees_all)}, "spec": spec}


OURS = lease("ours", "calls", created=10)


async def asked(*leases: dict[str, Any], sees_all: bool = True) -> tuple[Verdict, str, str]:
    """What the doctor of the installation `ours` finds where there are these Leases."""

    async def pages(_resource: Any, namespace: str, *, labels: str) -> AsyncIterator[dict[str, Any]]:
        if not namespace and not sees_all:
            raise Forbidden(Backend.KUBERNETES, "list", "no")
        yield {"items": [one for one in leases if namespace in {"", one["metadata"]["namespace"]}]}

    scene = SimpleNamespace(
        kubernetes=SimpleNamespace(pages=pages),
        clock=SimpleNamespace(now=lambda: b.at(NOW)),
        namespace="home-of-ours",
        lease_name="ours",
    )
    found = finding(CHECK, await CHECK.ask(cast("Scene", scene)))
    return found.verdict, found.sentence, found.remedy


async def test_operators_for_other_namespaces_are_counted() -> None:
    verdict, sentence, _ = await asked(OURS, lease("another", "games"))
    assert (verdict, sentence) == (Verdict.OK, "none is set up for the same namespaces, of 1 in the cluster")
    verdict, sentence, _ = await asked(OURS, lease("another"), sees_all=False)
    assert sentence.endswith("of 0 in the namespace home-of-ours, the only one whose Leases may be read")


async def test_an_operator_that_serves_the_same_namespace_is_named_and_so_is_one_that_gives_way() -> None:
    verdict, sentence, remedy = await asked(OURS, lease("elder"))
    assert (verdict, sentence) == (
        Verdict.FAILED,
        "the operator with the Lease home-of-elder/elder (cluster id id-of-elder) serves the namespace calls: this "
        "operator leaves them alone",
    )
    assert "ROOMKEEPER_WATCH_NAMESPACES" in remedy
    verdict, sentence, _ = await asked(OURS, lease("younger", created=20))
    assert (verdict, sentence.endswith("leaves the namespace calls to this one")) == (Verdict.OK, True)


@pytest.mark.parametrize(
    ("holder", "says"),
    [
        ("pod-7", "its holder pod-7 renewed it at 2026-01-31T10:15:00Z"),
        ("", "it was released at 2026-01-31T10:15:00Z"),
    ],
)
async def test_a_lease_that_was_left_behind_is_named_with_who_since_when_and_what_to_do(holder: str, says: str) -> None:
    verdict, sentence, remedy = await asked(OURS, lease("elder", renewed=900, holder=holder))
    assert (verdict, sentence) == (
        Verdict.FAILED,
        f"the operator with the Lease home-of-elder/elder (cluster id id-of-elder) does not run; {says}: until "
        "2026-01-31T10:25:00Z this operator leaves the namespace calls to it",
    )
    assert remedy == ("if it is gone for good, do not wait: kubectl --namespace home-of-elder delete lease elder")


async def test_a_lease_that_counts_no_longer_can_be_deleted() -> None:
    verdict, sentence, _ = await asked(OURS, lease("elder", renewed=100))
    assert (verdict, sentence.partition(". ")[2]) == (Verdict.OK, "It counts no longer: the Lease can be deleted")


async def test_without_an_own_mark_nothing_can_be_said() -> None:
    assert (await asked(lease("elder")))[0] is Verdict.UNCHECKED
