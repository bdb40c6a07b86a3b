"""Reads an object as the API server has it, also one that another version of Roomkeeper has written.

The models are strict: an unknown field, an unknown word of an enum and a value out of bounds are refused. That is right
for what we write, for tests and for `replay`; the CRD refuses the same for what others write. A reader must not be
strict. During an upgrade and after a rollback, the API server has objects of the next version and of the last one, and
an operator that cannot read them serves none of their calls. `Reader` derives a tolerant reader from a strict model, so
a new field or enum needs no care of its own:

- An unknown field is ignored. No patch of ours touches it, so the API server keeps it.
- An unknown word of an enum becomes a member that equals none of the known ones and keeps its text, so it is written
  back as it was. A rule asks `is_known` where a table has no row for it; `tests.versions.test_plans` walks all of them.
- A value out of bounds is read as it is.

What is left (a text where an object should be) raises ValidationError: `facts.unreadable`. Neighbors: `views.cache`
reads with this module, `api.meta` has the base models.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel
from pydantic_core import SchemaValidator, core_schema

M = TypeVar("M", bound=BaseModel)

_BOUNDS: Final = frozenset({"ge", "gt", "le", "lt", "multiple_of", "max_length", "min_length", "pattern"})
_MAX_WORD: Final = 256


class Reader(Generic[M]):
    """The tolerant reader of one strict model. Its results are instances of the model itself."""

    def __init__(self, model: type[M]) -> None:
        # Without prebuilt validators: those of the nested models are strict.
        self._validator = SchemaValidator(_tolerant(model.__pydantic_core_schema__), _use_prebuilt=False)

    def read(self, body: Mapping[str, Any]) -> M:
        """The object of this JSON value. Raises ValidationError."""
        found: M = self._validator.validate_python(body)
        return found

    def read_json(self, text: bytes) -> M:
        """The object of this JSON text. Raises ValidationError."""
        found: M = self._validator.validate_json(text)
        return found


def reader(model: type[M]) -> Reader[M]:
    """The one reader of this model."""
    if model not in _readers:
        _readers[model] = Reader(model)
    return _readers[model]


_readers: dict[type[BaseModel], Reader[Any]] = {}


def is_known(word: StrEnum) -> bool:
    """Whether this version has a name for the word; False for one that another version wrote."""
    return word.name in type(word).__members__


@functools.lru_cache(maxsize=1024)
def unknown_word(words: type[StrEnum], text: str) -> StrEnum:
    """A member of `words` for a text that this version has no name for. It equals no known member."""
    word = str.__new__(words, text)
    word._value_, word._name_ = text, f"unknown:{text}"
    return word


def _tolerant(schema: Any) -> Any:
    """The schema (of pydantic's core) without what makes it strict."""
    if isinstance(schema, list | tuple):
        return type(schema)(_tolerant(part) for part in schema)
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind == "default":
        # The default is a value, not a schema.
        return {**schema, "schema": _tolerant(schema["schema"])}
    if kind == "enum":
        return core_schema.no_info_plain_validator_function(_word_of(schema["cls"]))
    if kind == "literal":
        return schema
    loose = {key: _tolerant(part) for key, part in schema.items() if kind is None or key not in _BOUNDS}
    if kind == "model":
        loose["config"] = {**schema.get("config", {}), "extra_fields_behavior": "ignore"}
    if kind == "model-fields":
        loose.pop("extra_behavior", None)
    return loose


def _word_of(words: type[StrEnum]) -> Callable[[Any], StrEnum]:
    """The reader of one enum."""
    known = {str(word): word for word in words}

    def read(text: Any) -> StrEnum:
        word = known.get(text) if isinstance(text, str) else None
        if word is not None:
            return word
        if isinstance(text, words):
            return text
        if not isinstance(text, str) or len(text) > _MAX_WORD:
            raise ValueError(f"expected a word of at most {_MAX_WORD} characters")
        return unknown_word(words, text)

    return read
