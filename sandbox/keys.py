"""Keys and secrets of one stack; nothing of them outlives it.

kube-apiserver needs a private key to sign ServiceAccount tokens. Any number is a private key on P-256,
and its SEC1 encoding may leave out the public half, which Go computes: so no cryptography is needed here.
"""

from __future__ import annotations

import base64
import secrets

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# SEQUENCE { INTEGER 1, OCTET STRING (32 bytes) …, [0] OBJECT IDENTIFIER prime256v1 }
_BEFORE_KEY = bytes.fromhex("30310201010420")
_AFTER_KEY = bytes.fromhex("a00a06082a8648ce3d030107")


def signing_key_pem() -> str:
    """A fresh ECDSA private key."""
    number = secrets.randbelow(_P256_ORDER - 1) + 1
    der = _BEFORE_KEY + number.to_bytes(32, "big") + _AFTER_KEY
    lines = base64.encodebytes(der).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{lines}-----END EC PRIVATE KEY-----\n"


def random_secret() -> str:
    """43 harmless characters; LiveKit wants at least 32."""
    return secrets.token_urlsafe(32)
