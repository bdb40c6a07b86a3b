"""Every field of a model with its place in a manifest, and the manifests that differ from it in one place.

The models are walked by their annotations, so a new field or enum is covered without a change here.
"""

from __future__ import annotations

import copy
import functools
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, Union

import orjson
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

Path = tuple[str | int, ...]
WORD = "AWordOfTheNextVersion"
"""A word that no enum has."""


@dataclass(frozen=True)
class Change:
    """One change of a manifest: where, and what is different."""

    name: str
    path: Path
    apply: Callable[[Any], None]

    def of(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The manifest with this change."""
        changed = copy.deepcopy(manifest)
        self.apply(_at(changed, self.path))
        return changed


def changes(model: type[BaseModel], manifest: dict[str, Any]) -> Iterator[Change]:
    """What another version could have written instead of `manifest`, one difference each."""
    for path, kind in _objects(model, manifest):
        where = ".".join(map(str, path))
        yield Change(f"{where}.+field", path, lambda part: part.update({"newField": {"deep": [1]}}))
        values = _at(manifest, path)
        for name, field in kind.model_fields.items():
            key = _key(kind, name)
            if key not in values:
                continue
            if not field.is_required():
                yield Change(f"{where}.-{key}", path, functools.partial(_pop, key))
            if any(issubclass(one, StrEnum) for one in types_of(field.annotation)):
                yield from _words(where, path, key, values[key])


def _words(where: str, path: Path, key: str, value: Any) -> Iterator[Change]:
    if isinstance(value, list):
        for index in range(len(value)):
            yield Change(f"{where}.{key}.{index}=word", (*path, key), functools.partial(_put, index))
    else:
        yield Change(f"{where}.{key}=word", path, functools.partial(_put, key))


def full(model: type[BaseModel]) -> dict[str, Any]:
    """A manifest in which every field of the model has a value."""
    manifest: dict[str, Any] = orjson.loads(_full(model))
    return manifest


@functools.cache
def _full(model: type[BaseModel]) -> bytes:
    return orjson.dumps({_key(model, name): _sample(name, field) for name, field in model.model_fields.items()})


def fields_in(model: type[BaseModel], manifest: dict[str, Any]) -> set[tuple[str, str]]:
    """The fields, as (model, field), that have a value in the manifest."""
    return {
        (kind.__name__, name)
        for path, kind in _objects(model, manifest)
        for name in kind.model_fields
        if _key(kind, name) in _at(manifest, path)
    }


def models_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """The model and all that it is made of."""
    found: set[type[BaseModel]] = set()
    new = [model]
    while new:
        kind = new.pop()
        if kind not in found:
            found.add(kind)
            new += [
                one
                for field in kind.model_fields.values()
                for one in types_of(field.annotation)
                if issubclass(one, BaseModel)
            ]
    return found


def types_of(annotation: Any) -> tuple[type, ...]:
    """The classes that an annotation is made of."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return (annotation,)
    return tuple(one for part in typing.get_args(annotation) for one in types_of(part))


def _objects(
    model: type[BaseModel], manifest: dict[str, Any], path: Path = ()
) -> Iterator[tuple[Path, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        value = manifest.get(_key(model, name))
        inner = next((one for one in types_of(field.annotation) if issubclass(one, BaseModel)), None)
        if inner is None:
            continue
        here = (*path, _key(model, name))
        if isinstance(value, dict):
            yield from _objects(inner, value, here)
        elif isinstance(value, list):
            for index, one in enumerate(value):
                yield from _objects(inner, one, (*here, index))


def _sample(name: str, field: FieldInfo) -> Any:
    return _value(name, field.annotation)


def _value(name: str, annotation: Any) -> Any:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in {Union, UnionType}:
        return _value(name, next(one for one in inner if one is not NoneType))
    if origin is typing.Annotated:
        return _value(name, inner[0])
    if origin is tuple:
        return [_value(name, inner[0]) for _ in range(2 if name == "participants" else 1)]
    if origin is dict:
        return {"key": _value(name, inner[1])}
    if origin is typing.Literal:
        return inner[0]
    if issubclass(annotation, BaseModel):
        return full(annotation)
    if issubclass(annotation, StrEnum):
        return next(iter(annotation)).value
    samples: dict[Any, Any] = {bool: True, int: 20, str: "x", AwareDatetime: "2026-01-31T10:15:00.000Z"}
    return "text" if name == "message" else samples[annotation]


def _key(model: type[BaseModel], name: str) -> str:
    alias = model.model_fields[name].alias
    return alias if alias is not None else name


def _at(manifest: Any, path: Path) -> Any:
    for step in path:
        manifest = manifest[step]
    return manifest


def _put(key: str | int, part: Any) -> None:
    part[key] = WORD


def _pop(key: str, part: Any) -> None:
    del part[key]
