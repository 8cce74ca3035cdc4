"""Ratios as an SVG picture: one line a row, the median as a dot, the range as a bar, the goal as a tick.

The axis is logarithmic, so that twice as fast and half as fast are equally far from 1. Written by hand, because the
picture is thirty lines and a plotting library is a dependency. The colours show on white and on black.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from bench.ratios import Spread

WIDTH, LEFT, RIGHT, TOP, STEP = 860, 250, 110, 64, 26
_GOOD, _BAD, _INK, _GRID = "#2e8b57", "#c0392b", "#808080", "#80808055"
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)


class Bar(NamedTuple):
    """One line of the picture. `goal` None: better than 1 is good."""

    title: str
    ratio: Spread
    goal: float | None


def svg(title: str, subtitle: str, bars: Sequence[Bar]) -> str:
    """A complete document; `bars` may be empty."""
    height = TOP + STEP * len(bars) + 40
    low, high = _range(bars)

    def x(value: float) -> float:
        share = (math.log(max(value, low)) - math.log(low)) / (math.log(high) - math.log(low))
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="13" fill="{_INK}">',
        f'<text x="12" y="22" font-size="16">{escape(title)}</text>',
        f'<text x="12" y="42" font-size="11">{escape(subtitle)}</text>',
    ]
    for tick in _TICKS:
        if low <= tick <= high:
            parts += _grid_line(x(tick), height - 30, f"{tick:g}", strong=tick == 1)
    for number, bar in enumerate(bars):
        parts += _bar(bar, TOP + STEP * number + STEP / 2, x)
    return "\n".join([*parts, "</svg>", ""])


def _range(bars: Sequence[Bar]) -> tuple[float, float]:
    values = [value for bar in bars for value in (*bar.ratio, bar.goal or 1.0) if value > 0]
    return min([0.5, *values]) / 1.1, max([2.0, *values]) * 1.1


def _grid_line(x: float, bottom: float, label: str, strong: bool) -> list[str]:
    colour = _INK if strong else _GRID
    return [
        f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom:.1f}" stroke="{colour}"/>',
        f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle" font-size="11">{label}</text>',
    ]


def _bar(bar: Bar, y: float, x: Callable[[float], float]) -> list[str]:
    ratio = bar.ratio
    colour = _GOOD if ratio.median >= (bar.goal or 1.0) else _BAD
    parts = [
        f'<text x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(bar.title)}</text>',
        f'<line x1="{x(ratio.least):.1f}" y1="{y:.1f}" x2="{x(ratio.most):.1f}" y2="{y:.1f}" stroke="{colour}" '
        'stroke-width="3" stroke-linecap="round" opacity="0.5"/>',
        f'<circle cx="{x(ratio.median):.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>',
        f'<text x="{WIDTH - RIGHT + 14}" y="{y + 4:.1f}">{ratio.median:.2f}</text>',
    ]
    if bar.goal is not None:
        at = x(bar.goal)
        parts.append(f'<path d="M{at:.1f} {y - 8:.1f}v16" stroke="{_INK}" stroke-width="2"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 52}" y="{y + 4:.1f}" font-size="11">goal {bar.goal:g}</text>')
    return parts
