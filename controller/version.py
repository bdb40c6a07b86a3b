"""The version of Roomkeeper, from the metadata of the installed package.

`roomkeeper version` prints it, and `telemetry.metrics` publishes it as `roomkeeper_build_info`.
"""

from __future__ import annotations

import importlib.metadata
from typing import Final

VERSION: Final = importlib.metadata.version("roomkeeper")
