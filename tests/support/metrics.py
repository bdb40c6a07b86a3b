"""The samples of an operator's /metrics, as numbers to compare."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Metrics:
    """All samples of one moment."""

    samples: tuple[Sample, ...]
    text: str

    def __call__(self, name: str, **labels: str) -> float:
        """The sum over all samples of that name that have these labels; 0 if there are none."""
        return sum(s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items())

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one sample with these labels; None if there is none."""
        found = [s.value for s in self.samples if s.name == name and s.labels == labels]
        return found[0] if found else None


async def read_metrics(url: str) -> Metrics:
    """GET `url` and return its samples."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200, await answer.text()
        text = await answer.text()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return Metrics(tuple(samples), text)
