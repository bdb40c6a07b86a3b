"""The questions to Redis, to LiveKit and to the webhook's Service. Each returns the key of a saying in `checks`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import aiohttp

from controller.clients.livekit import LiveKitClient
from controller.clients.livekit_tls import Certificates
from controller.clients.redis.client import Redis
from controller.clients.redis.server_info import ServerInfo
from controller.clients.request import LIMITS
from controller.doctor.findings import Answer, Scene, answer
from controller.errors import Backend, BackendError, Forbidden
from controller.settings.redis_source import RedisSource
from controller.telemetry.logs import also_blank

_CLOCK_SECONDS: Final = 30.0
_HTTP: Final = aiohttp.ClientTimeout(total=4.0)


async def settings(scene: Scene) -> Answer:
    """Whether the settings can be parsed; they were read before the checks began."""
    return scene.settings_answer


async def redis(scene: Scene) -> Answer:
    """Whether Redis answers, which it is, and what it keeps over a restart."""
    info = await _info(scene)
    if isinstance(info, Answer):
        return info
    if info.is_too_old:
        return answer("old", server=info.name)
    return answer("persistent" if info.has_append_only_file else "ok", server=info.name)


async def eviction(scene: Scene) -> Answer:
    """Whether Redis may drop keys when its memory is full, and whether it is soon."""
    info = await _info(scene)
    if isinstance(info, Answer):
        return answer("unasked" if scene.settings is None else "away")
    if not info.policy:
        return answer("unread")
    if info.evicts:
        return answer("evicts", policy=info.policy, limit=info.limit_text)
    if info.is_nearly_full:
        return answer("full", percent=info.percent_full, limit=info.limit_text)
    return answer("ok") if info.policy == "noeviction" else answer("unlimited", policy=info.policy)


async def _info(scene: Scene) -> ServerInfo | Answer:
    if scene.settings is None:
        return answer("unasked")
    client = Redis(RedisSource(scene.settings, also_blank))
    try:
        return ServerInfo(await client.info())
    except Forbidden as error:
        return answer("refused", why=error.message)
    except BackendError as error:
        return answer("away", why=error.message)
    finally:
        await client.close()


async def livekit(scene: Scene) -> Answer:
    """Whether LiveKit answers and accepts the API key."""
    if scene.settings is None:
        return answer("unasked")
    url = scene.settings.livekit_url
    try:
        rooms = await _livekit(scene).list_rooms()
    except BackendError as error:
        return answer("refused" if isinstance(error, Forbidden) else "away", url=url, why=error.message)
    return answer("ok", url=url, rooms=len(rooms))


async def livekit_clock(scene: Scene) -> Answer:
    """How far LiveKit's clock is from that of the API server, by which tokens are signed."""
    if scene.settings is None:
        return answer("unasked")
    await scene.kubernetes.read("/version")  # sets our clock by the API server's
    seconds = await _livekit(scene).checks.clock_ahead_seconds()
    if seconds is None:
        return answer("unknown")
    where = "ahead of" if seconds > 0 else "behind"
    return answer("ok" if abs(seconds) <= _CLOCK_SECONDS else "off", seconds=f"{abs(seconds):.0f}", where=where)


async def auto_create(scene: Scene) -> Answer:
    """Whether a participant can open a room: LiveKit tells whether it would let one into a room that does not exist."""
    if scene.settings is None:
        return answer("unasked")
    is_on = await _livekit(scene).checks.auto_create()
    if is_on is None:
        return answer("unknown", why="LiveKit does not answer, or not as expected")
    return answer("on" if is_on else "ok")


async def webhook(scene: Scene) -> Answer:
    """Whether something answers where LiveKit is to send its webhooks."""
    if not scene.webhook_url:
        return answer("unasked")
    try:
        async with scene.http.get(scene.webhook_url, timeout=_HTTP) as response:
            status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        return answer("away", url=scene.webhook_url, why=type(error).__name__)
    # The operator accepts nothing but POST there.
    return answer("ok" if status == 405 else "other", url=scene.webhook_url, status=status)


def _livekit(scene: Scene) -> LiveKitClient:
    settings = scene.settings
    assert settings is not None, "the caller looks for the settings first"
    secret = settings.livekit_api_secret.get_secret_value()
    return LiveKitClient(
        scene.http,
        settings.api_url,
        settings.livekit_api_key,
        secret,
        scene.clock,
        limits=replace(LIMITS[Backend.LIVEKIT], deadline_seconds=settings.livekit_timeout_seconds),
        certificates=Certificates(settings.livekit_tls()),
    )
