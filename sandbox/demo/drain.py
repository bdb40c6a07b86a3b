"""The part of the story in which a LiveKit server is drained while alice and bob have a call on it.

It begins and ends with both in the queue. Neighbor: `story` has the steps that lead to the call.
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from controller.api.livekitserver import DEFAULT_SERVER
from controller.api.names import API_VERSION, DRAIN_TOPIC
from sandbox.demo.checks import StepFailed, require
from sandbox.demo.story import Step, Story, Verified
from sandbox.endpoints import OPERATOR_NAMESPACE

_MESSAGE = "We move to another server."
_SERVER = ("--namespace", OPERATOR_NAMESPACE)


@dataclass
class DrainStory:
    """The steps in order."""

    story: Story

    def steps(self) -> tuple[Step, ...]:
        """All steps, each with its title."""
        return (
            ("one more call", self.story.apply_match),
            ("both are in it", self.story.join),
            ("its LiveKit server is drained", self.drain),
            ("the server is in service again", self.undo),
            ("the drained match is deleted", self.story.delete_ended),
        )

    async def drain(self) -> Verified:
        """Replace the server of the settings by an object with a drain, as an administrator would."""
        world, mark = self.story.world, self.story.world.matches.mark
        server = {
            "apiVersion": API_VERSION,
            "kind": "LiveKitServer",
            "metadata": {"name": DEFAULT_SERVER},
            "spec": {
                "url": world.endpoints.livekit_http_url,
                "publicUrl": world.endpoints.livekit_url,
                "drain": {"type": "emergency", "message": _MESSAGE},
            },
        }
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "server.json"
            file.write_text(json.dumps(server), encoding="utf-8")
            await world.kubectl("apply", *_SERVER, "-f", str(file))
        ended = await self.story.ended_as("Drained", mark)
        waiting = await self.story.all_waiting()
        for person in self.story.people.values():
            try:
                message = await person.wait_for("data", topic=DRAIN_TOPIC)
            except (RuntimeError, TimeoutError) as error:
                raise StepFailed(
                    f"{person.identity} to receive LiveKit's message about the drain", str(error)
                ) from error
            told = json.loads(message["text"])
            require(told["message"] == _MESSAGE, f"{person.identity} to receive the message of the drain", told)
        await self.story.people_were_disconnected()
        await world.kubectl("wait", *_SERVER, "--for=condition=Drained", f"lks/{DEFAULT_SERVER}", "--timeout=20s")
        listed = await world.kubectl("get", *_SERVER, "lks")
        shown = (f"$ kubectl get lks\n{listed}", f'People      both were told: "{_MESSAGE}"')
        return Verified("both told, WAITING again", max(ended, waiting) - began, shown)

    async def undo(self) -> Verified:
        """Delete the object: the server of the settings counts again."""
        for user_id in self.story.people:
            await self.story.world.enqueue(user_id)  # a gateway beats meanwhile: both are still there
        began = time.monotonic()
        await self.story.world.kubectl("delete", *_SERVER, f"lks/{DEFAULT_SERVER}")
        return Verified("takes rooms again", time.monotonic() - began)
