"""One version of Roomkeeper reads what the version before it and the version after it have written."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from controller.api.livekitserver import LiveKitServer
from controller.api.match import Match
from controller.api.meta import Resource
from controller.api.phases import MatchPhase
from controller.api.room import Room
from controller.api.tolerant import is_known, reader
from tests import values as b
from tests.versions.fields import WORD, Change, changes, fields_in, full, models_of

MODELS: tuple[type[Resource], ...] = (Match, Room, LiveKitServer)
CHANGES = [(model, change) for model in MODELS for change in changes(model, full(model))]


def name_of(value: Any) -> str:
    """How a case is called in the list of tests."""
    return value.name if isinstance(value, Change) else str(getattr(value, "__name__", value))


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_the_full_manifest_has_every_field_of_every_part(model: type[Resource]) -> None:
    declared = {(part.__name__, name) for part in models_of(model) for name in part.model_fields}
    assert fields_in(model, full(model)) == declared


@pytest.mark.parametrize(("model", "change"), CHANGES, ids=name_of)
def test_what_another_version_wrote_is_read_and_nothing_else_of_the_object_is_lost(
    model: type[Resource], change: Change
) -> None:
    manifest = full(model)
    expected = reader(model).read(manifest).model_dump(mode="json", by_alias=True)
    read = reader(model).read(change.of(manifest)).model_dump(mode="json", by_alias=True)
    different = [path for path in _leaves(expected) if _leaves(read).get(path) != _leaves(expected)[path]]
    assert all(path[: len(change.path)] == change.path for path in different)
    if change.name.endswith("+field"):
        assert not different
    if change.name.endswith("=word"):
        assert [_leaves(read)[path] for path in different] == [WORD], "the word is kept as it is"


@pytest.mark.parametrize(("model", "change"), CHANGES, ids=name_of)
def test_the_models_themselves_stay_strict(model: type[Resource], change: Change) -> None:
    """Tests, generators and `replay` notice what this version does not know."""
    is_new_field = change.name.endswith("+field") and change.path[:1] == ("spec",)
    refused = _refusals(model, change.of(full(model))) - _refusals(model, full(model))
    assert bool(refused) == (is_new_field or change.name.endswith("=word"))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "timeouts", "soloSeconds"), 10**6),
        (("spec", "timeouts", "readySeconds"), 0),
        (("spec", "room", "maxParticipants"), 5000),
        (("spec", "sessionID"), "x" * 4000),
        (("spec", "participants"), [{"identity": name} for name in ("a", "b", "c")]),
    ],
)
def test_a_value_beyond_our_bounds_is_read_as_it_is(path: tuple[str, ...], value: Any) -> None:
    manifest = full(Match)
    part: Any = manifest
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    read: Any = reader(Match).read(manifest).manifest()
    for step in path:
        read = read[step]
    assert read == value or [one["identity"] for one in read] == ["a", "b", "c"]


def test_a_word_of_another_version_equals_no_word_of_ours_and_itself() -> None:
    manifest = full(Match) | {"status": {"phase": WORD}}
    phase = reader(Match).read(manifest).status.phase
    assert isinstance(phase, MatchPhase)
    assert (phase.value, f"{phase}", is_known(phase)) == (WORD, WORD, False)
    assert phase not in set(MatchPhase)
    assert phase is reader(Match).read(manifest).status.phase
    assert all(map(is_known, MatchPhase))


@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_json_and_python_values_read_the_same(model: type[Resource]) -> None:
    found = reader(model).read(full(model))
    assert reader(model).read_json(found.model_dump_json(by_alias=True, exclude_none=True).encode()) == found


def test_an_object_of_this_version_reads_the_same_as_through_the_strict_model() -> None:
    for strict in (b.a_match(), b.connecting(), b.active(), b.a_room(), b.an_active_room()):
        assert reader(type(strict)).read(strict.manifest()) == type(strict).model_validate(strict.manifest())


def _refusals(model: type[Resource], manifest: dict[str, Any]) -> set[tuple[str | int, ...]]:
    try:
        model.model_validate(manifest)
    except ValidationError as error:
        return {problem["loc"] for problem in error.errors()}
    return set()


def _leaves(value: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    if isinstance(value, dict):
        return {at: leaf for key, part in value.items() for at, leaf in _leaves(part, (*path, key)).items()}
    if isinstance(value, list):
        return {at: leaf for key, part in enumerate(value) for at, leaf in _leaves(part, (*path, key)).items()}
    return {path: value}
