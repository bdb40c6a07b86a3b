"""One simulated person: a real WebRTC client in a process of its own (`python -m sandbox.person --url …`).

The first line on stdin is the token (on the command line every user of the machine could read it). Further lines are
commands: `leave` leaves the room, `rejoin` joins it again at once if the connection is lost, `drop` ends the process at
once. Events go to stdout, one JSON object per line. The parent's side is `people`.

The native part of the client library can panic at exit, so the process ends with os._exit. The error texts of the
library repeat the token, so they are redacted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from livekit import rtc

from sandbox import child

_SAMPLE_RATE = 48_000
_FRAME_SECONDS = 0.1
# Who leaves within about 20 ms of joining is not always heard (7 of 100 were not; after 0.3 s none of 100): LiveKit
# then takes the person for lost.
LEAST_STAY_SECONDS = 0.5
_TOKEN_LIKE = re.compile(r"[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|(?:access_token|token)=[^\s&\"')]+")
_STATUS = re.compile(r"\b([45]\d\d)\b")


def tell(event: str, **details: Any) -> None:
    """Write one event for the parent."""
    child.tell(event=event, at=time.time(), **details)


def redact(text: str, token: str) -> str:
    """An error text without the token, and without anything that looks like one."""
    return _TOKEN_LIKE.sub("[redacted]", text.replace(token, "[redacted]"))[:300]


def http_status(text: str) -> int | None:
    """The HTTP status in an error text; None if there is none."""
    match = _STATUS.search(text)
    return int(match[1]) if match else None


class Visit:
    """A person's way into one room, and back into it. `over` is set when the connection has ended for good."""

    def __init__(self, url: str, token: str, *, audio: bool) -> None:
        self._url = url
        self._token = token
        self._audio = audio
        self._feeding: asyncio.Task[None] | None = None
        self._is_away = False
        self._may_leave_at = 0.0
        self.over = asyncio.Event()
        self.room = self._new_room()

    async def join(self) -> None:
        """Connect and publish. Raises ConnectError."""
        await self.room.connect(self._url, self._token)
        self._may_leave_at = time.monotonic() + LEAST_STAY_SECONDS

    async def publish(self) -> None:
        """Publish a little audio, if the person has a microphone."""
        if self._audio:
            self.stop()
            self._feeding = await publish_silence(self.room)

    async def leave(self) -> None:
        """Leave the room properly."""
        await asyncio.sleep(self._may_leave_at - time.monotonic())
        await self.room.disconnect()

    async def rejoin(self) -> None:
        """Join again with the same token, and do not wait for the client's own next try; nothing while connected."""
        if not self._is_away:
            return
        tell("rejoining")
        before, self.room = self.room, self._new_room()
        # Two connections of one identity would take the place from each other.
        await before.disconnect()
        try:
            await self.join()
        except rtc.ConnectError as error:
            tell("failed", reason=redact(error.message, self._token), status=None)
            self.over.set()
            return
        self._is_away = False
        tell("rejoined")
        await self.publish()

    def stop(self) -> None:
        """Stop the microphone."""
        if self._feeding is not None:
            self._feeding.cancel()

    def _new_room(self) -> rtc.Room:
        """Return a room whose events go to the parent until another one takes its place."""
        room = rtc.Room()

        def on(name: Any, take: Callable[..., None]) -> None:
            def of_present_room(*details: Any) -> None:
                if room is self.room:
                    take(*details)

            room.on(name, of_present_room)

        on("disconnected", self._disconnected)
        on("reconnecting", partial(self._went, "reconnecting", is_away=True))
        on("reconnected", partial(self._went, "reconnected", is_away=False))
        on("participant_connected", lambda who: tell("participant_connected", identity=who.identity))
        on("participant_disconnected", lambda who: tell("participant_disconnected", identity=who.identity))
        on("track_subscribed", lambda _track, _publication, who: tell("track_subscribed", identity=who.identity))
        on("data_received", _data_received)
        on("room_metadata_changed", lambda _before, after: tell("room_metadata_changed", metadata=after))
        return room

    def _went(self, event: str, *, is_away: bool) -> None:
        self._is_away = is_away
        tell(event)

    def _disconnected(self, reason: Any) -> None:
        tell("disconnected", reason=rtc.DisconnectReason.Name(reason))
        # When the person leaves by command, `obey` ends the process.
        if reason != rtc.DisconnectReason.CLIENT_INITIATED:
            self.over.set()


def _data_received(packet: rtc.DataPacket) -> None:
    sender = packet.participant.identity if packet.participant else None
    tell("data", topic=packet.topic, text=packet.data.decode(errors="replace"), sender=sender)


async def publish_silence(room: rtc.Room) -> asyncio.Task[None]:
    """Publish a small audio track, so that there is media. The returned task feeds it."""
    source = rtc.AudioSource(_SAMPLE_RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("voice", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    await room.local_participant.publish_track(track, options)
    samples = int(_SAMPLE_RATE * _FRAME_SECONDS)

    async def feed() -> None:
        while True:
            await source.capture_frame(rtc.AudioFrame.create(_SAMPLE_RATE, 1, samples))
            await asyncio.sleep(_FRAME_SECONDS)

    return asyncio.create_task(feed())


async def obey(visit: Visit, commands: AsyncIterator[str]) -> None:
    """Follow the commands until the person leaves. The end of the parent has the effect of a cut cable."""
    async for command in commands:
        match command.strip():
            case "leave":
                await visit.leave()
                tell("left")
                return
            case "rejoin":
                await visit.rejoin()
            case "drop":
                break
            case unknown:
                tell("unknown_command", command=unknown)
    os.kill(os.getpid(), signal.SIGKILL)


async def live(url: str, audio: bool) -> int:
    """Join, publish and follow the commands; returns the exit status."""
    commands = child.lines()
    token = (await anext(commands, "")).strip()
    visit = Visit(url, token, audio=audio)
    began = time.monotonic()
    try:
        await visit.join()
    except rtc.ConnectError as error:
        tell("failed", reason=redact(error.message, token), status=http_status(redact(error.message, token)))
        return 1
    room = visit.room
    others = sorted(participant.identity for participant in room.remote_participants.values())
    tell(
        "connected",
        room=room.name,
        identity=room.local_participant.identity,
        sid=room.local_participant.sid,
        others=others,
        seconds=round(time.monotonic() - began, 4),
    )
    await visit.publish()
    if audio:
        tell("published")
    obeying = asyncio.create_task(obey(visit, commands))
    ending = asyncio.create_task(visit.over.wait())
    await asyncio.wait({obeying, ending}, return_when=asyncio.FIRST_COMPLETED)
    visit.stop()
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.person", description="a simulated person")
    parser.add_argument("--url", required=True, help="LiveKit's address: ws://HOST:PORT")
    parser.add_argument("--no-audio", action="store_true", help="join without publishing anything")
    arguments = parser.parse_args()
    status = asyncio.run(live(arguments.url, audio=not arguments.no_audio))
    os._exit(status)


if __name__ == "__main__":
    main()
