"""Fields that the API server drops, since the installed CRDs are older than the operator: they are noticed and told."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog

from controller.api.names import LIVEKIT_SERVER, MATCH
from controller.views.lost_fields import LostFields

_PATCH: dict[str, Any] = {"url": "http://lk", "rooms": 1, "lastError": None}


def answer(**status: Any) -> dict[str, Any]:
    return {"metadata": {}, "status": status}


def test_a_field_that_the_answer_to_a_write_lacks_is_lost_and_told_once_with_what_follows() -> None:
    lost = LostFields()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            lost.answered(LIVEKIT_SERVER, _PATCH, answer(rooms=1))
    assert lost.has(LIVEKIT_SERVER, "url")
    assert not any(lost.has(*one) for one in ((LIVEKIT_SERVER, "rooms"), (LIVEKIT_SERVER, "lastError"), (MATCH, "url")))
    (line,) = logs
    assert line["log_level"] == "warning"
    assert "the CRD livekitservers.roomkeeper.dev is older than this operator" in line["event"]
    assert "drops status.url of each LiveKitServer; apply crds/" in line["event"]
    assert "do not change spec.url" in line["event"]


def test_a_field_is_kept_again_as_soon_as_one_answer_has_it() -> None:
    lost = LostFields()
    lost.answered(LIVEKIT_SERVER, _PATCH, answer(rooms=1))
    lost.answered(LIVEKIT_SERVER, {"rooms": 2}, answer(rooms=2))
    assert lost.has(LIVEKIT_SERVER, "url"), "nothing was written that could show it"
    with structlog.testing.capture_logs() as logs:
        lost.answered(LIVEKIT_SERVER, _PATCH, answer(rooms=1, url="http://lk"))
    assert not lost.has(LIVEKIT_SERVER, "url")
    assert [line["event"] for line in logs] == ["the API server keeps status.url of a LiveKitServer now"]


def test_fields_below_others_and_in_lists_are_noticed() -> None:
    lost = LostFields()
    patch = {"room": {"url": "ws://lk", "server": "eu"}, "participants": [{"id": "a", "sid": "1"}, {"id": "b"}]}
    lost.answered(MATCH, patch, answer(room={"server": "eu"}, participants=[{"id": "a"}, {"id": "b"}]))
    assert [lost.has(MATCH, path) for path in ("room.url", "participants[].sid", "participants[].id")] == [1, 1, 0]
    lost.answered(MATCH, patch, answer(**patch))
    assert not lost.are_some(MATCH)


def test_an_answer_without_any_status_says_nothing() -> None:
    lost = LostFields()
    lost.answered(MATCH, {"phase": "Ready"}, {"metadata": {}})
    assert not lost.are_some(MATCH)


@pytest.mark.parametrize(
    ("patch", "covered"),
    [
        ({"url": "http://lk"}, True),
        ({"url": "http://lk", "rooms": 2}, False),
        ({"url": None}, True),
        ({"room": {"url": "ws://lk"}}, True),
        ({"room": {"url": "ws://lk", "server": "us"}}, False),
        ({"list": [{"name": "a", "sid": "1"}]}, True),
        ({"list": [{"name": "b", "sid": "1"}]}, False),
        ({"list": []}, False),
        ({"new": {"url": "x"}}, False),
    ],
)
def test_a_patch_is_covered_only_if_all_that_it_changes_is_lost(patch: dict[str, Any], covered: bool) -> None:
    lost = LostFields()
    written = {"url": "x", "room": {"url": "x"}, "list": [{"name": "a", "sid": "1"}]}
    before = {"rooms": 1, "room": {"server": "eu"}, "list": [{"name": "a"}]}
    assert not lost.cover(LIVEKIT_SERVER, before, patch)
    lost.answered(LIVEKIT_SERVER, written, answer(**before))
    assert lost.cover(LIVEKIT_SERVER, before, patch) is covered


def test_after_a_minute_a_lost_field_alone_is_written_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lost = LostFields()
    lost.answered(LIVEKIT_SERVER, _PATCH, answer(rooms=1))
    assert lost.cover(LIVEKIT_SERVER, {"rooms": 1}, {"url": "http://lk"})
    now += 61
    assert not lost.cover(LIVEKIT_SERVER, {"rooms": 1}, {"url": "http://lk"})
    assert lost.has(LIVEKIT_SERVER, "url"), "it is still not known to be kept"
