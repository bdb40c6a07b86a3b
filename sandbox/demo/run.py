"""Sets everything up, runs the story, and leaves nothing running.

Exit status: 0 only if each step was verified; 1 if a step failed or a program died; 130 after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path

from sandbox.demo.checks import StepFailed, require
from sandbox.demo.drain import DrainStory
from sandbox.demo.pool import PoolStory
from sandbox.demo.screen import Screen
from sandbox.demo.story import Story, Verified
from sandbox.demo.world import UNANSWERED, open_world
from sandbox.errors import SandboxError
from sandbox.interrupts import terminate_as_interrupt
from sandbox.parts import STACK_PROGRAMS, Located, ensure
from sandbox.progress import Progress
from sandbox.source import DEMO_DIRECTORY
from sandbox.stack import Stack, StackOptions

_IN_THE_TITLE = ("kube-apiserver", "livekit-server", "redis-server")
EXIT_STATUS_INTERRUPTED = 128 + signal.SIGINT


class Demo:
    """One run of the demo."""

    def __init__(self, directory: Path, parts: Mapping[str, Located], screen: Screen) -> None:
        self._parts = parts
        self._screen = screen
        self._step = "stack up"
        self._stack = Stack(StackOptions(directory=directory))

    async def run(self) -> int:
        """Run it; returns the exit status."""
        began = time.monotonic()
        try:
            with self._screen.running("starting Kubernetes' API, LiveKit, Redis and the operator"):
                await self._stack.start()
            self._screen.done("stack up", f"{len(self._pids())} programs, operator ready", time.monotonic() - began)
            await self._run_story_unless_a_program_dies()
            await self._stop()
        except SandboxError as failure:
            self._screen.failed(self._step, self._explain(failure))
            return 1
        finally:
            await self._stack.stop()
        self._screen.close(
            "All steps verified.",
            " Next: .venv/bin/roomkeeper sandbox up · docs/quickstart.md · make test",
        )
        return 0

    async def _run_story_unless_a_program_dies(self) -> None:
        story = asyncio.create_task(self._run_story())
        death = asyncio.create_task(self._stack.wait_for_death())
        try:
            await asyncio.wait({story, death}, return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise death.result()
            story.result()
        finally:
            for task in (story, death):
                task.cancel()
            await asyncio.wait({story, death})

    async def _run_story(self) -> None:
        async with open_world(self._stack.endpoints, self._parts["kubectl"].path) as world:
            story = Story(world)
            steps = (*story.steps(), *DrainStory(story).steps(), *PoolStory(world).steps(), *story.steps_of_a_room())
            for what, step in steps:
                self._step = what
                with self._screen.running(what):
                    verified = await _answered(step())
                self._screen.done(what, verified.detail, verified.seconds)
                for text in verified.shown:
                    self._screen.show(text)

    async def _stop(self) -> None:
        self._step = "stack down"
        pids = self._pids()
        began = time.monotonic()
        with self._screen.running("stopping everything"):
            await self._stack.stop()
        left = [name for name, pid in pids.items() if _is_running(pid)]
        require(not left, "no program to be left running", left)
        self._screen.done("stack down", "nothing is left running", time.monotonic() - began)

    def _pids(self) -> dict[str, int]:
        return {name: self._stack.pid(name) for name in (*STACK_PROGRAMS, "operator") if self._stack.is_running(name)}

    def _explain(self, failure: SandboxError) -> list[tuple[str, str]]:
        logs = ("logs", str(self._stack.directory.path / "logs"))
        if isinstance(failure, StepFailed):
            return [("expected", failure.expected), ("seen", failure.seen), logs]
        return [("because", str(failure)), logs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo with the arguments of a command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.demo", description="A call on real programs, verified.")
    parser.add_argument(
        "--dir", type=Path, default=DEMO_DIRECTORY, help="directory for the logs and files of its stack"
    )
    return tell(parser.parse_args(arguments).dir)


def tell(directory: Path) -> int:
    """Run the demo in a directory; returns the exit status."""
    screen = Screen()
    try:
        with terminate_as_interrupt():
            parts = ensure((*STACK_PROGRAMS, "kubectl"), Progress())
        versions = ", ".join(f"{name} {parts[name].version}" for name in _IN_THE_TITLE)
        screen.title("Roomkeeper demo", f"real parts: {versions}")
        return asyncio.run(_until_interrupted(directory, parts, screen))
    except SandboxError as error:
        print(f"roomkeeper demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return EXIT_STATUS_INTERRUPTED


async def _until_interrupted(directory: Path, parts: Mapping[str, Located], screen: Screen) -> int:
    story = asyncio.ensure_future(Demo(directory, parts, screen).run())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, story.cancel)
    try:
        return await story
    except asyncio.CancelledError:
        print("roomkeeper demo: interrupted; everything was stopped", file=sys.stderr)
        return EXIT_STATUS_INTERRUPTED


async def _answered(step: Awaitable[Verified]) -> Verified:
    try:
        return await step
    except UNANSWERED as error:
        raise StepFailed("Kubernetes, LiveKit and Redis to answer", f"{type(error).__name__}: {error}") from error


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
