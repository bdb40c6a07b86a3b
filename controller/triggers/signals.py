"""Signals of gateways: read from the stream `signals` of each pool and noted in the ledger of their Match.

The position of the reader is kept in Redis, so signals that arrive while no operator runs are read later. A signal that
is read twice is noted once. Signals that a user repeats within one read count as one. A malformed signal is skipped,
because it must not stop those behind it. A user whose signal is refused gets a notice through `notify:<id>`. Neighbors:
`triggers.stream` reads the streams, `triggers.router` wakes the Matches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import structlog

from controller.announce.error_records import ErrorRecords
from controller.api.failure_codes import FailureCode
from controller.api.failures_table import FAILURES
from controller.api.notices import REFUSALS
from controller.backends.pools import Pools
from controller.clients.redis.client import StreamEntry
from controller.clients.redis.inbox import Inbox
from controller.clients.redis.keys import Keys
from controller.clients.redis.outbox import Outbox
from controller.clients.redis.replies.inbox import Ignored, Noted, SignalsDone
from controller.clients.redis.requests import Signal, SignalKind
from controller.clock import Clock
from controller.facts.time import milliseconds
from controller.loop.wakes import Wake
from controller.telemetry import metrics
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

_KINDS = ", ".join(SignalKind)
# Others send these about a user; the user did not.
_BY_OTHERS = frozenset({SignalKind.DISCONNECT, SignalKind.SUSPECT})


class SignalSource:
    """The streams `signals` of all pools, as `triggers.stream` follows them."""

    def __init__(self, pools: Pools, router: Router, clock: Clock, cluster_id: str, errors: ErrorRecords) -> None:
        self._pools = pools
        self._router = router
        self._clock = clock
        self._cluster_id = cluster_id
        self._errors = errors

    def stream(self, namespace: str) -> str:
        """The key of one pool's stream."""
        return Keys(self._cluster_id, namespace).signals()

    async def start(self, namespace: str) -> str:
        """The id of the last entry that was handled, by this replica or by a predecessor."""
        return await Inbox(self._pools.opened(namespace)).signals_done()

    def lanes(self, entries: Sequence[StreamEntry]) -> Sequence[Sequence[StreamEntry]]:
        """One lane per user. Of equal signals the last one counts: a bare one is then newest, and sent in this call."""
        last = {_same(entry): entry for entry in entries}
        users: defaultdict[str, list[StreamEntry]] = defaultdict(list)
        for entry in entries:
            if last[_same(entry)] is entry:
                users[entry.fields.get("user", "")].append(entry)
            else:
                metrics.signal_came(_kind(entry), "signal", "repeated")
        return tuple(users.values())

    async def take(self, namespace: str, entry: StreamEntry) -> None:
        """Note the signal. Raises BackendError or LeadershipLost if that is not possible now, or never will be."""
        signal = _parse(entry)
        outcome = (
            "malformed"
            if signal is None
            else await note_signal(self._pools, self._router, self._clock, namespace, signal)
        )
        metrics.signal_came("malformed" if signal is None else signal.kind.value, "signal", outcome)
        if outcome in REFUSALS:
            await self._refuse(namespace, entry, outcome)

    async def done(self, namespace: str, entry_id: str) -> str:
        """Store the position, for the replica that reads next."""
        reply = await Inbox(self._pools.opened(namespace)).set_signals_done(entry_id)
        self._pools.check(namespace, reply)
        return reply.read_on_after if isinstance(reply, SignalsDone) else entry_id

    async def _refuse(self, namespace: str, entry: StreamEntry, why: str) -> None:
        user, kind = entry.fields.get("user", ""), entry.fields.get("type", "")
        failure = FAILURES[FailureCode.SIGNAL_REFUSED]
        told = {"message": REFUSALS[why], "user": user, "match": entry.fields.get("match", "")}
        told["userAgent"] = entry.fields.get("userAgent", "")
        self._errors.failed(
            failure,
            namespace=namespace,
            step=f"signal {_kind(entry)}",
            object_=f"user/{user}",
            context=told,
            begins=True,
        )
        if not user or kind in _BY_OTHERS:
            return
        outbox = Outbox(self._pools.opened(namespace))
        now_ms = milliseconds(self._clock.now())
        self._pools.check(namespace, await outbox.refused(user, entry.id, kind[:64], why, now_ms=now_ms))
        self._errors.recovered(failure, namespace)


async def note_signal(pools: Pools, router: Router, clock: Clock, namespace: str, signal: Signal) -> str:
    """Note one signal in the ledger and wake its Match; the result in one word.

    A signal that names no Match is about the Match that holds the user. Raises BackendError, LeadershipLost.
    """
    inbox = Inbox(pools.opened(namespace))
    if not signal.uid:
        signal = signal.about(await inbox.pool.holder(signal.user))
    if not signal.uid:
        return "idle"
    reply = await inbox.signal(signal, now_ms=milliseconds(clock.now()))
    pools.check(namespace, reply)
    if isinstance(reply, Ignored):
        # The flag of an older client may stay, and it is read twice a second.
        tell = log.debug if signal.is_flag else log.info
        tell("signal ignored", why=reply.value, kind=signal.kind.value, match=signal.uid, via=signal.via)
        return reply.value
    assert isinstance(reply, Noted)
    router.match_woken(namespace, reply.match_name, Wake.SIGNAL)
    if signal.kind is SignalKind.SUSPECT:
        router.match_suspected(namespace, reply.match_name)
    return "replay" if reply.replay else "noted"


def _same(entry: StreamEntry) -> tuple[str, ...]:
    """Signals for which this is equal ask for the same."""
    return tuple(entry.fields.get(name, "") for name in ("user", "type", "match", "by"))


def _kind(entry: StreamEntry) -> str:
    """The kind as a metric label: one of the known ones."""
    kind = entry.fields.get("type", "")
    return kind if kind in set(SignalKind) else "malformed"


def _parse(entry: StreamEntry) -> Signal | None:
    fields = entry.fields
    user, kind, uid = fields.get("user", ""), fields.get("type", ""), fields.get("match", "")
    if kind not in set(SignalKind) or not user:
        log.warning(
            "signal skipped",
            stream=entry.stream,
            entry=entry.id,
            why=f"type {kind!r} is none of {_KINDS}" if user else "it names no user",
        )
        return None
    sent_ms = None if uid else int(entry.id.partition("-")[0])
    return Signal(
        uid, user, SignalKind(kind), by=fields.get("by", ""), reason=fields.get("reason", "")[:256], sent_ms=sent_ms
    )
