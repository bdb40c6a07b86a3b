"""Bodies of objects as JSON: whole while the object is in use, compressed while it is at rest.

The objects of one kind are alike: they share their keys, conditions and sentences. So a body at rest is compressed
against another one, the sample, and hardly more is kept than what the sample does not have: some 300 bytes of the 3 000
of a Match. Neighbor: `views.cache` tells what is at rest.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

import orjson

# Negative: neither a header nor a checksum.
_WINDOW_BITS: Final = -15
_LEVEL: Final = 3
# The tables are small, since bodies are short.
_MEMORY_LEVEL: Final = 6
# A body that keeps more than this part of its size is not like the sample; those after it may be like this body.
_POOR: Final = 1 / 4
# So many bodies share a sample at least, because it stays in memory as long as one of them does.
_LEAST_USES: Final = 100


@dataclass(slots=True)
class Stored:
    """One version of an object. `sample` is what `kept` is compressed against; None while it is the body itself."""

    uid: str
    version: int
    kept: bytes
    sample: bytes | None = None

    def body(self) -> bytes:
        """The body as compact JSON."""
        if self.sample is None:
            return self.kept
        return zlib.decompressobj(_WINDOW_BITS, self.sample).decompress(self.kept)


class Packer:
    """Compresses the bodies of one kind."""

    def __init__(self) -> None:
        self._sample = b""
        self._uses = _LEAST_USES

    def pack(self, stored: Stored) -> None:
        """Compress a body, if it is not compressed yet."""
        if stored.sample is not None:
            return
        body, sample = stored.kept, self._sample
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zdict=sample)
        stored.kept, stored.sample = compressor.compress(body) + compressor.flush(), sample
        self._uses += 1
        is_poor = not sample or len(stored.kept) > _POOR * len(body)
        if is_poor and self._uses > _LEAST_USES:
            self._sample, self._uses = body, 0


def compact(body: dict[str, Any]) -> bytes:
    """The JSON of a body without its managedFields, which no one here reads."""
    kept = {**body, "metadata": {key: value for key, value in body["metadata"].items() if key != "managedFields"}}
    try:
        # A copy, because orjson hands over its whole buffer: 8 KB for a Match of 3.
        return bytes(memoryview(orjson.dumps(kept)))
    except TypeError:  # a number of more than 64 bits, or half of a character
        return json.dumps(kept).encode()
