"""Whether the users of a Match have to be told that the room, which LiveKit had lost, is there again. Pure.

A room that is made again has another id on LiveKit. The status of the Match has the id that its users know of, and the
ledger the latest one that they were told about: so a restart changes nothing, and users are told once. Neighbors:
`plan.match` tells them, `status.match_view` shows the new id afterwards.
"""

from __future__ import annotations

from controller.facts.observation import Present
from controller.rules.match_look import MatchLook


def untold_room(look: MatchLook) -> str:
    """The id of a room that was made again, and that the users were not told about yet; empty if there is none."""
    known, room, ledger = look.match.status.room, look.livekit_room, look.ledger
    if known is None or known.sid is None or room is None or room.sid == known.sid:
        return ""
    if look.match.status.ready_at is None:
        return ""  # no user has been called yet
    return "" if ledger is not None and ledger.rejoined == room.sid else room.sid


def room_to_rejoin(look: MatchLook) -> str:
    """The same, once it is known who is in the room."""
    is_known = isinstance(look.seen.people, Present)
    return untold_room(look) if is_known and look.ledger is not None else ""
