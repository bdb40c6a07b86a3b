"""The digests of the schemas of our CRDs.

Made by `python -m controller.generate` from controller/api; edit the models instead.
"""

from typing import Final

SCHEMA_DIGESTS: Final = {
    "matches.roomkeeper.dev": "e8fc5757390a24f9",
    "rooms.roomkeeper.dev": "477f873c594b8a12",
    "livekitservers.roomkeeper.dev": "adc10de1d56d5a17",
}
