"""Traces: what was done for one Match, and every request to a backend that this took. Off unless it is switched on.

The trace of a Match is called by its UID, so no id has to be kept or passed on. A piece of work (a reconcile or a
webhook) is a span, begun with its first request, so work that asks no backend leaves nothing. Requests outside of any
work, those of readers that look at all calls at once, leave no span. This module knows no library: `telemetry.otel`
does, and is imported only when tracing is on. Off, a request costs one comparison. What the library raises ends here:
it costs a span, the log says it once, and the work goes on. A span says of a failure its code alone: the sentences of
backends may quote users. Neighbors: `loop.reconcile` and `triggers.webhooks` begin work, `clients.request` measures
requests, `announce.match_end` ends a Match.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Protocol, TypeAlias

import structlog

from controller.telemetry.trace_ids import trace_id

log = structlog.get_logger(__name__)

Attributes: TypeAlias = Mapping[str, str | int | float]

_TRACEPARENT: Final = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Link:
    """The span of a matchmaker that a Match came from, as its annotation says."""

    trace: str
    span: str
    flags: int


def link_of(traceparent: str) -> Link | None:
    """The link that a W3C `traceparent` names; None if it makes no sense."""
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    return Link(found[1], found[2], int(found[3], 16)) if found is not None else None


@dataclass(frozen=True, slots=True)
class Work:
    """What a span says of a piece of work about the Match `uid`."""

    uid: str
    name: str
    attributes: Attributes = field(default_factory=dict)
    link: Link | None = None
    is_server: bool = False


@dataclass(frozen=True, slots=True)
class MatchSpan:
    """A whole Match, from its creation to its end. `steps` are its phases and when each began."""

    uid: str
    began_at: datetime
    ended_at: datetime
    attributes: Attributes
    steps: Sequence[tuple[str, datetime]]
    error: str = ""
    link: Link | None = None


class Span(Protocol):
    """A request that is under way."""

    def note(self, attributes: Attributes, name: str = "") -> None:
        """Say more about it, and give it a better name."""

    def end(self, error: str = "") -> None:
        """It is over; `error` is the code of what failed. Its first end counts."""


class Doing(Protocol):
    """A piece of work that is under way. `is_sampled`: its trace is kept."""

    @property
    def is_sampled(self) -> bool:
        """Whether spans are made."""

    def request(self, backend: str, operation: str, address: str) -> Span | None:
        """Begin the span of a request, as a child of that of the work."""

    def end(self, error: str = "") -> None:
        """The work is over."""


class Tracing(Protocol):
    """What makes spans and sends them."""

    def begin(self, work: Work) -> Doing:
        """Begin a piece of work."""

    def match_over(self, match: MatchSpan) -> None:
        """Send the span of a whole Match: the parent of all others in its trace."""


class _Guard:
    """A block that calls the library: what it raises is told once, and costs the work that goes on nothing."""

    def __init__(self) -> None:
        self._is_told = False

    def __enter__(self) -> None:
        """Nothing is to be prepared."""

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        if not self._is_told:
            self._is_told = True
            log.warning(
                "spans are lost by a fault of tracing; calls go on without them, and this is said once",
                why=f"{type(error).__name__}: {error}",
            )
        return True


_active: Tracing | None = None
_guard = _Guard()
_doing: ContextVar[Doing | None] = ContextVar("doing", default=None)
_request: ContextVar[Span | None] = ContextVar("request", default=None)


def switch_on(tracing: Tracing | None) -> None:
    """Make spans from now on; with None no longer."""
    global _active, _guard
    _active, _guard = tracing, _Guard()


def is_on() -> bool:
    """Whether spans are made."""
    return _active is not None


@contextlib.contextmanager
def working(work: Work) -> Iterator[None]:
    """The block, and the tasks that it starts, work on this. Ask `is_on` first: making `Work` is not for nothing."""
    doing: Doing | None = None
    if _active is not None:
        with _guard:
            doing = _active.begin(work)
    if doing is None:
        yield
        return
    token = _doing.set(doing)
    try:
        yield
    except BaseException as error:
        with _guard:
            doing.end(type(error).__name__)
        raise
    else:
        with _guard:
            doing.end()
    finally:
        _doing.reset(token)


def failed_with(code: str) -> None:
    """The work that is under way did not get to its end."""
    if (doing := _doing.get()) is not None:
        with _guard:
            doing.end(code)


@contextlib.contextmanager
def requesting(backend: str, operation: str, address: str) -> Iterator[None]:
    """The block sends a request to a backend. If it raises, its type is the code, unless `request_failed` said one."""
    span: Span | None = None
    if (doing := _doing.get()) is not None:
        with _guard:
            span = doing.request(backend, operation, address)
    if span is None:
        yield
        return
    token = _request.set(span)
    try:
        yield
    except BaseException as error:
        with _guard:
            span.end(type(error).__name__)
        raise
    else:
        with _guard:
            span.end()
    finally:
        _request.reset(token)


def request_failed(code: str) -> None:
    """The request that is under way failed."""
    if (span := _request.get()) is not None:
        with _guard:
            span.end(code)


def note(attributes: Attributes, name: str = "") -> None:
    """Say more about the request that is under way, if a span is made of it."""
    if (span := _request.get()) is not None:
        with _guard:
            span.note(attributes, name)


def match_over(match: MatchSpan) -> None:
    """A Match is over."""
    if _active is not None:
        with _guard:
            _active.match_over(match)


def flag() -> str:
    """Whether the trace of the work that is under way is kept: `1` or `0`; empty if no trace is made."""
    if _active is None or (doing := _doing.get()) is None:
        return ""
    with _guard:
        return "1" if doing.is_sampled else "0"
    return ""


def root_span_id(uid: str) -> str:
    """The span of the whole Match, in 16 digits: it follows from the UID, so that children need not wait for it."""
    return trace_id(uid)[16:]
