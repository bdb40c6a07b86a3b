"""Who has stopped beating, and when a witness is not to be believed."""

from __future__ import annotations

from controller.clients.redis.replies.inbox import ScanCursor, Silence
from controller.views.heartbeats import Heard, HeartbeatView
from tests import values as b

NS = "calls"


def a_view() -> HeartbeatView:
    return HeartbeatView(90.0, decide_alone=False)


def heard(
    view: HeartbeatView,
    beating: int,
    late: dict[str, int],
    seconds: float,
    *,
    limit: int = 1000,
    is_listened_to: bool = True,
) -> Heard:
    """One read at that second, as the script makes it of the last beats of all who are late; both clocks agree."""
    cursor, now_ms = view.cursor(NS), b.ms(seconds)
    known_ms, checked_ms = cursor.known_ms or 0, cursor.checked_ms or 0
    silent = sorted(((at, who) for who, at in late.items() if at <= now_ms - 90_000), key=lambda row: row[0])
    fresh = [row for row in silent if row[0] > known_ms]
    still = [row for row in silent if checked_ms < row[0] <= known_ms]
    crowd = sum(fresh[0][0] - 30_000 <= at for at in late.values()) if fresh else 0
    further = ScanCursor(
        fresh[limit - 1][0] if len(fresh) >= limit else now_ms - 90_000,
        still[limit - 1][0] if len(still) >= limit else None,
    )
    fresh_rows, still_rows = ({who: at for at, who in rows[:limit]} for rows in (fresh, still))
    read = Silence(beating, now_ms, crowd, further, fresh_rows, still_rows)
    return view.heard(NS, read, b.at(seconds), is_listened_to=is_listened_to)


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
    assert heard(view, 10, last("user-0", "user-1") | last("user-5", at=135), 230).newly_silent == ("user-5",)
    assert set(view.silent(NS)) == {"user-5"}
    assert set(heard(view, 10, last("user-0", "user-1"), 401).newly_silent) == {"user-0", "user-1"}


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


def test_a_crowd_is_one_though_a_read_has_room_for_a_few_of_it_only() -> None:
    view, crowd = a_view(), {f"user-{n:02}": b.ms(10 + n / 10) for n in range(30)}
    doubted = [heard(view, 100, crowd, seconds, limit=10).doubted for seconds in (110, 115, 120, 125)]
    assert (doubted, view.silent(NS)) == ([10, 10, 10, 0], {})


def test_the_long_silent_hide_nobody_who_falls_silent_later() -> None:
    view, old = a_view(), {f"user-{n:02}": b.ms(1 + n) for n in range(20)}
    for seconds in range(200, 220, 5):
        heard(view, 200, old, seconds, limit=10)
    assert set(view.silent(NS)) == set(old)
    assert heard(view, 200, old | last("bob", at=130), 221, limit=10).newly_silent == ("bob",)


def test_of_many_silent_each_is_looked_at_again_in_turn() -> None:
    view, old = a_view(), {f"user-{n:02}": b.ms(1 + n) for n in range(20)}
    for seconds in (200, 205, 210, 215):
        heard(view, 200, old, seconds, limit=10)
    # Two are back. Each is missed when its turn comes.
    del old["user-03"], old["user-17"]
    heard(view, 200, old, 220, limit=10)
    assert set(view.silent(NS)) == {*old, "user-17"}
    heard(view, 200, old, 225, limit=10)
    heard(view, 200, old, 230, limit=10)
    assert set(view.silent(NS)) == set(old)


def test_silence_that_was_not_confirmed_for_an_interval_tells_nothing_until_it_is_and_is_told_of_once() -> None:
    view, old = a_view(), {f"user-{n:02}": b.ms(1 + n) for n in range(20)}
    told = [who for seconds in (200, 205) for who in heard(view, 200, old, seconds, limit=10).newly_silent]
    assert sorted(told) == sorted(old)
    assert heard(view, 200, old, 240, limit=10) == Heard()
    confirmed = {f"user-{n:02}" for n in range(10, 20)}
    assert view.facts(NS, old, b.ms(1)).silent == set(view.silent(NS)) == confirmed
    for seconds in (245, 250):
        assert heard(view, 200, old, seconds, limit=10) == Heard()
    assert view.facts(NS, old, b.ms(1)).silent == set(old)


def test_who_fell_silent_while_nobody_listened_is_found_afterwards() -> None:
    view = a_view()
    heard(view, 50, last("alice"), 100)
    late = last("alice") | last("bob", at=20)
    assert heard(view, 50, late, 200, is_listened_to=False) == Heard()
    assert set(view.silent(NS)) == {"alice"}
    assert heard(view, 50, late, 300) == Heard(("bob",))


def test_a_beat_that_a_failover_took_back_is_noticed() -> None:
    view = a_view()
    heard(view, 50, {}, 200)
    assert heard(view, 50, last("bob", at=90), 205) == Heard(("bob",))


def test_whoever_is_forgotten_is_silent_no_more() -> None:
    view = a_view()
    heard(view, 50, last("alice", "bob"), 100)
    view.forget(NS, "bob")
    view.forget(NS, "nobody")
    assert set(view.silent(NS)) == {"alice"}
