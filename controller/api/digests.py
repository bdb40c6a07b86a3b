"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "e89571622709a6be",
    "rooms.roomkeeper.dev": "ee98da96ce920a57",
    "livekitservers.roomkeeper.dev": "6e64abc232ec6b4b",
}
