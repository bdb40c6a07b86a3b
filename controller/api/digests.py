"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "6ac75f65cad06a2f",
    "rooms.roomkeeper.dev": "232c8f72235c0661",
    "livekitservers.roomkeeper.dev": "44b26ec45300525d",
}
