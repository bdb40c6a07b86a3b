"""Keys and secrets of one stack. They are made at its start and deleted at its end.

kube-apiserver needs a private key to sign ServiceAccount tokens. Any number is a private key on P-256, and its SEC1
encoding may leave out the public half, which Go computes. So no cryptographic library is needed here.
"""

from __future__ import annotations

import base64
import secrets

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# SEQUENCE { INTEGER 1, OCTET STRING (32 bytes) …, [0] OBJECT IDENTIFIER prime256v1 }
_BEFORE_KEY = bytes.fromhex("30310201010420")
_AFTER_KEY = bytes.fromhex("a00a06082a8648ce3d030107")


def signing_key_pem() -> str:
    """A new ECDSA private key on P-256, as PEM."""
    number = secrets.randbelow(_P256_ORDER - 1) + 1
    der = _BEFORE_KEY + number.to_bytes(32, "big") + _AFTER_KEY
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{lines}-----END EC PRIVATE KEY-----\n"


def random_secret() -> str:
    """43 harmless characters; LiveKit needs at least 32."""
    return secrets.token_urlsafe(32)
