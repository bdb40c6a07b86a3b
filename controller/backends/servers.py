"""The LiveKit servers that rooms are placed on, each with its own client, its own view and its own failure."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.clients.livekit import LiveKitClient
from controller.facts.match import ServerFacts
from controller.views.livekit import LiveKitView


@dataclass(frozen=True, slots=True)
class Server:
    """One LiveKit server: how it is called, where people connect, how it is asked, and what is known of it."""

    name: str
    public_url: str
    api_key: str
    api_secret: str = field(repr=False)
    client: LiveKitClient
    view: LiveKitView

    def facts(self) -> ServerFacts:
        """What planners are told of it."""
        view = self.view
        return ServerFacts(self.name, self.public_url, view.failure, view.answers_since, view.silent_since)
