"""Blanks what looks like a token or a password, wherever text leaves the process: errors, statuses, Events, logs.

`errors` redacts every message that a client writes, and `telemetry.logs` every record of the log.
"""

from __future__ import annotations

import re
from typing import Final

BLANK: Final = "[redacted]"
_SECRETS: Final = (
    # A JSON Web Token, also one that is cut off in its last part.
    (re.compile(r"eyJ[\w-]{5,}\.[\w-]{5,}(\.[\w-]*)?"), BLANK),
    # User and password in a URL.
    (re.compile(r"(?P<scheme>\b[a-zA-Z][\w+.-]*://)[^\s/@]*:[^\s/]*@"), rf"\g<scheme>{BLANK}@"),
    (re.compile(r"(?P<kind>\b(?:Bearer|Basic)\s+)[\w.~+/=-]+", re.IGNORECASE), rf"\g<kind>{BLANK}"),
    # A parameter, a field or a setting with a name that says so, in the spelling of a URL, of JSON or of a shell.
    (
        re.compile(
            r"(?P<name>\b[\w-]*(?:token|secret|passw(?:or)?d|api[_-]?key)[\"\']?\s*[=:]\s*)(?P<quote>[\"\']?)"
            r"(?!\[redacted\])(?:(?<=\")[^\"]*|(?<=\')[^\']*|[^\s,;&\"\'}\])]+)",
            re.IGNORECASE,
        ),
        rf"\g<name>\g<quote>{BLANK}",
    ),
    # Redis repeats the words of AUTH and of ACL SETUSER.
    (re.compile(r"(?P<word>\bAUTH\s+)(?!<|\[redacted\])\S+(?:\s+\S+)?"), rf"\g<word>{BLANK}"),
)


def redact(text: str) -> str:
    """The text without what looks like a token or a password. Redacting twice changes nothing more."""
    for pattern, blank in _SECRETS:
        text = pattern.sub(blank, text)
    return text
