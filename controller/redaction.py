"""Blanks what looks like a token or a password, wherever text leaves the process: errors, statuses, Events, logs.

`errors` redacts every message that a client writes, and `telemetry.logs` every record of the log. Other programs write
these texts, so they may have any length and form. Each pattern begins at the start of a word or has a bounded length:
else a long word would be read again from each of its characters.
"""

from __future__ import annotations

import re
from typing import Final

BLANK: Final = "[redacted]"
LONGEST: Final = 16_384
"""The most characters that are looked at; what follows them is left out."""
_SECRETS: Final = (
    # A JSON Web Token, also one that is cut off in its last part.
    (re.compile(r"eyJ[\w-]{5,2000}\.[\w-]{5,}(\.[\w-]*)?"), BLANK),
    # User and password in a URL.
    (re.compile(r"(?P<scheme>(?<![\w+.-])[\w+.-]+://)[^\s/@:]*:[^\s/]*@"), rf"\g<scheme>{BLANK}@"),
    (re.compile(r"(?P<kind>\b(?:Bearer|Basic)\s+)[\w.~+/=-]+", re.IGNORECASE), rf"\g<kind>{BLANK}"),
    # A parameter, a field or a setting with a name that says so, in the spelling of a URL, of JSON or of a shell.
    (
        re.compile(
            r"(?P<name>(?<![\w-])[\w-]*(?:token|secret|passw(?:or)?d|api[_-]?key)[\"\']?\s*[=:]\s*)(?P<quote>[\"\']?)"
            r"(?!\[redacted\])(?:(?<=\")[^\"]*|(?<=\')[^\']*|[^\s,;&\"\'}\])]+)",
            re.IGNORECASE,
        ),
        rf"\g<name>\g<quote>{BLANK}",
    ),
    # Redis repeats the words of AUTH and of ACL SETUSER.
    (re.compile(r"(?P<word>\bAUTH\s+)(?!<|\[redacted\])\S+(?:\s+\S+)?"), rf"\g<word>{BLANK}"),
    # It also repeats the arguments of a command that it does not know, and a proxy may not know AUTH.
    (re.compile(r"(?P<head>with args beginning with:).+"), rf"\g<head> {BLANK}"),
)

# Whatever a pattern finds has one of these; most texts have none, and are read once instead of six times.
_HINT: Final = re.compile(r"eyJ|://|Bearer|Basic|token|secret|passw|api|AUTH|args", re.IGNORECASE)


def redact(text: str) -> str:
    """The text without what looks like a token or a password, cut if it is very long.

    Redacting twice changes nothing more, unless the text was cut.
    """
    if len(text) > LONGEST:
        text = _cut(text)
    if _HINT.search(text) is None:
        return text
    for pattern, blank in _SECRETS:
        text = pattern.sub(blank, text)
    return text


def _cut(text: str) -> str:
    """The beginning of the text, without a piece of a URL whose password could not be recognized."""
    begin = text[:LONGEST]
    end = max(begin.rfind(sign) for sign in " \n\t/")
    return f"{begin[: end + 1]}…"
