"""What a check answers: a key of its row with details, and the finding that the row makes of it. Values only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp

from controller.clients.kubernetes import KubernetesClient
from controller.clock import ServerClock
from controller.settings import Settings


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    UNCHECKED = "unchecked"
    """It could not be asked; that is no failure."""


@dataclass(frozen=True, slots=True)
class Saying:
    """One way in which a check can end: a sentence with `{details}`, and what would make it right."""

    verdict: Verdict
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The key of a saying, and the details for its braces."""

    key: str
    details: Mapping[str, Any]


def answer(key: str, **details: Any) -> Answer:
    """An answer with these details."""
    return Answer(key, details)


@dataclass(frozen=True, slots=True)
class Scene:
    """What the checks look at, and with what."""

    settings: Settings | None
    """None: none are given here, or they are wrong."""
    settings_answer: Answer
    kubernetes: KubernetesClient
    clock: ServerClock
    http: aiohttp.ClientSession
    server: str
    namespace: str
    name: str
    """The operator's Deployment."""
    lease_name: str
    webhook_url: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table."""

    name: str
    asks: str
    """What it asks, for the documentation."""
    ask: Callable[[Scene], Awaitable[Answer]]
    says: Mapping[str, Saying]


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check ended, in words."""

    name: str
    verdict: Verdict
    sentence: str
    remedy: str = ""


def finding(check: Check, given: Answer) -> Finding:
    """The finding of a row for this answer."""
    saying = check.says[given.key]
    sentence, remedy = (text.format(**given.details) for text in (saying.sentence, saying.remedy))
    return Finding(check.name, saying.verdict, sentence, remedy)
