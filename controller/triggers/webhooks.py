"""LiveKit's webhooks: verified, written to Redis, answered, and only then acted upon.

The signature is verified before the body is read; then the body is bounded in size and time, and so is the number of
bodies that are read at once. LiveKit retries 5xx and refused connections, and counts every other 4xx as delivered. So
an error that may pass gets a 5xx, and only a request that can never become valid gets a 4xx. Webhooks are lossy hints:
the ledger (`witness` script) handles duplicates and order, the poller handles losses. A Room message holds
`turn_password`, so only the fields that are named here are read from it. Neighbors: `triggers.webhook_signature`
verifies, `triggers.refusals` counts and logs, `app.endpoints` mounts the handler, `triggers.router` wakes the keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable

import structlog
from aiohttp import ClientError, web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from controller.clients.redis.pool import Pool
from controller.clients.redis.requests import Witnessed
from controller.clock import Clock
from controller.errors import BackendError
from controller.facts.livekit import Mark, parse_mark
from controller.facts.time import milliseconds
from controller.loop.wakes import Wake
from controller.telemetry import metrics, tracing
from controller.triggers.refusals import Refusals
from controller.triggers.router import Router, is_news
from controller.triggers.webhook_signature import Signature, Signers, WebhookRefused, verified

log = structlog.get_logger(__name__)

PATH = "/livekit/webhook"
_ABORTED = "participant_connection_aborted"
MAX_BODY_BYTES = 256 * 1024
READ_SECONDS = 5.0
BODIES_AT_ONCE = 32


class _Message(BaseModel):
    """protojson: camelCase, zero values left out, 64-bit numbers as strings. Fields without a name here are dropped."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class RoomInEvent(_Message):
    """The room, without its `turnPassword`."""

    name: str = ""
    sid: str = ""
    metadata: str = ""


class PersonInEvent(_Message):
    """The participant of an event about one."""

    identity: str = ""
    sid: str = ""
    disconnect_reason: str = ""
    joined_at: int = 0
    joined_at_ms: int = 0


class Event(_Message):
    """The fields of a webhook that Roomkeeper uses."""

    event: str
    id: str = ""
    created_at: int = 0
    room: RoomInEvent = RoomInEvent()
    participant: PersonInEvent = PersonInEvent()


