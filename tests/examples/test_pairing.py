"""The pairs that the example matchmaker chooses: properties of every choice, and cases that users would notice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from examples.matchmaker.pairing import Pair, Waiting, is_match_name, match_name, pairs

NOW_MS = 1_000_000
PATIENCE_MS = 30_000


def choose(*waiting: Waiting, is_whole_queue: bool = True) -> list[tuple[str, str]]:
    """Return the ids of the pairs."""
    chosen = pairs(waiting, now_ms=NOW_MS, repeat_after_ms=PATIENCE_MS, is_whole_queue=is_whole_queue)
    return [pair.ids for pair in chosen]


def person(name: str, *met: str, waits_ms: int = 1000) -> Waiting:
    return Waiting(name, NOW_MS - waits_ms, frozenset(met))


@st.composite
def queues(draw: st.DrawFn) -> list[Waiting]:
    """Draw a front of a queue: unique ids, the longest waiting first, meetings in the memory of one or both users."""
    ids = [str(number) for number in range(draw(st.integers(0, 24)))]
    since = sorted(draw(st.lists(st.integers(0, NOW_MS), min_size=len(ids), max_size=len(ids))))
    met = st.frozensets(st.sampled_from(ids), max_size=20) if ids else st.just(frozenset[str]())
    return [Waiting(name, since_ms, draw(met)) for name, since_ms in zip(ids, since, strict=True)]


def are_new(one: Waiting, other: Waiting) -> bool:
    return one.id not in other.met and other.id not in one.met


def are_patient(one: Waiting, other: Waiting) -> bool:
    return all(NOW_MS - person.since_ms > PATIENCE_MS for person in (one, other))


@given(queues(), st.booleans())
def test_no_user_is_in_two_pairs_and_only_waiting_users_are_in_one(
    waiting: list[Waiting], is_whole_queue: bool
) -> None:
    chosen = [name for ids in choose(*waiting, is_whole_queue=is_whole_queue) for name in ids]
    assert len(chosen) == len(set(chosen)) <= len(waiting)
    assert set(chosen) <= {person.id for person in waiting}


@given(queues(), st.booleans())
def test_a_pair_has_just_met_only_if_both_are_patient_or_alone(waiting: list[Waiting], is_whole_queue: bool) -> None:
    by_id = {person.id: person for person in waiting}
    for first, second in choose(*waiting, is_whole_queue=is_whole_queue):
        one, other = by_id[first], by_id[second]
        alone = is_whole_queue and len(waiting) == 2
        assert are_new(one, other) or are_patient(one, other) or alone


@given(queues())
def test_no_two_users_are_left_who_could_have_met_each_other(waiting: list[Waiting]) -> None:
    chosen = {name for ids in choose(*waiting, is_whole_queue=False) for name in ids}
    left = [person for person in waiting if person.id not in chosen]
    for one in left:
        for other in left:
            assert one is other or not (are_new(one, other) or are_patient(one, other))


@given(queues())
def test_each_user_in_turn_meets_the_first_new_user_who_is_still_free(waiting: list[Waiting]) -> None:
    order = {person.id: number for number, person in enumerate(waiting)}
    by_id = {person.id: person for person in waiting}
    chosen = choose(*waiting, is_whole_queue=False)
    assert [order[first] for first, _ in chosen] == sorted(order[first] for first, _ in chosen)
    served = {name: order[ids[0]] for ids in chosen if are_new(*map(by_id.__getitem__, ids)) for name in ids}
    for first, second in chosen:
        if not are_new(by_id[first], by_id[second]):
            continue
        for skipped in waiting[order[first] + 1 : order[second]]:
            if are_new(by_id[first], skipped):
                assert served[skipped.id] < order[first], f"{first} should have met {skipped.id}"


@given(st.integers(0, 40))
def test_strangers_are_paired_in_the_order_of_the_queue(count: int) -> None:
    names = [f"{number:02}" for number in range(count)]
    waiting = [person(name, waits_ms=1000 - number) for number, name in enumerate(names)]
    assert choose(*waiting) == list(zip(names[::2], names[1::2], strict=False))


def test_two_who_just_met_get_other_partners() -> None:
    waiting = person("alice", "bob"), person("bob", "alice"), person("carol"), person("dave")
    assert choose(*waiting) == [("alice", "carol"), ("bob", "dave")]


def test_it_is_enough_that_one_of_them_remembers() -> None:
    assert choose(person("alice"), person("bob", "alice"), person("carol")) == [("alice", "carol")]


def test_two_who_are_all_alone_meet_again_at_once() -> None:
    assert choose(person("alice", "bob"), person("bob", "alice")) == [("alice", "bob")]


def test_two_who_met_wait_for_others_as_long_as_there_are_some() -> None:
    waiting = person("alice", "bob"), person("bob", "alice")
    assert choose(*waiting, is_whole_queue=False) == []
    assert choose(*waiting, person("carol", "alice", "bob")) == []


def test_two_who_met_do_not_wait_for_ever() -> None:
    long_ms = PATIENCE_MS + 1
    one, other = person("alice", "bob", waits_ms=long_ms), person("bob", "alice", waits_ms=long_ms)
    assert choose(one, other, is_whole_queue=False) == [("alice", "bob")]
    impatient = person("bob", "alice", waits_ms=PATIENCE_MS)
    assert choose(one, impatient, is_whole_queue=False) == []


def test_a_stranger_is_better_than_meeting_again_however_long_they_waited() -> None:
    long_ms = PATIENCE_MS + 1
    one, other = person("alice", "bob", waits_ms=long_ms), person("bob", "alice", waits_ms=long_ms)
    assert choose(one, other, person("carol"), person("dave")) == [("alice", "carol"), ("bob", "dave")]


def test_the_name_of_a_match_follows_from_the_pair_and_its_places() -> None:
    alice, bob = ("alice", 1000), ("bob", 2000)
    name = match_name([alice, bob])
    assert name == match_name([bob, alice])
    assert is_match_name(name, [alice, bob])
    others = [
        match_name([alice, bob], attempt=1),
        match_name([alice, ("bob", 2001)]),
        match_name([alice, ("bob2", 2000)]),
        match_name([("alice\0", 1000), bob]),
    ]
    assert len({name, *others}) == 5
    assert is_match_name(others[0], [alice, bob])
    assert not any(is_match_name(other, [alice, bob]) for other in others[1:])


def test_names_of_others_are_not_taken_for_ours() -> None:
    users = [("alice", 1000), ("bob", 2000)]
    for name in ("", "match-7f3a", "mm-0", match_name(users)[:-1], match_name(users) + "x"):
        assert not is_match_name(name, users)


def test_a_pair_knows_who_waits_longer() -> None:
    (pair,) = pairs(
        [person("zoe", waits_ms=9), person("adam", waits_ms=8)], now_ms=NOW_MS, repeat_after_ms=0, is_whole_queue=True
    )
    assert pair == Pair(person("zoe", waits_ms=9), person("adam", waits_ms=8))
