"""Who has stopped beating, and when a witness is not to be believed."""

from __future__ import annotations

from controller.observe.heartbeats import Heard, HeartbeatView
from tests import builders as b

NS = "calls"


def a_view() -> HeartbeatView:
    return HeartbeatView(90.0, decide_alone=False)


def last(*who: str, at: float = 10) -> dict[str, int]:
    return {name: b.ms(at) for name in who}


def test_whoever_falls_silent_is_told_of_once() -> None:
    view = a_view()
    assert view.heard(NS, 50, last("bob"), b.at(100)) == Heard(("bob",))
    assert view.heard(NS, 50, last("bob"), b.at(105)) == Heard()
    assert view.heard(NS, 50, {}, b.at(110)) == Heard()
    assert view.heard(NS, 50, last("bob", at=20), b.at(115)) == Heard(("bob",))


def test_only_who_beat_since_the_claim_counts_as_silent() -> None:
    view = a_view()
    view.heard(NS, 50, last("alice", "bob", at=10), b.at(100))
    assert view.facts(NS, ("alice", "bob"), b.ms(5)).silent == {"alice", "bob"}
    assert view.facts(NS, ("alice", "bob"), b.ms(11)).silent == set()
    assert view.facts(NS, ("alice", "carol"), b.ms(5)).silent == {"alice"}
    assert view.facts("other", ("alice", "bob"), b.ms(5)).silent == set()


def test_of_a_claim_whose_moment_is_not_known_nothing_is_concluded() -> None:
    view = a_view()
    view.heard(NS, 50, last("bob"), b.at(100))
    assert view.facts(NS, ("bob",), 0).silent == set()


def test_when_many_fall_silent_at_once_nobody_counts_as_lost() -> None:
    view, crowd = a_view(), [f"user-{n}" for n in range(12)]
    assert view.heard(NS, 40, last(*crowd), b.at(100)) == Heard((), doubted=12)
    assert view.facts(NS, crowd, b.ms(1)).silent == set()


def test_a_handful_is_never_a_crowd_and_neither_is_a_small_share() -> None:
    assert a_view().heard(NS, 6, last(*"abcde"), b.at(100)).doubted == 0
    assert a_view().heard(NS, 100, last(*(f"user-{n}" for n in range(20))), b.at(100)).doubted == 0


def test_doubt_ends_for_who_beats_again_and_for_who_never_does() -> None:
    view, crowd = a_view(), [f"user-{n}" for n in range(10)]
    view.heard(NS, 10, last(*crowd), b.at(100))
    # All but two are back; one of those who are falls silent once more, alone.
    view.heard(NS, 10, last("user-0", "user-1"), b.at(130))
    assert view.heard(NS, 10, last("user-0", "user-1", "user-5", at=135), b.at(230)).newly_silent == ("user-5",)
    assert set(view.silent(NS)) == {"user-5"}
    assert set(view.heard(NS, 10, last("user-0", "user-1", at=9), b.at(401)).newly_silent) == {"user-0", "user-1"}
