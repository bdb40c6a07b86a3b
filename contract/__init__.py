"""What gateways and matchmakers build on: the published Lua scripts and the JSON Schema of events.

A gateway or a matchmaker takes part in a pool by calling these scripts on the pool's Redis. The header of each script
(`enqueue.lua` and so on, beside this module) names its keys, arguments and answers; docs/redis.md shows the requests.
Services in other languages read the same files. This package imports nothing of the operator, and the operator's own
scripts are not part of it.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

VERSION: Final = "1.0.0"
"""The version of this contract. Additions raise the second number. Anything that an existing caller would notice, such
as another argument or another meaning of an answer, raises the first.
"""

SCRIPTS: Final = ("enqueue", "beat", "leave", "reserve", "release")
"""The names of the published scripts."""


def script(name: str) -> str:
    """The text of a published script, as `EVAL` and `SCRIPT LOAD` take it: `common.lua`, then the script's own file.

    Raises ValueError for a name that is not in `SCRIPTS`.
    """
    if name not in SCRIPTS:
        raise ValueError(f"there is no published script {name!r}; use one of {', '.join(SCRIPTS)}")
    return read("common.lua") + read(f"{name}.lua")


def library() -> str:
    """The text of the function library, as `FUNCTION LOAD` takes it (Redis 7 and later, Valkey).

    It has a function `roomkeeper_<name>` for each script. Its one key is the pool's prefix.
    """
    return read("library.lua")


def events_schema() -> dict[str, Any]:
    """The JSON Schema of notices, disconnects and events."""
    schema: dict[str, Any] = json.loads(read("events.schema.json"))
    return schema


def read(file: str) -> str:
    """The text of one file of this package, such as `common.lua`."""
    return (resources.files(__package__) / file).read_text(encoding="utf-8")
