"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "5ad62738313cf232",
    "rooms.roomkeeper.dev": "0f0dc6d7ef225d83",
    "livekitservers.roomkeeper.dev": "fd1dd780bc8377ce",
}
