"""What a Secret says about a LiveKit server: its API keys, and the CAs that sign its certificate. Pure.

Neighbors: `triggers.server_reader` reads the Secret, `backends.server_configs` keeps what was found.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from controller.api.conditions import ConditionReason
from controller.clients.livekit_keys import ApiKey, ApiKeys, Credentials
from controller.facts.server import Trouble
from controller.settings.tls import are_authorities

_API_KEY, _API_SECRET, _CA = "apiKey", "apiSecret", "ca.crt"
_OLD_API_KEY, _OLD_API_SECRET = "oldApiKey", "oldApiSecret"
_LEAST_SECRET = 32


def credentials_in(secret_name: str, data: Mapping[str, object]) -> Credentials | Trouble:
    """The credentials in the `data` of a Secret: `apiKey` and `apiSecret`; if they are there, the key of before
    (`oldApiKey`, `oldApiSecret`) and the CAs of the server's certificate (`ca.crt`).
    """
    texts = {name: text for name, value in data.items() if (text := _text(value))}
    missing = [name for name in (_API_KEY, _API_SECRET) if name not in texts]
    if missing:
        found = ", ".join(sorted(data)) or "none"
        return Trouble(
            ConditionReason.CREDENTIALS_INCOMPLETE,
            f"the Secret {secret_name} has no text under {' and '.join(missing)}; it has the keys {found}",
        )
    if (_OLD_API_KEY in texts) is not (_OLD_API_SECRET in texts):
        return Trouble(
            ConditionReason.CREDENTIALS_INCOMPLETE,
            f"the Secret {secret_name} has one of {_OLD_API_KEY} and {_OLD_API_SECRET}; give both, or none of them",
        )
    if any(len(texts[name]) < _LEAST_SECRET for name in (_API_SECRET, _OLD_API_SECRET) if name in texts):
        return Trouble(
            ConditionReason.CREDENTIALS_INCOMPLETE,
            f"the Secret {secret_name} has an API secret of less than {_LEAST_SECRET} characters, which can be guessed",
        )
    if _CA in texts and not are_authorities(texts[_CA]):
        told = f"the Secret {secret_name} has no certificates in PEM form under {_CA}"
        return Trouble(ConditionReason.CREDENTIALS_INCOMPLETE, told)
    newest = ApiKey(texts[_API_KEY], texts[_API_SECRET])
    older = (ApiKey(texts[_OLD_API_KEY], texts[_OLD_API_SECRET]),) if _OLD_API_KEY in texts else ()
    if any(key.name == newest.name and key != newest for key in older):
        told = (
            f"the Secret {secret_name} has one name under {_API_KEY} and {_OLD_API_KEY} for two secrets; give the new "
            "secret a key of another name, since a token names its key alone"
        )
        return Trouble(ConditionReason.CREDENTIALS_INCOMPLETE, told)
    keys = ApiKeys(newest, tuple(key for key in older if key.name != newest.name))
    return Credentials(keys, texts.get(_CA, ""))


def _text(value: object) -> str:
    """A value of a Secret as text, without the line break that editors leave; empty if it is none."""
    try:
        return base64.b64decode(str(value), validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return ""
