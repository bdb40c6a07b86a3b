"""Logs: structured, and without anything secret."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from controller.telemetry.logs import Redactor, also_blank, configure

SECRET = "a-secret-of-more-than-thirty-two-characters"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("nothing special", "nothing special"),
        (f"signed with {SECRET}!", "signed with [redacted]!"),
        (f"token={TOKEN}&x=1", "token=[redacted]&x=1"),
        (f"Bearer {TOKEN}", "Bearer [redacted]"),
        (f"{TOKEN} and {TOKEN}", "[redacted] and [redacted]"),
        (TOKEN.rpartition(".")[0], "[redacted]"),
        (TOKEN.rpartition(".")[0] + ".", "[redacted]"),
        ("eyJ", "eyJ"),
        ("", ""),
    ],
)
def test_tokens_and_secrets_are_blanked(text: str, clean: str) -> None:
    assert Redactor((SECRET,)).text(text) == clean


def test_an_empty_secret_blanks_nothing() -> None:
    assert Redactor(("",)).text("abc") == "abc"


class Carrier:
    """Something of a library that shows what it was sent."""

    def __repr__(self) -> str:
        return f"<request {TOKEN}>"


def test_whatever_is_nested_in_a_record_is_blanked_too() -> None:
    record = {
        "text": TOKEN, "list": [TOKEN, {"deep": (SECRET,)}], "error": ValueError(SECRET), "object": Carrier(),
        "number": 7, "flag": True, "nothing": None, "bytes": SECRET.encode(), "set": {TOKEN},
    }  # fmt: skip
    cleaned = Redactor((SECRET,))(None, "info", dict(record))
    assert TOKEN not in str(cleaned)
    assert SECRET not in str(cleaned)
    assert (cleaned["number"], cleaned["flag"], cleaned["nothing"]) == (7, True, None)
    assert cleaned["list"] == ["[redacted]", {"deep": ["[redacted]"]}]
    assert cleaned["object"] == "<request [redacted]>"


@pytest.fixture
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("kopf", "aiohttp.access", "asyncio", "livekit")}
    known = structlog.get_config()
    yield
    structlog.configure(**known)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, value in quiet.items():
        logging.getLogger(name).setLevel(value)


def written(monkeypatch: pytest.MonkeyPatch, log_format: str, level: str = "info") -> io.StringIO:
    """Where records go from now on."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure(log_format, level, (SECRET,))
    return stream


def refuse() -> None:
    """An error of a library that repeats what it was sent."""
    raise ValueError(f"refused: {TOKEN}") from KeyError(SECRET)


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.usefixtures("_as_it_was")
def test_no_canary_gets_into_any_line_from_any_logger(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    stream = written(monkeypatch, log_format)
    ours, theirs = structlog.get_logger("controller.test"), logging.getLogger("library")
    ours.info("issued", token=TOKEN, nested={"secret": [SECRET]})
    theirs.warning("sent %s with %s", TOKEN, SECRET)
    try:
        refuse()
    except ValueError:
        ours.exception("failed")
        theirs.exception("failed as well")
    text = stream.getvalue()
    assert text.count("[redacted]") >= 6
    assert TOKEN not in text
    assert SECRET not in text
    assert "c2lnbmF0dXJl" not in text
    assert "refused" in text, "the traceback itself is told"
    assert text.startswith("{") == (log_format == "json")


@pytest.mark.usefixtures("_as_it_was")
def test_a_json_record_is_one_line_with_key_and_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, "json")
    with structlog.contextvars.bound_contextvars(key="match/calls/m", reconcile=7):
        structlog.get_logger("controller.test").info("match", phase="Active")
    (line,) = stream.getvalue().splitlines()
    record = json.loads(line)
    assert (record["event"], record["phase"], record["key"], record["reconcile"]) == (
        "match",
        "Active",
        "match/calls/m",
        7,
    )
    assert (record["level"], record["logger"]) == ("info", "controller.test")
    assert record["timestamp"].endswith("Z")


@pytest.mark.usefixtures("_as_it_was")
def test_the_keys_of_every_json_record_are_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, "json")
    with structlog.contextvars.bound_contextvars(reconcile=7, trace_id="uid", key="match/calls/m"):
        structlog.get_logger("controller.test").info("match is over", uid="uid", reason="Skipped")
        logging.getLogger("library").warning("trouble")
    ours, theirs = (list(json.loads(line)) for line in stream.getvalue().splitlines())
    first = ["timestamp", "level", "event", "key", "trace_id", "reconcile", "logger"]
    assert ours == [*first, "uid", "reason"]
    assert theirs[:3] == first[:3]


@pytest.mark.usefixtures("_as_it_was")
def test_the_chatter_of_libraries_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, "json")
    for name in ("kopf.objects", "aiohttp.access", "asyncio", "livekit"):
        logging.getLogger(name).info("chatter")
    logging.getLogger("kopf.objects").warning("trouble")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["trouble"]


@pytest.mark.usefixtures("_as_it_was")
def test_what_is_less_severe_than_wanted_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = written(monkeypatch, "json", "warning")
    structlog.get_logger("controller.test").info("quiet")
    logging.getLogger("kopf").info("chatter")
    structlog.get_logger("controller.test").warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


@pytest.mark.usefixtures("_as_it_was")
def test_a_secret_that_is_learned_later_is_blanked_and_those_of_the_settings_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = written(monkeypatch, "json")
    log = structlog.get_logger("controller.test")
    for number in range(300):
        also_blank((f"rotated-{number}.", ""))
    also_blank(("rotated-299.",))
    log.info(f"between rotated-298. and rotated-299. there is {SECRET}")
    assert "between [redacted] and [redacted] there is [redacted]" in stream.getvalue()
