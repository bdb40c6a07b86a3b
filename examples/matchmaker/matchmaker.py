"""The matchmaker: a loop of bounded ticks over one pool, and its command line.

A tick releases expired reservations, creates Matches that another matchmaker has reserved but not created, and pairs
the front of the queue. Its work depends on `--pairs`, not on how many users wait. Any number of matchmakers may run at
once.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType

import redis

from .matches import API_ERRORS, THREADS, Creation, Matches, brief, connect
from .outcomes import Outcomes
from .pairing import Pair, is_match_name, match_name, pairs
from .pool import Pool

log = logging.getLogger("matchmaker")

_LONGEST_BACKOFF_SECONDS = 10.0
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a tick does, and how long things may take."""

    pairs: int = 50
    repeat_after_seconds: float = 30.0
    reserve_seconds: float = 30.0
    """How long a pair is reserved for its Match. Use the same for all matchmakers of a pool."""
    heal_after_seconds: float = 2.0
    """The age at which the Match of another matchmaker's reservation should exist."""

    @property
    def reserve_ms(self) -> int:
        return round(self.reserve_seconds * 1000)


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did."""

    released: int = 0
    healed: int = 0
    made: int = 0
    failed: int = 0
    is_full: bool = False
    """There may be more to do at once."""


class Matchmaker:
    """One matchmaker of one pool."""

    def __init__(self, pool: Pool, matches: Matches, outcomes: Outcomes, limits: Limits) -> None:
        self._pool = pool
        self._matches = matches
        self._outcomes = outcomes
        self._limits = limits
        self._threads = ThreadPoolExecutor(THREADS, "create")
        self._done: deque[str] = deque(maxlen=_REMEMBERED)  # names of Matches that need no further attempt
        self._is_behind = False

    def run(self, stop: threading.Event, interval_seconds: float) -> None:
        """Tick until `stop`: without pauses while the queue is long, and with growing pauses while ticks fail."""
        failures = 0
        wait_seconds = 0.0
        while not stop.wait(wait_seconds):
            try:
                tick = self.tick()
            except redis.RedisError as error:
                log.warning("cannot reach the queue, trying again: %s", brief(error))
                tick = Tick(failed=1)
            failures = failures + 1 if tick.failed else 0
            if failures:
                wait_seconds = min(interval_seconds * 2 ** min(failures, 10), _LONGEST_BACKOFF_SECONDS)
            else:
                wait_seconds = 0 if tick.is_full else interval_seconds
            wait_seconds *= random.uniform(0.5, 1)  # so that several matchmakers do not tick at the same moments

    def tick(self) -> Tick:
        """One round of bounded work."""
        began = time.perf_counter()
        released = len(self._pool.release(2 * self._limits.pairs))
        healed, failed = self._heal()
        made, is_full = 0, False
        # Take no more users out of the queue than Matches can be created for.
        if not failed:
            made, failed, is_full = self._pair()
        self._is_behind = failed > 0
        tick = Tick(released, healed, made, failed, is_full)
        if released or healed or made or failed:
            log.info(
                "Matches: %d made, %d finished for others, %d to do again; %d users put back (%.1f ms)",
                *(made, healed, failed, released, (time.perf_counter() - began) * 1000),
            )
        return tick

    def choose(self) -> tuple[list[tuple[Pair, str]], bool]:
        """The pairs to match now with the names of their Matches, and whether more users wait than were read."""
        front = self._pool.front(2 * self._limits.pairs)
        chosen = pairs(
            front.waiting,
            now_ms=front.now_ms,
            repeat_after_ms=round(self._limits.repeat_after_seconds * 1000),
            is_whole_queue=front.is_whole_queue,
        )
        return [(pair, self._name(pair)) for pair in chosen], not front.is_whole_queue

    def _pair(self) -> tuple[int, int, bool]:
        chosen, is_full = self.choose()
        if not chosen:
            return 0, 0, False
        answers = self._pool.reserve(chosen, ttl_ms=self._limits.reserve_ms)
        # A pair that is reserved already is left to the matchmaker that reserved it; see _heal.
        ours = [(name, pair.ids) for (pair, name), answer in zip(chosen, answers, strict=True) if answer == "new"]
        made, failed = self._create(ours)
        return made, failed, is_full and bool(ours)

    def _heal(self) -> tuple[int, int]:
        """Create Matches that are reserved but missing: creating them failed, or the reserving matchmaker died."""
        left = self._pool.reservations(
            ttl_ms=self._limits.reserve_ms,
            older_than_ms=0 if self._is_behind else round(self._limits.heal_after_seconds * 1000),
            at_most=2 * self._limits.pairs,
        )
        return self._create(
            [
                (one.name, (one.users[0][0], one.users[1][0]))
                for one in left
                if len(one.users) == 2 and is_match_name(one.name, one.users)
                if one.name not in self._done and not self._outcomes.is_over(one.name)
            ]
        )

    def _create(self, wanted: Sequence[tuple[str, tuple[str, str]]]) -> tuple[int, int]:
        """Create Matches in parallel. Returns how many were made, and how many must be tried again."""
        unreachable = threading.Event()

        def create(one: tuple[str, tuple[str, str]]) -> Creation | None:
            name, ids = one
            if unreachable.is_set():
                return None
            try:
                return self._created(name, ids)
            except API_ERRORS as error:
                log.warning("cannot create %s of %s and %s yet: %s", name, *ids, brief(error))
                unreachable.set()
                return None

        results = list(self._threads.map(create, wanted))
        return results.count(Creation.MADE), results.count(None)

    def _created(self, name: str, ids: tuple[str, str]) -> Creation:
        creation = self._matches.create(name, ids)
        if creation is Creation.OVER:
            # The users go back to their places at the deadline, and get the next name.
            self._outcomes.note_over(name)
        else:
            self._done.append(name)
        return creation

    def _name(self, pair: Pair) -> str:
        users = [(person.id, person.since_ms) for person in (pair.first, pair.second)]
        names = (match_name(users, attempt) for attempt in itertools.count())
        return next(name for name in names if not self._outcomes.is_over(name))


def main() -> None:
    """The command line."""
    options = _parser().parse_args()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("kubernetes").setLevel(logging.WARNING)
    sys.exit(_run(options))


def _run(options: argparse.Namespace) -> int:
    limits = Limits(options.pairs, options.repeat_after, options.reserve, options.heal_after)
    pool = Pool(options.redis_url, cluster_id=options.cluster_id, namespace=options.namespace)
    matches = Matches(connect(), options.namespace, tokens=options.tokens)
    outcomes = Outcomes(matches)
    matchmaker = Matchmaker(pool, matches, outcomes, limits)
    if options.dry_run:
        outcomes.read()
        for pair, name in matchmaker.choose()[0]:
            print(f"{name}  {pair.ids[0]}  {pair.ids[1]}")
        return 0
    if options.once:
        outcomes.read()
        return 1 if matchmaker.tick().failed else 0
    return _serve(matchmaker, outcomes, options.interval)


def _serve(matchmaker: Matchmaker, outcomes: Outcomes, interval_seconds: float) -> int:
    stop, asked = threading.Event(), threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        stop.set()

    def follow() -> None:
        try:
            outcomes.follow(stop)
        finally:
            stop.set()  # a matchmaker without its watch does not work: exit, to be started again

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    threading.Thread(target=follow, name="outcomes", daemon=True).start()
    log.info("ready")
    matchmaker.run(stop, interval_seconds)
    log.info("stopped; ended since the start: %s", dict(outcomes.counts))
    return 0 if asked.is_set() else 1


def _parser() -> argparse.ArgumentParser:
    limits = Limits()
    parser = argparse.ArgumentParser(
        prog="matchmaker", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--namespace", default="default", help="the pool, and where the Matches are made")
    parser.add_argument(
        "--redis-url", default=os.environ.get("REDIS_URL", "redis://localhost:6379/0"), help="REDIS_URL"
    )
    parser.add_argument("--cluster-id", default="default", help="the operator's ROOMKEEPER_CLUSTER_ID")
    parser.add_argument(
        "--tokens", choices=["Redis", "Secret", "Both", "None"], default="Redis", help="where the tokens go"
    )
    parser.add_argument("--once", action="store_true", help="one tick")
    parser.add_argument("--dry-run", action="store_true", help="print who would be paired now, and change nothing")
    parser.add_argument("--pairs", type=int, default=limits.pairs, help="how many a tick makes at most")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between ticks that find little to do")
    parser.add_argument(
        "--repeat-after", type=float, default=limits.repeat_after_seconds, help="seconds until two may meet again"
    )
    parser.add_argument("--reserve", type=float, default=limits.reserve_seconds, help="seconds a pair is reserved")
    parser.add_argument(
        "--heal-after",
        type=float,
        default=limits.heal_after_seconds,
        help="seconds until other matchmakers create a reserved Match",
    )
    return parser
