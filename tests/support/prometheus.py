"""A real Prometheus that scrapes operators of tests every half second, with the rules of the chart.

async with Prometheus(program, directory, port, {"operator": operator.url}, rules) as prometheus:
    await prometheus.fires("RoomkeeperNoLeader")
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
import yaml

from sandbox.launch import launched
from sandbox.recipes import bare_environment
from tests.support.waiting import eventually, patience

_EVERY = "500ms"


def at_once(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The groups of a PrometheusRule, whose alerts fire as soon as their expressions are true."""
    return {
        "groups": [
            {**group, "rules": [{**rule, "for": "0s"} if "alert" in rule else rule for rule in group["rules"]]}
            for group in rules["groups"]
        ]
    }


class Prometheus:
    """One process, with its data in `directory`."""

    def __init__(
        self, program: Path, directory: Path, port: int, targets: Mapping[str, str], rules: Mapping[str, Any]
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._directory, self._jobs = directory, set(targets)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "rules.yaml").write_text(yaml.safe_dump(dict(rules)))
        scrapes = [
            {"job_name": name, "static_configs": [{"targets": [urlsplit(url).netloc]}]} for name, url in targets.items()
        ]
        configuration = {
            "global": {"scrape_interval": _EVERY, "scrape_timeout": _EVERY, "evaluation_interval": _EVERY},
            "rule_files": ["rules.yaml"],
            "scrape_configs": scrapes,
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        self._command = (
            *(str(program), f"--config.file={directory / 'prometheus.yaml'}", f"--storage.tsdb.path={directory}/data"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"),
        )
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=patience()))
        with (self._directory / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launched(self._command), stdout=log, stderr=log, env=bare_environment(), start_new_session=True
            )
        await eventually(self._is_ready)
        await eventually(self._has_scraped)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await self._session.close()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression is now: its series, each with `metric` and `value`."""
        return list((await self._ask("query", query=expression))["result"])

    async def draws(self, expression: str, minutes: int = 15) -> bool:
        """Whether a graph of the last minutes has a value, as Grafana asks for it."""
        now = time.time()
        words = {"start": f"{now - 60 * minutes:.0f}", "end": f"{now:.0f}", "step": "2"}
        series = (await self._ask("query_range", query=expression, **words))["result"]
        return any(value != "NaN" for one in series for _, value in one["values"])

    async def firing(self) -> dict[str, dict[str, str]]:
        """The alerts that fire now, with their labels."""
        alerts = (await self._ask("alerts"))["alerts"]
        return {alert["labels"]["alertname"]: alert["labels"] for alert in alerts if alert["state"] == "firing"}

    async def fires(self, name: str, at_least_seconds: float = 0.0) -> dict[str, str]:
        """Wait until this alert fires; return its labels."""

        async def condition() -> dict[str, str]:
            firing = await self.firing()
            assert name in firing, f"{name} does not fire, but {sorted(firing)}"
            return firing[name]

        return await eventually(condition, at_least_seconds)

    async def is_silent_about(self, name: str) -> None:
        """Wait until this alert does not fire."""

        async def condition() -> None:
            assert name not in await self.firing()

        await eventually(condition)

    async def _ask(self, what: str, **words: str) -> dict[str, Any]:
        async with self._session.get(f"{self.url}/api/v1/{what}", params=words) as answer:
            said = await answer.json()
        assert said["status"] == "success", f"{words}: {said}"
        data: dict[str, Any] = said["data"]
        return data

    async def _has_scraped(self) -> None:
        """The first values are there: a counter that is counted before them has not increased for Prometheus."""
        scraped = {one["metric"]["job"] for one in await self.query("up == 1")}
        assert scraped == self._jobs, f"{sorted(self._jobs - scraped)} was not scraped"

    async def _is_ready(self) -> None:
        assert self._process is not None
        assert self._process.returncode is None, (self._directory / "log").read_text()
        try:
            async with self._session.get(f"{self.url}/-/ready") as answer:
                assert answer.status == 200
        except aiohttp.ClientError as error:
            raise AssertionError(str(error)) from None
