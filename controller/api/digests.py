"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "f2560b002f4a8976",
    "rooms.roomkeeper.dev": "b3fa2b92ee62a9f0",
    "livekitservers.roomkeeper.dev": "6e64abc232ec6b4b",
}
