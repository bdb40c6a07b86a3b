"""Draws how the figures of live calls grow, as a small SVG: both axes logarithmic, each line from 1 at the fewest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.live.figures import LiveFigures, by_size

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 250, 20, 45
_LINE_HEIGHT = 15


@dataclass(frozen=True)
class Line:
    """A line: its name, its color, and what it shows."""

    name: str
    color: str
    value: Callable[[LiveFigures], float]


_LINES = (
    Line("CPU of a Match", "#1b6ac9", lambda one: one.cpu_ms_per_match),
    Line("CPU while nothing happens", "#c2410c", lambda one: one.idle_cpu_ms_per_s),
    Line("CPU of a poll", "#15803d", lambda one: one.poll_cpu_ms),
    Line("restart → all decided", "#7c3aed", lambda one: one.all_decided_s),
    Line("leader killed → all decided", "#be185d", lambda one: one.takeover_all_s),
)


def svg(figures: Sequence[LiveFigures]) -> str:
    """Return the plot. Raises ValueError if there are not two sizes at least."""
    ordered = by_size(figures)
    if len({one.live for one in ordered}) < 2:
        raise ValueError("a plot of the growth needs two sizes at least")
    least, most = ordered[0].live, ordered[-1].live
    lines = [(line, [line.value(one) / max(line.value(ordered[0]), 1e-9) for one in ordered]) for line in _LINES]
    # The line that says "in proportion" ends at the top.
    floor = min(1.0, *(value for _, values in lines for value in values if value > 0))
    highest = max(most / least, *(value for _, values in lines for value in values))
    scale = _Scale(least, most, floor, highest)
    parts = [*_frame(scale, [one.live for one in ordered]), *_proportion(scale)]
    for line, values in lines:
        points = " ".join(f"{scale.x(one.live)},{scale.y(value)}" for one, value in zip(ordered, values, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="2"/>')
    parts += _names(scale, [(line, values[-1]) for line, values in lines])
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif"'
    return f'{head} font-size="12">\n' + "\n".join(parts) + "\n</svg>\n"


@dataclass(frozen=True)
class _Scale:
    least: float
    most: float
    floor: float
    highest: float

    def x(self, live: float) -> float:
        """Where so many calls are."""
        share = math.log(live / self.least) / math.log(self.most / self.least)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, times: float) -> float:
        """Where so many times the first value is."""
        share = math.log(max(times, self.floor) / self.floor) / math.log(self.highest / self.floor)
        return round(_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM), 1)


def _frame(scale: _Scale, sizes: Sequence[int]) -> Iterator[str]:
    """The ground, the axes and their marks."""
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>'
    left, right, bottom = scale.x(scale.least), scale.x(scale.most), scale.y(scale.floor)
    yield f'<path d="M{left},{_TOP} V{bottom} H{right}" fill="none" stroke="#444"/>'
    for size in sizes:
        told = f"{size:,}".replace(",", " ")
        yield f'<text x="{scale.x(size)}" y="{bottom + 16}" text-anchor="middle">{told}</text>'
    yield f'<text x="{(left + right) / 2}" y="{bottom + 34}" text-anchor="middle">live calls</text>'
    for power in range(math.ceil(math.log10(scale.floor)), math.floor(math.log10(scale.highest)) + 1):
        height = scale.y(10.0**power)
        yield f'<path d="M{left},{height} H{right}" stroke="#ddd"/>'
        yield f'<text x="{left - 6}" y="{height + 4}" text-anchor="end">{10.0**power:g} ×</text>'


def _proportion(scale: _Scale) -> Iterator[str]:
    """A dashed line: as much more as there are more calls."""
    most = scale.most / scale.least
    ends = f"M{scale.x(scale.least)},{scale.y(1)} L{scale.x(scale.most)},{scale.y(most)}"
    yield f'<path d="{ends}" stroke="#888" stroke-dasharray="5 4"/>'
    yield f'<text x="{scale.x(scale.most) + 8}" y="{scale.y(most) + 4}" fill="#666">in proportion to the calls</text>'


def _names(scale: _Scale, ends: Sequence[tuple[Line, float]]) -> Iterator[str]:
    """The name of each line at its end, none of them on another one."""
    below = scale.y(scale.most / scale.least) + 4
    for line, times in sorted(ends, key=lambda end: -end[1]):
        below = max(below + _LINE_HEIGHT, scale.y(times) + 4)
        text = escape(f"{line.name}, {times:.1f} ×")
        yield f'<text x="{scale.x(scale.most) + 8}" y="{below:.1f}" fill="{line.color}">{text}</text>'
