"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "4f25d1ac851aa12f",
    "rooms.roomkeeper.dev": "769f06010bfa492c",
    "livekitservers.roomkeeper.dev": "31265a753942fc86",
}
