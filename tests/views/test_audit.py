"""The findings of an audit count when two rounds agree."""

from __future__ import annotations

from controller.facts.match import AuditFacts
from controller.views.audit import AuditView
from tests import values as b

FINE = AuditFacts()
STRAY = AuditFacts(taken_away=frozenset({"bob"}))


def test_one_round_alone_proves_nothing() -> None:
    view = AuditView()
    assert view.found({"m1": STRAY, "m2": FINE}) == []
    assert view.facts("m1") == FINE
    assert view.found({"m1": FINE}) == []
    assert view.found({"m1": STRAY}) == []
    assert view.facts("m1") == FINE


def test_two_rounds_that_agree_prove_a_finding() -> None:
    view = AuditView()
    view.found({"m1": STRAY})
    assert view.found({"m1": STRAY}) == ["m1"]
    assert view.facts("m1") == STRAY
    assert view.found({"m1": STRAY}) == []


def test_a_finding_that_is_repaired_is_reported_at_once() -> None:
    view = AuditView()
    for _ in range(2):
        view.found({"m1": STRAY})
    assert view.found({"m1": FINE}) == ["m1"]
    assert view.facts("m1") == FINE


def test_a_match_that_is_gone_is_forgotten() -> None:
    view = AuditView()
    for _ in range(2):
        view.found({"m1": STRAY})
    view.match_gone(b.a_match(uid="m1"))
    assert view.facts("m1") == FINE


def test_a_finding_about_a_forgotten_match_confirms_nothing_later() -> None:
    view = AuditView()
    view.found({"m1": STRAY})
    view.match_gone(b.a_match(uid="m1"))
    assert view.found({"m1": STRAY}) == []
    assert view.facts("m1") == FINE


def test_the_view_keeps_nothing_about_matches_that_are_fine() -> None:
    view = AuditView()
    for facts in (FINE, STRAY, STRAY, FINE, FINE):
        view.found({"m1": facts})
    assert (view._once, view._confirmed) == ({}, {})
