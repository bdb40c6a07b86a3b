"""The signature of a webhook: a token that LiveKit makes with our API secret, and that names the hash of the body.

The token is verified before the body is read, so a stranger can make us keep no body. Neighbor: `triggers.webhooks`
reads the body and compares its hash.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import jwt
import orjson
from jwt.types import Options

Signers: TypeAlias = Mapping[str, Mapping[str, frozenset[str]]]

_LEEWAY_SECONDS = 60
_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Our own clock decides whether a token is valid: the library would ask the machine's, which may be wrong.
_OPTIONS: Options = {"require": ["exp", "iss"], "verify_exp": False, "verify_nbf": False, "verify_iat": False}


class WebhookRefused(Exception):
    """The request is not served: `why` is said to the caller and in the log, and holds nothing of the token."""

    def __init__(self, status: int, code: str, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Signature:
    """What is signed: the SHA-256 of the body, empty if the token names none; and which servers sign with the key."""

    body_hash: bytes
    servers: frozenset[str]


def verified(authorization: str, signers: Signers, now_seconds: float) -> Signature:
    """The signature in the header `Authorization`.

    `signers` has for each API key its secrets, each with the names of the servers that have it. Raises WebhookRefused
    for a token that is not LiveKit's, or not valid now.
    """
    token = authorization.removeprefix("Bearer ").strip()
    if not token:
        raise WebhookRefused(401, "unsigned", "the Authorization header is missing; LiveKit signs every webhook")
    claims, servers = _claims(token, signers)
    _require_timely(claims, now_seconds)
    try:
        body_hash = base64.b64decode(str(claims.get("sha256", "")), validate=True)
    except (binascii.Error, ValueError):
        body_hash = b""
    return Signature(body_hash, servers)


def _claims(token: str, signers: Signers) -> tuple[dict[str, object], frozenset[str]]:
    """The claims, and the servers whose secret has signed them. Two servers may have one name for different secrets."""
    try:
        issuer = _issuer(token)
        *others, (secret, servers) = signers[issuer].items()
        for other, owners in others:
            try:
                return jwt.decode(token, other, algorithms=["HS256"], options=_OPTIONS), owners
            except jwt.InvalidSignatureError:
                continue
        return jwt.decode(token, secret, algorithms=["HS256"], options=_OPTIONS), servers
    except KeyError:
        named = f" {issuer}" if _KEY_NAME.fullmatch(issuer) else ""
        why = f"the webhook is signed with an API key{named} that is not ours"
        remedy = "give it to the operator, or let LiveKit sign with ours (webhook.api_key)"
        raise WebhookRefused(401, "unknown-key", f"{why}; {remedy}") from None
    except jwt.InvalidSignatureError:
        raise WebhookRefused(401, "bad-signature", "the signature does not fit our API secret") from None
    except jwt.PyJWTError as error:
        raise WebhookRefused(
            401, "bad-token", f"the Authorization header holds no valid token ({type(error).__name__})"
        ) from None


def _issuer(token: str) -> str:
    """Which API key claims to have signed; believed only once the signature fits that key's secret."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["iss"])
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise jwt.DecodeError("no readable claims") from None


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
