"""Which users count as silent, and when this witness is not reliable."""

from __future__ import annotations

from controller.clients.redis.replies.inbox import ScanCursor, Silence
from controller.views.heartbeats import BeatNews, HeartbeatView
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
) -> BeatNews:
    """Feed one read at this second, as the script builds it from the last beats of late users; both clocks agree."""
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
    return view.heard(NS, read, is_listened_to=is_listened_to)


def last(*who: str, at: float = 10) -> dict[str, int]:
    return {name: b.ms(at) for name in who}


def test_a_user_who_falls_silent_is_reported_once() -> None:
    view = a_view()
    assert heard(view, 50, last("bob"), 100) == BeatNews(("bob",))
    assert heard(view, 50, last("bob"), 105) == BeatNews()
    assert heard(view, 50, {}, 110) == BeatNews()
    assert heard(view, 50, last("bob", at=20), 115) == BeatNews(("bob",))


def test_only_a_user_who_has_beaten_since_the_claim_counts_as_silent() -> None:
    view = a_view()
    heard(view, 50, last("alice", "bob", at=10), 100)
    assert view.facts(NS, ("alice", "bob"), b.ms(5)).silent == {"alice", "bob"}
    assert view.facts(NS, ("alice", "bob"), b.ms(11)).silent == set()
    assert view.facts(NS, ("alice", "carol"), b.ms(5)).silent == {"alice"}
    assert view.facts("other", ("alice", "bob"), b.ms(5)).silent == set()


def test_without_the_time_of_the_claim_no_user_counts_as_silent() -> None:
    view = a_view()
    heard(view, 50, last("bob"), 100)
    assert view.facts(NS, ("bob",), 0).silent == set()


def test_when_many_fall_silent_at_once_none_of_them_counts_as_lost() -> None:
    view, crowd = a_view(), [f"user-{n}" for n in range(12)]
    assert heard(view, 40, last(*crowd), 100) == BeatNews((), doubted=12)
    assert view.facts(NS, crowd, b.ms(1)).silent == set()


def test_neither_five_users_nor_a_small_share_raise_doubt() -> None:
    assert heard(a_view(), 6, last(*"abcde"), 100).doubted == 0
    assert heard(a_view(), 100, last(*(f"user-{n}" for n in range(20))), 100).doubted == 0


def test_doubt_ends_for_users_who_beat_again_and_for_users_who_never_do() -> None:
    view, crowd = a_view(), [f"user-{n}" for n in range(10)]
    heard(view, 10, last(*crowd), 100)
    # All but two beat again; one of them falls silent once more, alone.
    heard(view, 10, last("user-0", "user-1"), 130)
    assert heard(view, 10, last("user-0", "user-1") | last("user-5", at=135), 230).newly_silent == ("user-5",)
    assert set(view.silent(NS)) == {"user-5"}
    assert set(heard(view, 10, last("user-0", "user-1"), 401).newly_silent) == {"user-0", "user-1"}


def test_users_of_one_gateway_are_doubted_though_their_beats_are_spread_over_an_interval() -> None:
    view = a_view()
    # Twelve of forty stopped within half a minute; at second 100 only the first of them has been silent for 90 s.
    late = {f"user-{n}": b.ms(10 + 2.5 * n) for n in range(12)}
    assert heard(view, 40, late, 100) == BeatNews((), doubted=1)
    assert heard(view, 40, late, 120) == BeatNews((), doubted=8)
    assert heard(view, 40, late, 130) == BeatNews((), doubted=3)
    assert view.silent(NS) == {}


def test_a_user_who_is_merely_late_is_not_silent() -> None:
    view = a_view()
    assert heard(view, 50, last("bob", at=35), 100) == BeatNews()
    assert heard(view, 50, last("bob", at=35), 126) == BeatNews(("bob",))


def test_users_who_stop_together_are_doubted_though_one_read_holds_only_some_of_them() -> None:
    view, crowd = a_view(), {f"user-{n:02}": b.ms(10 + n / 10) for n in range(30)}
    doubted = [heard(view, 100, crowd, seconds, limit=10).doubted for seconds in (110, 115, 120, 125)]
    assert (doubted, view.silent(NS)) == ([10, 10, 10, 0], {})


def test_users_who_are_silent_for_long_do_not_hide_a_user_who_falls_silent_later() -> None:
    view, old = a_view(), {f"user-{n:02}": b.ms(1 + n) for n in range(20)}
    for seconds in range(200, 220, 5):
        heard(view, 200, old, seconds, limit=10)
    assert set(view.silent(NS)) == set(old)
    assert heard(view, 200, old | last("bob", at=130), 221, limit=10).newly_silent == ("bob",)


def test_many_silent_users_are_checked_again_in_turn() -> None:
    view, old = a_view(), {f"user-{n:02}": b.ms(1 + n) for n in range(20)}
    for seconds in (200, 205, 210, 215):
        heard(view, 200, old, seconds, limit=10)
    # Two beat again. The view notices each when its turn comes.
    del old["user-03"], old["user-17"]
    heard(view, 200, old, 220, limit=10)
    assert set(view.silent(NS)) == {*old, "user-17"}
    heard(view, 200, old, 225, limit=10)
    heard(view, 200, old, 230, limit=10)
    assert set(view.silent(NS)) == set(old)


def test_a_silence_that_was_not_confirmed_lately_does_not_count_and_is_reported_once() -> None:
    view, old = a_view(), {f"user-{n:02}": b.ms(1 + n) for n in range(20)}
    told = [who for seconds in (200, 205) for who in heard(view, 200, old, seconds, limit=10).newly_silent]
    assert sorted(told) == sorted(old)
    assert heard(view, 200, old, 240, limit=10) == BeatNews()
    confirmed = {f"user-{n:02}" for n in range(10, 20)}
    assert view.facts(NS, old, b.ms(1)).silent == set(view.silent(NS)) == confirmed
    for seconds in (245, 250):
        assert heard(view, 200, old, seconds, limit=10) == BeatNews()
    assert view.facts(NS, old, b.ms(1)).silent == set(old)


def test_a_user_who_fell_silent_during_a_gap_is_found_afterwards() -> None:
    view = a_view()
    heard(view, 50, last("alice"), 100)
    late = last("alice") | last("bob", at=20)
    assert heard(view, 50, late, 200, is_listened_to=False) == BeatNews()
    assert set(view.silent(NS)) == {"alice"}
    assert heard(view, 50, late, 300) == BeatNews(("bob",))


def test_a_beat_that_a_failover_lost_is_noticed() -> None:
    view = a_view()
    heard(view, 50, {}, 200)
    assert heard(view, 50, last("bob", at=90), 205) == BeatNews(("bob",))


def test_a_user_who_is_forgotten_is_no_longer_silent() -> None:
    view = a_view()
    heard(view, 50, last("alice", "bob"), 100)
    view.forget(NS, "bob")
    view.forget(NS, "unknown")
    assert set(view.silent(NS)) == {"alice"}