class WebhookHandler:
    """The endpoint. Any replica may get a webhook; Redis carries it to the owner of the shard."""

    def __init__(
        self,
        signers: Callable[[], Signers],
        pool_of: Callable[[str], Pool],
        router: Router,
        clock: Clock,
        replica: str,
        refusals: Refusals,
        *,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._signers = signers
        self._pool_of = pool_of
        self._router = router
        self._clock = clock
        self._replica = replica
        self._refusals = refusals
        self._read_seconds = read_seconds
        self._reading = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one POST."""
        try:
            authorization = request.headers.get("Authorization", "")
            signature = verified(authorization, self._signers(), self._clock.now().timestamp())
            event = _parse(await self._read(request), signature.body_hash)
            self._require_server(event.room.name, signature)
        except WebhookRefused as refused:
            return self._refuse(request, refused)
        mark = parse_mark(event.room.metadata)
        if mark is None or not self._router.knows(mark):
            metrics.webhooks.labels("foreign", "").inc()
            return _accepted()
        server = self._server_of(event.room.name, signature)
        try:
            if is_news(event.event):
                await self._witness(event, mark)
        except BackendError as error:
            metrics.webhooks.labels("unavailable", server).inc()
            tell = log.debug if error.is_told else log.warning
            tell("webhook could not be written to Redis; LiveKit will send it again", error=str(error))
            return web.Response(status=503, text="cannot be stored at the moment\n")
        metrics.webhooks.labels(metrics.ACCEPTED, server).inc()
        if event.event == _ABORTED:
            metrics.connections_aborted.labels(server).inc()
        metrics.webhook_came.set(self._clock.now().timestamp())
        self._router.webhook_came(event.room.name, event.event, Wake.WEBHOOK)
        return _accepted()

    async def _witness(self, event: Event, mark: Mark) -> None:
        """Write the event into Redis."""
        seen = _witnessed(event, mark, self._clock, self._replica)
        if not tracing.is_on():
            await self._pool_of(mark.namespace).witness(seen)
            return
        attributes = {
            "k8s.namespace.name": mark.namespace,
            "roomkeeper.name": mark.name,
            "roomkeeper.livekit.event": event.event,
            "roomkeeper.livekit.room": event.room.name,
        }
        with tracing.working(tracing.Work(mark.root_uid, f"webhook {event.event}", attributes, is_server=True)):
            await self._pool_of(mark.namespace).witness(seen)

    def _server_of(self, room: str, signature: Signature) -> str:
        """The name of the LiveKit server that has the room; empty if several may have it."""
        return self._router.place_of(room) or (next(iter(signature.servers)) if len(signature.servers) == 1 else "")

    def _require_server(self, room: str, signature: Signature) -> None:
        """Raise WebhookRefused if another server has the room. A room that moves may be on another one in a moment."""
        place = self._router.place_of(room)
        if place and place not in signature.servers:
            signed = " and ".join(sorted(signature.servers))
            why = f"the webhook is signed with the key of LiveKit server {signed}, and its room is on {place}"
            raise WebhookRefused(503, "other-server", why)

    async def refuse_wrong_urls(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Serve a request; count and log one for another path or by another method than the webhook's."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            why = f"LiveKit's webhook is {PATH}; correct webhook.urls in LiveKit's configuration"
            return self._refuse(request, WebhookRefused(404, "wrong-path", why))
        except web.HTTPMethodNotAllowed:
            return self._refuse(request, WebhookRefused(405, "wrong-method", "a webhook is a POST"))

    async def _read(self, request: web.Request) -> bytes:
        """The body. Raises WebhookRefused for one that is too large, too slow, encoded, or one too many."""
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise WebhookRefused(415, "encoded", "the body is encoded; LiveKit sends it as it is")
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise _too_large()
        if self._reading >= BODIES_AT_ONCE:
            raise WebhookRefused(503, "busy", "too many webhooks at once; send it again")
        self._reading += 1
        try:
            async with asyncio.timeout(self._read_seconds):
                return await _bounded(request)
        except TimeoutError:
            why = f"the body did not come within {self._read_seconds:g} s; send it again"
            raise WebhookRefused(503, "slow", why) from None
        except (ClientError, OSError):
            raise WebhookRefused(400, "broken", "the connection was lost in the middle of the body") from None
        finally:
            self._reading -= 1

    def _refuse(self, request: web.Request, refused: WebhookRefused) -> web.Response:
        self._refusals.refused(refused.code, str(refused), request.remote, path=request.path[:80])
        response = web.Response(status=refused.status, text=f"{refused}\n")
        if refused.status == 503:
            response.headers["Retry-After"] = "1"
        if request.can_read_body:
            response.force_close()  # the rest of the body is not waited for
        return response


def add_webhooks(app: web.Application, webhooks: WebhookHandler) -> None:
    """Mount the endpoint, with and without a slash at its end. All other paths are counted."""

    @web.middleware
    async def refuse_wrong_urls(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await webhooks.refuse_wrong_urls(request, handler)

    app.middlewares.append(refuse_wrong_urls)
    app.router.add_post(PATH, webhooks.handle)
    app.router.add_post(f"{PATH}/", webhooks.handle)


def _accepted() -> web.Response:
    """An answer without a body. LiveKit does not read one, and Go closes a connection on which something is unread."""
    return web.Response()


async def _bounded(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
    return bytes(body)


def _too_large() -> WebhookRefused:
    return WebhookRefused(413, "too-large", f"the body is larger than {MAX_BODY_BYTES} bytes; no webhook of LiveKit is")


def _parse(body: bytes, signed: bytes) -> Event:
    if not hmac.compare_digest(signed, hashlib.sha256(body).digest()):
        raise WebhookRefused(401, "altered", "the body is not the one that was signed")
    try:
        return Event.model_validate_json(body)
    except ValidationError:
        raise WebhookRefused(400, "malformed", "the body is signed and is no webhook event") from None


def _witnessed(event: Event, mark: Mark, clock: Clock, replica: str) -> Witnessed:
    person = event.participant
    at_ms = _event_time_ms(event.created_at, milliseconds(clock.now()))
    entry = {
        "id": event.id,
        "event": event.event,
        "room": event.room.name,
        "roomSid": event.room.sid,
        "roomUID": mark.room_uid,
        "match": mark.root_uid,
        "identity": person.identity,
        "participantSid": person.sid,
        "reason": person.disconnect_reason,
        "at": str(at_ms),
        "replica": replica,
    }
    return Witnessed(
        event=event.event,
        entry=tuple((name, value) for name, value in entry.items() if value),
        match_uid=mark.root_uid if mark.root_uid != mark.room_uid else "",
        identity=person.identity if event.event.startswith("participant_") else "",
        sid=person.sid,
        reason=person.disconnect_reason,
        at_ms=at_ms,
        joined_at_ms=person.joined_at_ms or person.joined_at * 1000,
    )


def _event_time_ms(created_at_seconds: int, received_at_ms: int) -> int:
    """LiveKit cuts `createdAt` to the second: the event was within that second, and before we heard of it."""
    return min(received_at_ms, created_at_seconds * 1000 + 999) if created_at_seconds else received_at_ms
