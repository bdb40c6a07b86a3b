"""The cache of Kubernetes objects keeps the newest version, in whatever order and from whichever source it comes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from controller.api.match import Match
from controller.facts.unreadable import Unreadable
from controller.telemetry import metrics
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
        self.unreadable: list[str] = []
        self.cache = ObjectCache(Match)
        self.cache.follow(
            changed=lambda match: self.changed.append(match.metadata.resource_version),
            unreadable=lambda found: self.unreadable.append(found.metadata.resource_version),
            gone=lambda match: self.gone.append(match.metadata.uid),
        )

    def found(self) -> Match:
        """The object `m`, which must be readable."""
        known = self.cache.get("calls", "m")
        assert isinstance(known, Match)
        return known

    def version(self, name: str = "m") -> str | None:
        """The version of an object that the cache has."""
        known = self.cache.get("calls", name)
        return None if known is None else known.metadata.resource_version


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_the_newest_version_is_known_and_reported(rig: Rig) -> None:
    assert rig.version() is None
    rig.cache.offer(body(5))
    assert (rig.found().metadata.uid, rig.version(), rig.changed, len(rig.cache)) == ("u1", "5", ["5"], 1)
    rig.cache.offer(body(7))
    assert (rig.version(), rig.changed) == ("7", ["5", "7"])


@pytest.mark.parametrize("version", [3, 5])
def test_an_older_or_equal_version_changes_nothing_and_is_not_reported(rig: Rig, version: int) -> None:
    rig.cache.offer(body(5))
    rig.cache.offer(body(version))
    assert (rig.version(), rig.changed) == ("5", ["5"])


@pytest.mark.parametrize("kept", [1, 600])
def test_a_list_of_unchanged_objects_parses_none_of_them(rig: Rig, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [body(number + 1, uid=f"u{number}", name=f"m{number}") for number in range(kept)]
    for one in bodies:
        rig.cache.offer(one)
    parsed: list[object] = []
    monkeypatch.setattr(rig.cache, "_parse", parsed.append)
    for one in bodies:
        rig.cache.offer(one)
    assert parsed == []


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
    rig.cache.offer(body(7))
    assert rig.version() is None


def test_a_deletion_that_comes_before_the_object_counts(rig: Rig) -> None:
    rig.cache.remove(body(6))
    rig.cache.offer(body(5))
    assert (rig.version(), rig.gone) == (None, [])


def test_the_same_name_with_another_uid_is_another_object(rig: Rig) -> None:
    rig.cache.offer(body(5))
    rig.cache.offer(body(8, uid="u2"))
    assert (rig.gone, rig.version(), rig.cache.was_deleted("calls", "m")) == (["u1"], "8", False)
    rig.cache.offer(body(9))
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
    rig.cache.offer(body(7))
    assert rig.version() is None
    now[0] += 2
    rig.cache.evict_missing([], 100)
    assert not rig.cache.was_deleted("calls", "m")
    rig.cache.offer(body(7))
    assert rig.version() == "7"


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


def broken(version: int, **metadata: Any) -> Body:
    """A Match that no version can read."""
    made = body(version)
    made["spec"]["participants"] = "nobody"
    made["metadata"] |= metadata
    return made


def test_an_object_that_cannot_be_read_is_there_with_its_metadata(rig: Rig) -> None:
    rig.cache.offer(broken(6, deletionTimestamp="2026-01-31T11:00:00Z", finalizers=["roomkeeper.dev/cleanup"]))
    found = rig.cache.get("calls", "m")
    assert isinstance(found, Unreadable)
    metadata = found.metadata
    assert (metadata.uid, metadata.resource_version, metadata.finalizers) == ("u1", "6", ("roomkeeper.dev/cleanup",))
    assert metadata.deletion_timestamp is not None
    assert "spec.participants" in found.why
    assert (rig.cache.by_uid("u1"), len(rig.cache), list(rig.cache.in_namespace("calls"))) == (found, 1, [])
    assert (rig.changed, rig.unreadable) == ([], ["6"])


def test_a_version_that_cannot_be_read_replaces_the_one_before_and_is_replaced_by_the_next(rig: Rig) -> None:
    rig.cache.offer(body(5))
    rig.cache.offer(broken(6), quiet=True)
    assert isinstance(rig.cache.get("calls", "m"), Unreadable)
    assert (rig.changed, rig.unreadable, rig.gone) == (["5"], ["6"], [])
    rig.cache.offer(body(7))
    assert (rig.version(), rig.changed) == ("7", ["5", "7"])


def test_an_object_that_cannot_be_read_is_named_in_the_log_once_and_counted(rig: Rig) -> None:
    counted = metrics.unreadable_objects.labels("Match")._value
    with capture_logs() as logs:
        for version in (5, 6, 7):
            rig.cache.offer(broken(version))
            assert counted.get() == 1
    assert [(entry["namespace"], entry["name"]) for entry in logs] == [("calls", "m")]
    assert "participants" in logs[0]["why"]
    rig.cache.remove(broken(8))
    assert (rig.gone, counted.get()) == (["u1"], 0)


def test_the_metadata_is_read_even_where_a_part_of_it_cannot_be(rig: Rig) -> None:
    rig.cache.offer(broken(5, labels="none", ownerReferences=7, finalizers=["x"]))
    found = rig.cache.get("calls", "m")
    assert isinstance(found, Unreadable)
    assert (found.metadata.uid, found.metadata.finalizers) == ("u1", ("x",))


@pytest.mark.parametrize("no_object", [{}, {"metadata": None}, {"metadata": {"name": "m"}}, {"metadata": {"uid": 7}}])
def test_what_is_no_object_costs_no_other(rig: Rig, no_object: Body) -> None:
    rig.cache.offer(body(5))
    rig.cache.offer(no_object)
    rig.cache.remove(no_object)
    assert (rig.version(), rig.gone) == ("5", [])


def test_many_objects_are_all_there_and_iterated(rig: Rig) -> None:
    for number in range(600):
        rig.cache.offer(body(number + 1, uid=f"u{number}", name=f"m{number}"))
    assert len(rig.cache) == 600
    assert len(rig.cache._parsed) == 512, "an idle object is not kept parsed"
    idle, used = (len(rig.cache._entries["calls", name].kept) for name in ("m50", "m599"))
    assert idle < used / 4, "an idle object is kept compressed"
    assert rig.cache.get("calls", "m599") is rig.cache.get("calls", "m599")
    assert rig.version("m0") == "1"
    assert {match.metadata.uid for match in rig.cache.in_namespace("calls")} == {f"u{number}" for number in range(600)}
    known = rig.cache.get("calls", "m1")
    assert isinstance(known, Match)
    assert known.spec.identities == b.PEOPLE


def test_an_object_that_cannot_be_read_is_the_same_after_a_rest(rig: Rig) -> None:
    rig.cache.offer(broken(1))
    before = rig.cache.get("calls", "m")
    for number in range(600):
        rig.cache.offer(body(number + 2, uid=f"u-{number}", name=f"m{number}"))
    assert ("calls", "m") not in rig.cache._parsed
    assert isinstance(before, Unreadable)
    assert rig.cache.get("calls", "m") == before


@pytest.mark.parametrize("versions", [1, 2])
def test_of_the_name_and_uid_of_an_object_one_copy_is_kept(rig: Rig, versions: int) -> None:
    for version in range(versions):
        # As a message brings them: equal, and not the same.
        rig.cache.offer(json.loads(json.dumps(body(version + 1, uid="the-uid"))))
        metadata = rig.found().metadata
        assert metadata.uid is rig.cache.uids()[0][1] is rig.cache._entries["calls", "m"].uid
        assert metadata.name is rig.cache.names()[0][1] is rig.cache._names["the-uid"][1]


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
