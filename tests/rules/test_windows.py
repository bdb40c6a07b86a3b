"""The arithmetic of windows: a silence moves an end by as long as it lasted, and by nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.api.match import ParticipantState, ParticipantStatus, Timeouts
from controller.facts.ledger import AloneTime
from controller.facts.match import ServerFacts
from controller.facts.silences import SetBack, Silences
from controller.rules.deadlines import alone_deadline, connect_deadline, return_deadline
from controller.rules.windows import silent_between, window_end
from controller.views.livekit import LiveKitView
from tests import values as b

MOMENTS = st.integers(-500, 500)
SPANS = st.lists(st.tuples(MOMENTS, st.integers(10, 200)).map(lambda span: (span[0], sum(span))), max_size=8)
WINDOWS = st.integers(0, 300).map(lambda seconds: timedelta(seconds=seconds))
CHECKED = settings(max_examples=300, deadline=None, derandomize=True)


def heard(*spans: tuple[float, float]) -> Silences:
    """The silences as a record has them: joined and in order."""
    return Silences() | b.silent(*spans)


@CHECKED
@given(start=MOMENTS, window=WINDOWS)
def test_without_a_silence_the_end_is_exactly_the_window_away(start: int, window: timedelta) -> None:
    assert window_end(b.at(start), window, Silences()) == b.at(start) + window


@CHECKED
@given(start=MOMENTS, window=WINDOWS, spans=SPANS)
def test_between_start_and_end_lies_the_window_and_the_silences(
    start: int, window: timedelta, spans: list[tuple[float, float]]
) -> None:
    silences = heard(*spans)
    end = window_end(b.at(start), window, silences)
    assert end - b.at(start) == window + silent_between(b.at(start), end, silences)


@CHECKED
@given(start=MOMENTS, window=WINDOWS, spans=SPANS, more=SPANS)
def test_more_silence_never_makes_an_end_earlier(
    start: int, window: timedelta, spans: list[tuple[float, float]], more: list[tuple[float, float]]
) -> None:
    fewer, all_of_them = heard(*spans), heard(*spans, *more)
    assert window_end(b.at(start), window, fewer) <= window_end(b.at(start), window, all_of_them)
    assert fewer | heard(*more) == all_of_them


@CHECKED
@given(start=MOMENTS, later=st.integers(0, 300), window=WINDOWS, longer=WINDOWS, spans=SPANS)
def test_a_later_start_or_a_longer_window_never_ends_earlier(
    start: int, later: int, window: timedelta, longer: timedelta, spans: list[tuple[float, float]]
) -> None:
    silences = heard(*spans)
    end = window_end(b.at(start), window, silences)
    assert end <= window_end(b.at(start + later), window, silences)
    assert end <= window_end(b.at(start), window + longer, silences)


@CHECKED
@given(start=MOMENTS, window=st.integers(1, 300), spans=SPANS, begins=st.integers(0, 300), lasts=st.integers(10, 300))
def test_a_silence_that_begins_after_the_end_moves_nothing(
    start: int, window: int, spans: list[tuple[float, float]], begins: int, lasts: int
) -> None:
    silences = heard(*spans)
    end = window_end(b.at(start), timedelta(seconds=window), silences)
    after = ((end - b.T0).total_seconds() + begins, (end - b.T0).total_seconds() + begins + lasts)
    # A silence that begins in the very moment of the end touches the last one, so leave that moment out.
    further = silences | b.silent((after[0] + 1, after[1] + 1))
    assert window_end(b.at(start), timedelta(seconds=window), further) == end


@pytest.mark.parametrize(
    ("case", "spans", "expected"),
    [
        ("over before the window", [(-60, -1)], 15),
        ("over in the moment of its start", [(-60, 0)], 15),
        ("began before the window", [(-60, 5)], 20),
        ("within the window", [(5, 30)], 40),
        ("began in its last moment", [(14, 100)], 101),
        ("two, the second only in the window that the first made longer", [(10, 40), (44, 144)], 145),
        ("began when it was over", [(15, 100)], 15),
        ("one that covers another", [(5, 50), (10, 20)], 60),
    ],
)
def test_a_window_of_15_s(case: str, spans: list[tuple[float, float]], expected: float) -> None:
    assert window_end(b.at(0), timedelta(seconds=15), heard(*spans)) == b.at(expected), case


def test_a_start_that_an_earlier_clock_wrote_counts_as_of_the_moment_at_which_the_clock_was_set_back() -> None:
    silences = Silences(set_back=SetBack(latest=b.at(-3590), as_of=b.at(-3600)))
    assert window_end(b.at(-2), timedelta(seconds=15), silences) == b.at(-3585)
    assert window_end(b.at(-3595), timedelta(seconds=15), silences) == b.at(-3580)


# A LiveKit that fails now and then, for an hour

GONE = ParticipantStatus(
    identity="bob", state=ParticipantState.RECONNECTING, since=b.at(0), detail="CONNECTION_TIMEOUT"
)


def ends_at(seconds: list[int], refused: set[int]) -> dict[str, float]:
    """The second at which each window is over, with a ListRooms at each of `seconds`; those of `refused` fail."""
    view, over = LiveKitView(), dict[str, float]()
    view.succeed(b.at(-2))
    for second in seconds:
        if second in refused:
            view.failed(b.at(second), "HTTP 503")
            continue
        view.snapshot([b.a_livekit_room(people=1)], b.at(second))
        server = ServerFacts("default", "", silences=view.silences.at(b.at(second)))
        deadlines = {
            "NetworkLost": return_deadline(Timeouts(), GONE, b.at(1), server),
            "NoShow": connect_deadline(b.connecting(), server),
            "Abandoned": alone_deadline(b.active(), AloneTime(0, b.ms(0)), server),
        }
        for what, deadline in deadlines.items():
            if deadline is not None and b.at(second) >= deadline:
                over.setdefault(what, second)
    return over


POLLS = list(range(0, 3600, 2))


@pytest.mark.parametrize("every", [2, 3, 7, 12])
def test_one_refused_list_now_and_then_moves_no_end(every: int) -> None:
    undisturbed, refused = ends_at(POLLS, set()), set(POLLS[every - 1 :: every])
    assert undisturbed.keys() == {"NetworkLost", "NoShow", "Abandoned"}
    disturbed = ends_at(POLLS, refused)
    assert all(0 <= disturbed[what] - second <= 2 for what, second in undisturbed.items()), "at the next answer"


def test_a_livekit_that_is_away_for_most_of_the_time_only_makes_windows_longer() -> None:
    # Twelve seconds away, eight there: a window of 15 s takes two rounds.
    refused = {second for second in POLLS if second % 20 >= 8}
    assert ends_at(POLLS, refused)["NetworkLost"] <= 60
