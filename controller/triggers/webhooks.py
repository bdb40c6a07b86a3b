"""LiveKit's webhooks: verified over the raw body, written to Redis, answered, and only then acted upon.

LiveKit retries 5xx and refused connections, and counts every other 4xx as delivered. So an error that may pass gets a
5xx, and only a request that can never become valid gets a 4xx. Webhooks are lossy hints: the ledger (`witness` script)
handles duplicates and order, the poller handles losses. A Room message holds `turn_password`, so only the fields that
are named here are read from it. Neighbors: `app.endpoints` mounts the handler, `triggers.router` wakes the keys.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import jwt
import orjson
import structlog
from aiohttp import web
from jwt.types import Options
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from controller.backends.pools import Pools
from controller.clients.redis.requests import Witnessed
from controller.clock import Clock
from controller.errors import BackendError
from controller.facts.livekit import Mark, parse_mark
from controller.facts.time import milliseconds
from controller.loop.wakes import Wake
from controller.telemetry import metrics
from controller.triggers.router import Router

log = structlog.get_logger(__name__)

PATH = "/livekit/webhook"
MAX_BODY_BYTES = 256 * 1024
_LEEWAY_SECONDS = 60
# Our own clock decides whether a token is valid: the library would ask the machine's, which may be wrong.
_OPTIONS: Options = {"require": ["exp", "iss"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}


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


class WebhookRefused(Exception):
    """The request is not LiveKit's: `why` is said to the caller and in the log, and holds nothing of the token."""

    def __init__(self, status: int, code: str, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.code = code


class WebhookHandler:
    """The endpoint. Any replica may get a webhook; Redis carries it to the owner of the shard."""

    def __init__(self, secrets: Mapping[str, str], pools: Pools, router: Router, clock: Clock, replica: str) -> None:
        self._secrets = secrets
        self._pools = pools
        self._router = router
        self._clock = clock
        self._replica = replica

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one POST."""
        try:
            body = await _read(request)
            self._verify(request.headers.get("Authorization", ""), body)
            event = _parse(body)
        except WebhookRefused as refused:
            metrics.webhooks.labels(refused.code).inc()
            log.warning("webhook refused", code=refused.code, why=str(refused), peer=request.remote)
            return web.Response(status=refused.status, text=f"{refused}\n")
        mark = parse_mark(event.room.metadata)
        if mark is None or not self._router.knows(mark):
            metrics.webhooks.labels("foreign").inc()
            return web.Response(text="not a room of this cluster\n")
        try:
            await self._pools.unbound(mark.namespace).witness(_witnessed(event, mark, self._clock, self._replica))
        except BackendError as error:
            metrics.webhooks.labels("unavailable").inc()
            log.warning("webhook could not be written to Redis; LiveKit will send it again", error=str(error))
            return web.Response(status=503, text="cannot be stored at the moment\n")
        metrics.webhooks.labels("accepted").inc()
        self._router.webhook_came(event.room.name, event.event, Wake.WEBHOOK)
        return web.Response(text="ok\n")

    def _verify(self, authorization: str, body: bytes) -> None:
        token = authorization.removeprefix("Bearer ").strip()
        if not token:
            raise WebhookRefused(401, "unsigned", "the Authorization header is missing; LiveKit signs every webhook")
        claims = self._claims(token)
        _require_timely(claims, self._clock.now().timestamp())
        expected = str(claims.get("sha256", ""))
        try:
            stated = base64.b64decode(expected, validate=True)
        except (binascii.Error, ValueError):
            stated = b""
        if not hmac.compare_digest(stated, hashlib.sha256(body).digest()):
            raise WebhookRefused(401, "altered", "the body is not the one that was signed")

    def _claims(self, token: str) -> dict[str, object]:
        try:
            secret = self._secrets[self._issuer(token)]
            claims: dict[str, object] = jwt.decode(token, secret, algorithms=["HS256"], options=_OPTIONS)
        except KeyError:
            raise WebhookRefused(401, "unknown-key", "the webhook is signed with an API key that is not ours") from None
        except jwt.InvalidSignatureError:
            raise WebhookRefused(401, "bad-signature", "the signature does not fit our API secret") from None
        except jwt.PyJWTError as error:
            raise WebhookRefused(
                401, "bad-token", f"the Authorization header holds no valid token ({type(error).__name__})"
            ) from None
        return claims

    @staticmethod
    def _issuer(token: str) -> str:
        """Which API key claims to have signed; believed only once the signature fits that key's secret."""
        payload = token.split(".")[1] if token.count(".") == 2 else ""
        try:
            claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            return str(claims["iss"])
        except (binascii.Error, ValueError, KeyError, TypeError):
            raise jwt.DecodeError("no readable claims") from None


def add_webhooks(app: web.Application, handler: WebhookHandler) -> None:
    """Mount the endpoint."""
    app.router.add_post(PATH, handler.handle)


def _require_timely(claims: Mapping[str, object], now_seconds: float) -> None:
    try:
        expires, begins = float(str(claims["exp"])), float(str(claims.get("nbf", 0)))
    except ValueError:
        raise WebhookRefused(401, "bad-token", "the times of the token are no numbers") from None
    # Written so that a time which is not a number of any size (NaN) is refused too.
    if not now_seconds < expires + _LEEWAY_SECONDS:
        raise WebhookRefused(401, "expired", "the signature has expired; check the clocks")
    if not begins - _LEEWAY_SECONDS <= now_seconds:
        raise WebhookRefused(401, "not-yet", "the signature is not valid yet; check the clocks")


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise WebhookRefused(
            413, "too-large", f"the body is larger than {MAX_BODY_BYTES} bytes; no webhook of LiveKit is"
        ) from None


def _parse(body: bytes) -> Event:
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
