"""Curves as an SVG picture: for each axis of growth one panel of rates and one of memory, side by side.

Both scales of a panel are logarithmic, so that a curve which doubles with every doubling is a straight rise, and one
that does not depend on size is level. Written by hand for the reason that `bench.plot` gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, PANEL, HEIGHT, TOP, LEFT, GAP = 900, 330, 170, 60, 70, 120
COLOURS = ("#2e8b57", "#2c6fbb", "#c0392b", "#b8860b")
_INK, _GRID = "#808080", "#80808055"


class Panel(NamedTuple):
    """`curves`: by name, points (size, value), both above 0."""

    title: str
    curves: Mapping[str, Sequence[tuple[float, float]]]


def svg(title: str, rows: Sequence[Sequence[Panel]]) -> str:
    """A complete document, a row of panels for each of `rows`; panels without a point are left empty."""
    height = TOP + len(rows) * (HEIGHT + 70)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="11" fill="{_INK}">',
        f'<text x="12" y="22" font-size="16">{escape(title)}</text>',
    ]
    for line, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            parts += _panel(panel, LEFT + column * (PANEL + GAP), TOP + line * (HEIGHT + 70))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float, top: float) -> list[str]:
    parts = [f'<text x="{left}" y="{top - 10}" font-size="13">{escape(panel.title)}</text>']
    points = [point for curve in panel.curves.values() for point in curve]
    if not points:
        return parts
    widths, heights = _decades([x for x, _ in points]), _decades([y for _, y in points])

    def x(value: float) -> float:
        return left + PANEL * _share(value, widths)

    def y(value: float) -> float:
        return top + HEIGHT * (1 - _share(value, heights))

    for power in range(widths[0], widths[1] + 1):
        at = x(10.0**power)
        parts.append(f'<line x1="{at:.1f}" y1="{top}" x2="{at:.1f}" y2="{top + HEIGHT}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{at:.1f}" y="{top + HEIGHT + 14}" text-anchor="middle">{10**power:,}</text>')
    for power in range(heights[0], heights[1] + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{left}" y1="{at:.1f}" x2="{left + PANEL}" y2="{at:.1f}" stroke="{_GRID}"/>')
        parts.append(f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:,g}</text>')
    for number, (name, curve) in enumerate(panel.curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x(size):.1f},{y(value):.1f}" for size, value in curve)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        label = left + number * PANEL / max(len(panel.curves), 1)
        parts.append(f'<text x="{label:.1f}" y="{top + HEIGHT + 32}" fill="{colour}">{escape(name)}</text>')
    return parts


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around all values; never the same one twice."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _share(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])
