"""The trace of a call: its id is the UID of the Match, in the form of OpenTelemetry.

A UID has 32 hexadecimal digits, as many as a trace id, so each follows from the other. Neighbors: logs, exemplars,
notices and `telemetry.tracing` name traces by this module.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

_ID: Final = re.compile(r"[0-9a-f]{32}")
_NONE: Final = "0" * 32


def trace_id(uid: str) -> str:
    """The id in 32 digits. What is no UID (a test, another API server) gets the first digits of its hash."""
    digits = uid.replace("-", "").lower()
    if _ID.fullmatch(digits) and digits != _NONE:
        return digits
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
