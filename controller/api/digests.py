"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "bf193db47adce11b",
    "rooms.roomkeeper.dev": "1aa2edbce38972a1",
    "livekitservers.roomkeeper.dev": "44b26ec45300525d",
}
