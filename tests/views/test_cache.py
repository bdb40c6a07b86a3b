"""The cache of Kubernetes objects keeps the newest version, in whatever order and from whichever source it comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controller.api.match import Match
from controller.views import cache as cache_module
from controller.views.cache import ObjectCache
from tests import values as b

Body = dict[str, Any]


def body(version: int, *, uid: str = "u1", name: str = "m", namespace: str = "calls", **spec: Any) -> Body:
    """A Match as the API server sends it."""
    manifest = b.a_match(**spec).manifest()
    metadata = manifest["metadata"] | {"name": name, "namespace": namespace, "uid": uid}
    return {**manifest, "metadata": metadata | {"resourceVersion": str(version), "managedFields": [{"big": "thing"}]}}


class Rig:
    """A cache, and what its followers received."""

    def __init__(self) -> None:
        self.changed: list[str] = []
        self.gone: list[str] = []
        self.cache = ObjectCache(Match)
        self.cache.follow(
            changed=lambda match: self.changed.append(match.metadata.resource_version),
            gone=lambda match: self.gone.append(match.metadata.uid),
        )

    def version(self, name: str = "m") -> str | None:
        """The version of an object that the cache has."""
        known = self.cache.get("calls", name)
        return None if known is None else known.metadata.resource_version


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_newest_version_is_known_and_reported(rig: Rig) -> None:
    assert rig.version() is None
    offered = rig.cache.offer(body(5))
    assert offered is not None
    assert (offered.metadata.uid, rig.version(), rig.changed, len(rig.cache)) == ("u1", "5", ["5"], 1)
    rig.cache.offer(body(7))
    assert (rig.version(), rig.changed) == ("7", ["5", "7"])


@pytest.mark.parametrize("version", [3, 5])
def test_an_older_or_equal_version_changes_nothing_and_is_not_reported(rig: Rig, version: int) -> None:
    rig.cache.offer(body(5))
    offered = rig.cache.offer(body(version))
    assert offered is not None
    assert (offered.metadata.resource_version, rig.version(), rig.changed) == ("5", "5", ["5"])


def test_versions_are_numbers_not_texts(rig: Rig) -> None:
    rig.cache.offer(body(9))
    rig.cache.offer(body(10))
    assert rig.version() == "10"


def test_our_own_write_is_known_and_wakes_no_key(rig: Rig) -> None:
    rig.cache.offer(body(5), quiet=True)
    assert (rig.version(), rig.changed) == ("5", [])
    rig.cache.offer(body(5))
    assert rig.changed == []


def test_a_deleted_uid_stays_dead(rig: Rig) -> None:
    rig.cache.offer(body(5))
    rig.cache.remove(body(6))
    assert (rig.version(), rig.gone, rig.cache.was_deleted("calls", "m")) == (None, ["u1"], True)
    assert rig.cache.offer(body(7)) is None
    assert rig.version() is None


def test_a_deletion_that_comes_before_the_object_counts(rig: Rig) -> None:
    rig.cache.remove(body(6))
    assert rig.cache.offer(body(5)) is None
    assert (rig.version(), rig.gone) == (None, [])


def test_the_same_name_with_another_uid_is_another_object(rig: Rig) -> None:
    rig.cache.offer(body(5))
    rig.cache.offer(body(8, uid="u2"))
    assert (rig.gone, rig.version(), rig.cache.was_deleted("calls", "m")) == (["u1"], "8", False)
    assert rig.cache.offer(body(9)) is None
    assert rig.version() == "8"


def test_a_late_deletion_of_the_predecessor_does_not_hurt_the_successor(rig: Rig) -> None:
    rig.cache.offer(body(5))
    rig.cache.offer(body(8, uid="u2"))
    rig.cache.remove(body(6))
    rig.cache.forget("calls", "m", "u1")
    assert (rig.version(), rig.gone) == ("8", ["u1"])


def test_a_name_that_is_used_again_is_no_longer_deleted(rig: Rig) -> None:
    rig.cache.offer(body(5))
    rig.cache.forget("calls", "m", "u1")
    rig.cache.offer(body(8, uid="u2"))
    assert not rig.cache.was_deleted("calls", "m")


def test_a_deleted_uid_is_remembered_for_five_minutes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(cache_module, "time", type("Time", (), {"monotonic": staticmethod(lambda: now[0])}))
    rig.cache.offer(body(5))
    rig.cache.remove(body(6))
    now[0] += 299
    rig.cache.evict_missing([], 100)
    assert rig.cache.offer(body(7)) is None
    now[0] += 2
    rig.cache.evict_missing([], 100)
    assert not rig.cache.was_deleted("calls", "m")
    assert rig.cache.offer(body(7)) is not None


def test_a_list_evicts_what_it_lacks_unless_that_is_newer(rig: Rig) -> None:
    for version, name in ((5, "old"), (20, "equal"), (21, "newer"), (6, "listed")):
        rig.cache.offer(body(version, uid=f"u-{name}", name=name))
    assert rig.cache.evict_missing(["u-listed"], 20) == 2
    assert sorted(rig.gone) == ["u-equal", "u-old"]
    assert rig.cache.names() == [("calls", "newer"), ("calls", "listed")]


def test_a_list_of_one_namespace_says_nothing_about_another(rig: Rig) -> None:
    rig.cache.offer(body(5, uid="here", namespace="calls"))
    rig.cache.offer(body(5, uid="there", namespace="other"))
    assert rig.cache.evict_missing([], 20, "calls") == 1
    assert rig.gone == ["here"]


def test_an_object_that_cannot_be_read_is_left_alone(rig: Rig) -> None:
    broken = body(6)
    broken["spec"]["participants"] = "nobody"
    with capture_logs() as logs:
        assert rig.cache.offer(broken) is None
    assert [entry["event"] for entry in logs] == ["object cannot be read; it is left alone until it is corrected"]
    assert "participants" in str(logs[0]["problems"])
    rig.cache.offer(body(5))
    offered = rig.cache.offer(broken)
    assert offered is not None
    assert (offered.metadata.resource_version, rig.version()) == ("5", "5")


def test_many_objects_are_all_there_and_iterated(rig: Rig) -> None:
    for number in range(600):
        rig.cache.offer(body(number + 1, uid=f"u{number}", name=f"m{number}"))
    assert len(rig.cache) == 600
    assert len(rig.cache._parsed) == 512, "an idle object is kept compact"
    assert rig.cache.get("calls", "m599") is rig.cache.get("calls", "m599")
    assert rig.version("m0") == "1"
    assert {match.metadata.uid for match in rig.cache.in_namespace("calls")} == {f"u{number}" for number in range(600)}
    known = rig.cache.get("calls", "m1")
    assert known is not None
    assert known.spec.identities == b.PEOPLE


_STEPS = st.tuples(st.sampled_from(["offer", "remove"]), st.sampled_from(["u1", "u2"]), st.integers(1, 12))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(steps=st.lists(_STEPS, max_size=12))
def test_versions_of_one_name_never_go_back(steps: list[tuple[str, str, int]]) -> None:
    rig, highest, dead = Rig(), 0, set[str]()
    for step, uid, version in steps:
        if step == "offer":
            rig.cache.offer(body(version, uid=uid))
        else:
            rig.cache.remove(body(version, uid=uid))
            dead.add(uid)
        dead.update(rig.gone)
        known = rig.cache.get("calls", "m")
        if known is None:
            highest = 0
        else:
            assert known.metadata.uid not in rig.gone
            assert int(known.metadata.resource_version) >= highest
            highest = int(known.metadata.resource_version)
    assert len(set(rig.gone)) == len(rig.gone)
