"""Asking several servers the same question at once: sentinels for the master, nodes of a cluster for the slots."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, TypeVar

from redis import exceptions

from controller.clients.redis.errors import RAISED

T = TypeVar("T")

# A server that hangs must not hold up what the others know.
_PATIENCE_SECONDS: Final = 0.3


async def ask_all(questions: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The answers of all who answer within a moment after the first one.

    If none answers, the last error is raised: one of redis-py's.
    """
    tasks = [asyncio.create_task(question) for question in questions]
    waiting, answers = set(tasks), list[T]()
    failure: Exception = exceptions.ConnectionError("there is no server to ask")
    try:
        while waiting:
            timeout = _PATIENCE_SECONDS if answers else None
            done, waiting = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                try:
                    answers.append(task.result())
                except RAISED as error:
                    failure = error
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    if not answers:
        raise failure
    return answers
