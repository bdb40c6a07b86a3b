"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "e27a3ed9b7f45c1b",
    "rooms.roomkeeper.dev": "53ff73ce3489c0eb",
    "livekitservers.roomkeeper.dev": "2f07dbdce3209e9a",
}
