"""What a failed TLS handshake means: which certificate is wrong, and what would be right. Pure.

Neighbors: `clients.redis.wire` and `clients.livekit_tls` ask what a handshake meant; `clients.redis.errors` and
`clients.livekit` make BackendErrors of the answer. The codes are metric labels and words of the log.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class TlsCode(StrEnum):
    """What was wrong, in one word."""

    EXPIRED = "certificate_expired"
    NOT_YET_VALID = "certificate_not_yet_valid"
    NOT_TRUSTED = "certificate_not_trusted"
    HOST_NAME = "certificate_host_name"
    INVALID = "certificate_invalid"
    OURS_REFUSED = "client_certificate_refused"
    OURS_MISSING = "client_certificate_missing"
    OURS_UNUSABLE = "client_certificate_unusable"
    NO_TLS = "no_tls"
    """The server speaks no TLS on this port."""
    TLS_EXPECTED = "tls_expected"
    """The server speaks TLS on this port, and we did not."""
    HANDSHAKE = "tls_handshake"


@dataclass(frozen=True, slots=True)
class TlsFault:
    """A code, and a sentence about the server that begins with its certificate or with TLS."""

    code: TlsCode
    sentence: str


# X509_V_ERR_… of OpenSSL.
_HOST_NAMES: Final = frozenset({62, 63, 64})
_VERIFY: Final[Mapping[int, tuple[TlsCode, str]]] = {
    9: (TlsCode.NOT_YET_VALID, "is not valid yet; check the clocks"),
    10: (TlsCode.EXPIRED, "has expired; renew it"),
    **dict.fromkeys(
        (2, 18, 19, 20, 21), (TlsCode.NOT_TRUSTED, "is not trusted; give the CA that signed it as a CA file")
    ),
}
_WRONG_PROTOCOL: Final = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE")
_ALERTS: Final[tuple[tuple[str, TlsCode, str], ...]] = (
    ("ALERT_CERTIFICATE_REQUIRED", TlsCode.OURS_MISSING, "it wants a client certificate, and we have none"),
    ("ALERT_UNKNOWN_CA", TlsCode.OURS_REFUSED, "it does not trust the CA of our client certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", TlsCode.OURS_REFUSED, "our client certificate has expired for it"),
    ("ALERT_CERTIFICATE_REVOKED", TlsCode.OURS_REFUSED, "our client certificate is revoked"),
    ("ALERT_BAD_CERTIFICATE", TlsCode.OURS_REFUSED, "it refuses our client certificate"),
    ("ALERT_CERTIFICATE_UNKNOWN", TlsCode.OURS_REFUSED, "it refuses our client certificate"),
    ("ALERT_UNSUPPORTED_CERTIFICATE", TlsCode.OURS_REFUSED, "it refuses our client certificate"),
)

NO_TLS: Final = TlsFault(TlsCode.NO_TLS, "no TLS handshake: the server speaks no TLS on this port; check the scheme")
NO_HANDSHAKE: Final = TlsFault(
    TlsCode.HANDSHAKE, "no TLS handshake: the server ended it or was silent; check that it speaks TLS on this port"
)
TLS_EXPECTED: Final = TlsFault(TlsCode.TLS_EXPECTED, "the server speaks TLS on this port, and the URL is one without")


def tls_fault(error: ssl.SSLError, *, has_certificate: bool = False) -> TlsFault:
    """What a failed handshake means. `has_certificate`: whether we have a client certificate."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _HOST_NAMES:
            return TlsFault(TlsCode.HOST_NAME, "its certificate is for another host name than that of the URL")
        code, words = _VERIFY.get(error.verify_code, (TlsCode.INVALID, "is not valid"))
        return TlsFault(code, f"its certificate {words} ({error.verify_message})")
    reason = error.reason or str(error)
    if any(word in reason for word in _WRONG_PROTOCOL):
        return NO_TLS
    for word, code, words in _ALERTS:
        if word in reason:
            return TlsFault(code, f"the TLS handshake failed: {words}")
    if "HANDSHAKE_FAILURE" in reason and not has_certificate:
        words = "it accepts none of our ciphers, or wants a client certificate"
        return TlsFault(TlsCode.OURS_MISSING, f"the TLS handshake failed: {words}")
    return TlsFault(TlsCode.HANDSHAKE, f"the TLS handshake failed ({reason})")
