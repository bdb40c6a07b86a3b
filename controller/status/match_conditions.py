"""The conditions of a Match: per aspect whether it holds, the reason in a word, a sentence for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from controller.facts.observation import Present, Unknown
from controller.rules.deadlines import windows
from controller.status.conditions import Verdict, false, true
from controller.status.match_view import MatchView


def match_conditions(view: MatchView) -> Iterator[Verdict]:
    cause, seen = view.cause, view.seen
    if cause is not None and cause.code.startswith("User"):
        yield false("Accepted", cause.code, cause.message)
    elif view.claimed:
        names = " and ".join(view.match.spec.identities)
        yield true("Accepted", "UsersClaimed", f"{names} are held by this Match")
    else:
        yield false("Accepted", *not_claimed(view))
    yield _room_ready(view)
    yield _tokens_issued(view)
    yield _ready(view)
    yield _connected(view)
    trouble = seen.server.trouble or (seen.ledger.why if isinstance(seen.ledger, Unknown) else "")
    if trouble:
        yield true("Degraded", "BackendUnreachable", f"{trouble}; nothing is decided until it answers")
    else:
        yield false("Degraded", "AllBackendsAnswer", "Kubernetes, LiveKit and Redis answer")
    if view.finished and cause is not None:
        yield true("Finished", cause.reason.value, cause.message)
    else:
        yield false("Finished", "InProgress", "the Match is not over")


def _dropped_out(view: MatchView, missing: str) -> str:
    """Who is missing, by which witness, and until when they are waited for."""
    evidence = "; ".join(f"{p.evidence}: {p.detail or 'left'}" for p in view.missing)
    timeouts = view.match.spec.timeouts
    deadlines = windows(timeouts, view.participants, view.noticed, view.ledger, view.seen.server)
    until = min(deadlines.values(), default=None)
    wait = f"; the match ends at {until:%H:%M:%S} UTC unless {missing} is back" if until is not None else ""
    return f"{missing} dropped out ({evidence}){wait}"


def not_claimed(view: MatchView) -> tuple[str, str]:
    refusal = view.seen.refusal
    if refusal is not None:
        return (
            refusal.code,
            f"{refusal.identity} is still in match {refusal.holder}, which is ending; waiting for it",
        )
    if view.error is not None:
        return "NotClaimed", view.error.message
    return "NotClaimed", "the users are not claimed yet"


def _room_ready(view: MatchView) -> Verdict:
    room = view.room
    if view.cause is not None:
        told = "the Match is ending; its room is closed" if room is not None else "no room was made"
        return false("RoomReady", view.cause.code, told)
    if room is None:
        return false("RoomReady", "NoRoom", "there is no Room yet")
    if isinstance(view.seen.livekit_room, Present):
        return true("RoomReady", "RoomCreated", f"room {room.livekit_name} is on {room.server}")
    why = view.seen.server.trouble or f"LiveKit does not have room {room.livekit_name} yet"
    return false("RoomReady", "RoomMissing", why)


def _tokens_issued(view: MatchView) -> Verdict:
    delivery = view.match.spec.tokens.delivery
    if view.cause is not None:
        told = "the Match is ending; its tokens are taken away" if view.room is not None else "no tokens were issued"
        return false("TokensIssued", view.cause.code, told)
    if not (delivery.to_secret or delivery.to_redis):
        return true("TokensIssued", "NotWanted", "tokens.delivery is None: the application makes its own")
    if view.tokens is None:
        return false("TokensIssued", "NotIssued", "no tokens are issued yet")
    return true("TokensIssued", "TokensDelivered", f"tokens are {_where(view)}")


def _where(view: MatchView) -> str:
    delivery = view.match.spec.tokens.delivery
    places = []
    if delivery.to_secret and view.tokens is not None:
        places.append(f"in secret {view.tokens.secret_name}")
    if delivery.to_redis:
        places.append(f"in Redis under tokens:{view.match.metadata.uid}")
    return " and ".join(places)


def _ready(view: MatchView) -> Verdict:
    if view.cause is not None:
        return false("Ready", view.cause.code, view.cause.message)
    if view.ready and view.room is not None:
        return true("Ready", "TokensDelivered", f"room {view.room.name} on {view.room.server}, tokens as asked")
    if view.ready_at is not None and not isinstance(view.seen.livekit_room, Present):
        return false("Ready", "RoomMissing", "the room was lost; it is being restored")
    if view.ready_at is not None:
        return false("Ready", "TokensDue", "the room is there; its tokens are being issued anew")
    return false("Ready", "NotReady", "room and tokens are being made")


def _connected(view: MatchView) -> Verdict:
    if view.cause is not None:
        told = "the call is over" if view.connected_at is not None else "the two have not met"
        return false("Connected", view.cause.code, told)
    if view.ready_at is not None and view.all_in:
        return true("Connected", "BothConnected", f"{' and '.join(view.match.spec.identities)} are in the room")
    missing = " and ".join(person.identity for person in view.missing) or "nobody"
    if view.connected_at is not None:
        return false("Connected", view.column_reason or "Left", _dropped_out(view, missing))
    return false("Connected", "WaitingForPeople", f"waiting for {missing}")
