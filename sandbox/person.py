"""One simulated person: a real WebRTC client in a process of its own (`python -m sandbox.person --url …`).

The first line on stdin is the token (on the command line every user of the machine could read it). Further lines are
commands: `leave` leaves the room, `drop` ends the process at once. Events go to stdout, one JSON object per line. The
parent's side is `people`.

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
from collections.abc import AsyncIterator
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


def watch(room: rtc.Room) -> asyncio.Event:
    """Write the room's events for the parent. The returned event is set when the connection ends."""
    over = asyncio.Event()

    def disconnected(reason: Any) -> None:
        tell("disconnected", reason=rtc.DisconnectReason.Name(reason))
        # When the person leaves by command, `obey` ends the process.
        if reason != rtc.DisconnectReason.CLIENT_INITIATED:
            over.set()

    def participant_event(name: str) -> Any:
        return lambda participant: tell(name, identity=participant.identity)

    def data_received(packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else None
        tell("data", topic=packet.topic, text=packet.data.decode(errors="replace"), sender=sender)

    room.on("disconnected", disconnected)
    room.on("participant_connected", participant_event("participant_connected"))
    room.on("participant_disconnected", participant_event("participant_disconnected"))
    room.on("track_subscribed", lambda _track, _publication, who: tell("track_subscribed", identity=who.identity))
    room.on("data_received", data_received)
    room.on("reconnecting", lambda: tell("reconnecting"))
    room.on("reconnected", lambda: tell("reconnected"))
    return over


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


async def obey(room: rtc.Room, commands: AsyncIterator[str]) -> None:
    """Follow the commands until the person leaves. The end of the parent has the effect of a cut cable."""
    may_leave_at = time.monotonic() + LEAST_STAY_SECONDS
    async for command in commands:
        match command.strip():
            case "leave":
                await asyncio.sleep(may_leave_at - time.monotonic())
                await room.disconnect()
                tell("left")
                return
            case "drop":
                break
            case unknown:
                tell("unknown_command", command=unknown)
    os.kill(os.getpid(), signal.SIGKILL)


async def live(url: str, audio: bool) -> int:
    """Join, publish and follow the commands; returns the exit status."""
    commands = child.lines()
    token = (await anext(commands, "")).strip()
    room = rtc.Room()
    over = watch(room)
    began = time.monotonic()
    try:
        await room.connect(url, token)
    except rtc.ConnectError as error:
        tell("failed", reason=redact(error.message, token), status=http_status(redact(error.message, token)))
        return 1
    others = sorted(participant.identity for participant in room.remote_participants.values())
    tell(
        "connected",
        room=room.name,
        identity=room.local_participant.identity,
        sid=room.local_participant.sid,
        others=others,
        seconds=round(time.monotonic() - began, 4),
    )
    if audio:
        feeding = await publish_silence(room)
        tell("published")
    obeying = asyncio.create_task(obey(room, commands))
    ending = asyncio.create_task(over.wait())
    await asyncio.wait({obeying, ending}, return_when=asyncio.FIRST_COMPLETED)
    if audio:
        feeding.cancel()
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
