"""Structured logs: one line per record, with key and reconcile id, and nothing secret in it.

structlog renders our own records and those of the libraries (kopf, aiohttp) alike. Text that looks like a token or a
password is blanked in every record (`redaction`), and so are the secrets of the settings, because libraries repeat what
they were sent. Secrets that change while the process runs are added (`also_blank`).
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import structlog

from controller.redaction import BLANK, redact

# Each of them is looked for in every text. What was in use before so many changes is in use nowhere.
_MOST_ADDED: Final = 256


class Redactor:
    """Blanks tokens and the given secrets in every text of a record, nested ones included."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)
        self._added: deque[str] = deque(maxlen=_MOST_ADDED)

    def add(self, secrets: Iterable[str]) -> None:
        """Blank these secrets too, from now on."""
        for secret in secrets:
            if secret and secret not in self._secrets and secret not in self._added:
                self._added.append(secret)

    def text(self, value: str) -> str:
        """`value` without secrets."""
        for secret in (*self._secrets, *self._added):
            value = value.replace(secret, BLANK)
        return redact(value)

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The structlog processor."""
        for key, value in event.items():
            event[key] = self._clean(value)
        return event

    def _clean(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._clean(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(item) for item in value]
        if isinstance(value, int | float | bool | None):
            return value
        return self.text(str(value))


# What a reader looks for first, in the order in which every line has it.
_FIRST: Final = ("timestamp", "level", "event", "key", "trace_id", "reconcile", "logger")


def in_order(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The structlog processor that gives all lines the same order of keys; what a line alone has comes last."""
    return {name: event[name] for name in _FIRST if name in event} | dict(event)


# That of the process: there is one log.
_redactor = Redactor(())


def also_blank(secrets: Iterable[str]) -> None:
    """Blank these secrets in the log too: they were not in the settings when it was configured."""
    _redactor.add(secrets)


def configure(log_format: str, level: str, secrets: tuple[str, ...]) -> None:
    """Send everything to stderr in `log_format` ("json" or "console"), from `level` on. Blank `secrets` in it."""
    global _redactor  # noqa: PLW0603 - there is one log
    _redactor = Redactor(secrets)
    console = log_format == "console"
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    finish: list[structlog.typing.Processor] = (
        [
            structlog.processors.format_exc_info,
            _redactor,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ]
        if console
        else [structlog.processors.format_exc_info, _redactor, in_order, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        # A line below the level costs a call, and no record is made of it.
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("kopf", "aiohttp.access", "asyncio", "livekit"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # kopf logs each attempt of a request that fails, and the end of each of its tasks with a traceback. The operator
    # restarts the watch, and says why in one line (`triggers.scope`).
    for name in ("kopf._cogs", "kopf._core.reactor"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
