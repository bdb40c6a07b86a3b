"""The LiveKit servers on which rooms are placed, each with its own client and view."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.clients.livekit import LiveKitClient
from controller.facts.match import ServerFacts
from controller.views.livekit import LiveKitView


@dataclass(frozen=True, slots=True)
class Server:
    """One LiveKit server: its name, its address for participants, its client, and the view of its rooms."""

    name: str
    public_url: str
    api_key: str
    api_secret: str = field(repr=False)
    client: LiveKitClient
    view: LiveKitView

    def facts(self) -> ServerFacts:
        """The facts about this server that planners use."""
        view = self.view
        return ServerFacts(self.name, self.public_url, view.failure, view.answers_since, view.silent_since)
