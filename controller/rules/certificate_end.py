"""When a certificate begins and ends, read from its bytes. Pure: the standard library shows it only of peers.

A certificate is DER: nested values, each with a tag, a length and content (RFC 5280, 4.1). Neighbor:
`triggers.certificates` reads the files.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_PEM: Final = re.compile(r"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.+?)-----END", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_AFTER_VERSION: Final = 3
"""The fields before the validity: serial number, algorithm, issuer."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate holds."""

    begins: datetime
    ends: datetime


def validities(pem: str) -> list[Validity]:
    """When each certificate in a PEM text holds, in their order. Raises ValueError for one that is damaged."""
    return [_validity(_decoded(text)) for text in _PEM.findall(pem)]


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"it is not in PEM form: {error}") from None


def _validity(der: bytes) -> Validity:
    try:
        ((_, certificate),) = _values(der)
        (_, body), *_ = _values(certificate)
        fields = list(_values(body))
        validity = fields[_AFTER_VERSION + (fields[0][0] == _VERSION)]
        if validity[0] != _SEQUENCE:
            raise ValueError("it has no validity")
        begins, ends = (_time(kind, text.decode("ascii")) for kind, text in _values(validity[1]))
        return Validity(begins, ends)
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"it is no certificate: {error}") from None


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Each value of a sequence: its tag and its content."""
    at = 0
    while at < len(der):
        tag, length, start = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            start += size
            length = int.from_bytes(der[start - size : start], "big")
        if start + length > len(der):
            raise ValueError("it is cut off")
        yield tag, der[start : start + length]
        at = start + length


def _time(kind: int, text: str) -> datetime:
    if kind == _UTC_TIME:
        # Two digits of the year, which stand for 1950 to 2049.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("its begin or its end is not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
