"""A table of the reply codes of one script: the first word of a reply selects the function that reads the rest."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

from controller.clients.reading import NO_SENSE, place_ms
from controller.errors import Backend, BackendRefused, Code

Raw: TypeAlias = Sequence[str]
R = TypeVar("R")

_ANY_NUMBER: Final = 1 << 30


class ReplyTable(Generic[R]):
    """The reply codes of the script `script`: code to a reader, which gets the other words of the reply one by one.

    A reader is a class or a function with positional parameters. It raises ValueError for a word that it cannot read.
    """

    def __init__(self, script: str, codes: Mapping[str, Callable[..., R]]) -> None:
        self.script = script
        self.codes = frozenset(codes)
        self._readers = {code: (reader, *_word_counts(reader)) for code, reader in codes.items()}

    def parse(self, raw: Raw) -> R:
        """Return the reply as a value. Raises BackendRefused for a reply that this version does not know."""
        reader, least, most = self._readers.get(raw[0] if raw else "", (None, 0, 0))
        if reader is None:
            raise unknown_reply(self.script, raw)
        words = raw[1:]
        if not least <= len(words) <= most:
            raise unknown_reply(self.script, raw, f"with {len(words)} words after it")
        try:
            return reader(*words)
        except NO_SENSE:
            # The text of the error repeats the word, and the word can name a user.
            raise unknown_reply(self.script, raw, "with a word after it") from None


def unknown_reply(script: str, raw: Raw, detail: str = "") -> BackendRefused:
    """Return the error for an unknown reply. It shows only the first word, because the others can name users."""
    word = repr(raw[0]) if raw else "nothing"
    said = f"{word} {detail}".rstrip()
    sentence = f"the script answered {said}, which this version does not know"
    return BackendRefused(Backend.REDIS, script, sentence, code=Code.MALFORMED)


def is_replay(kind: str) -> bool:
    """Whether the second word of an `OK` says that the effect was there already."""
    return kind == "replay"


def milliseconds(text: str) -> int | None:
    """Return a time or a place in the queue as Redis spells it; None for the empty string."""
    return place_ms(text) if text else None


def pairs(flat: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Iterate over (first, second), (third, fourth), … Raises ValueError if the last one has no partner."""
    return zip(flat[::2], flat[1::2], strict=True)


def _word_counts(reader: Callable[..., object]) -> tuple[int, int]:
    """The least and the greatest number of words that `reader` takes."""
    parameters = inspect.signature(reader).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return len(parameters) - 1, _ANY_NUMBER
    return len(parameters), len(parameters)
