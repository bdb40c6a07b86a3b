"""The simulated people of one test. The test makes them when it needs them; its end stops all of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import Self

from livekit import api

from sandbox.endpoints import Endpoints
from sandbox.people import Person
from tests.support.waiting import patience


class People:
    """Makes persons; leaving the block ends them all."""

    def __init__(self, where: Endpoints) -> None:
        self._where = where
        self._all: list[Person] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(person.stop() for person in self._all))

    def __call__(self, identity: str, token: str, url: str = "") -> Person:
        """Return a person who has a token and has not joined yet."""
        person = Person(url or self._where.livekit_url, token, identity=identity, patience_seconds=patience())
        self._all.append(person)
        return person

    def uninvited(self, identity: str, room: str, *, hidden: bool = False) -> Person:
        """Return a person with a valid token for `room` that Roomkeeper did not make.

        One who is `hidden` is not seen by the others in the room, as a moderator.
        """
        token = api.AccessToken(self._where.livekit_api_key, self._where.livekit_api_secret)
        token.with_identity(identity).with_grants(api.VideoGrants(room_join=True, room=room, hidden=hidden))
        return self(identity, token.with_ttl(timedelta(minutes=5)).to_jwt())
