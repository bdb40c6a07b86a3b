"""Who has stopped beating, and when a witness is not to be believed."""

from __future__ import annotations

from controller.observe.heartbeats import Heard, HeartbeatView
from tests import builders as b

NS = "calls"


def a_view() -> HeartbeatView:
    return HeartbeatView(90.0, decide_alone=False)


def heard(view: HeartbeatView, beating: int, late: dict[str, int], seconds: float) -> Heard:
    """One read at that second; both clocks agree."""
    return view.heard(NS, beating, late, b.ms(seconds), b.at(seconds))


def last(*who: str, at: float = 10) -> dict[str, int]:
    return {name: b.ms(at) for name in who}


def test_whoever_falls_silent_is_told_of_once() -> None:
    view = a_view()
    assert heard(view, 50, last("bob"), 100) == Heard(("bob",))
    assert heard(view, 50, last("bob"), 105) == Heard()
    assert heard(view, 50, {}, 110) == Heard()
    assert heard(view, 50, last("bob", at=20), 115) == Heard(("bob",))


def test_only_who_beat_since_the_claim_counts_as_silent() -> None:
    view = a_view()
    heard(view, 50, last("alice", "bob", at=10), 100)
    assert view.facts(NS, ("alice", "bob"), b.ms(5)).silent == {"alice", "bob"}
    assert view.facts(NS, ("alice", "bob"), b.ms(11)).silent == set()
    assert view.facts(NS, ("alice", "carol"), b.ms(5)).silent == {"alice"}
    assert view.facts("other", ("alice", "bob"), b.ms(5)).silent == set()


def test_of_a_claim_whose_moment_is_not_known_nothing_is_concluded() -> None:
    view = a_view()
    heard(view, 50, last("bob"), 100)
    assert view.facts(NS, ("bob",), 0).silent == set()


def test_when_many_fall_silent_at_once_nobody_counts_as_lost() -> None:
    view, crowd = a_view(), [f"user-{n}" for n in range(12)]
    assert heard(view, 40, last(*crowd), 100) == Heard((), doubted=12)
    assert view.facts(NS, crowd, b.ms(1)).silent == set()


def test_a_handful_is_never_a_crowd_and_neither_is_a_small_share() -> None:
    assert heard(a_view(), 6, last(*"abcde"), 100).doubted == 0
    assert heard(a_view(), 100, last(*(f"user-{n}" for n in range(20))), 100).doubted == 0


def test_doubt_ends_for_who_beats_again_and_for_who_never_does() -> None:
    view, crowd = a_view(), [f"user-{n}" for n in range(10)]
    heard(view, 10, last(*crowd), 100)
    # All but two are back; one of those who are falls silent once more, alone.
    heard(view, 10, last("user-0", "user-1"), 130)
    assert heard(view, 10, last("user-0", "user-1", "user-5", at=135), 230).newly_silent == ("user-5",)
    assert set(view.silent(NS)) == {"user-5"}
    assert set(heard(view, 10, last("user-0", "user-1", at=9), 401).newly_silent) == {"user-0", "user-1"}


def test_users_of_one_gateway_are_doubted_though_their_beats_are_spread_over_an_interval() -> None:
    view = a_view()
    # Twelve of forty stopped within half a minute; at second 100 only the first of them has been silent for 90 s.
    late = {f"user-{n}": b.ms(10 + 2.5 * n) for n in range(12)}
    assert heard(view, 40, late, 100) == Heard((), doubted=1)
    assert heard(view, 40, late, 120) == Heard((), doubted=8)
    assert heard(view, 40, late, 130) == Heard((), doubted=3)
    assert view.silent(NS) == {}


def test_somebody_who_is_merely_late_is_not_silent() -> None:
    view = a_view()
    assert heard(view, 50, last("bob", at=35), 100) == Heard()
    assert heard(view, 50, last("bob", at=35), 126) == Heard(("bob",))
