"""The plot of docs/performance.md: requests per second of all peers on Redis, as SVG."""

from collections.abc import Mapping
from html import escape
from statistics import median

from .measure import GroupResult
from .registry import GET, PUT
from .wrk import Measurement

_WIDTH, _NAMES, _FIGURES = 760, 260, 60  # pixels: the whole, the names, and the figures behind the bars
_ROW, _BAR, _TOP = 38, 13, 34
_COLOURS = {True: ("#15803d", "#86efac"), False: ("#475569", "#cbd5e1")}  # ours and others: GET, PUT
_TEXT = "#64748b"  # legible on a light and on a dark page


def draw(group: GroupResult) -> str:
    """Return horizontal bars, fastest GET first."""
    rates = {name: _rates(result.runs) for name, result in group.results.items() if PUT in result.runs}
    names = sorted(rates, key=lambda name: rates[name][0], reverse=True)
    scale = (_WIDTH - _NAMES - _FIGURES) / max(max(pair) for pair in rates.values())
    height = _TOP + _ROW * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        f'font-size="12" fill="{_TEXT}" role="img">',
        "<title>Requests per second with sessions on Redis</title>",
        f'<text x="{_NAMES}" y="16">Requests per second, sessions on Redis: upper bar GET /api/cart, '
        "lower bar PUT</text>",
    ]
    for row, name in enumerate(names):
        y = _TOP + row * _ROW
        title = escape(name.removesuffix(", redis"))
        parts.append(f'<text x="{_NAMES - 8}" y="{y + 18}" text-anchor="end">{title}</text>')
        is_ours = "cartapp" in name
        for place, (rate, colour) in enumerate(zip(rates[name], _COLOURS[is_ours], strict=True)):
            top, width = y + place * _BAR, rate * scale
            parts.append(
                f'<rect x="{_NAMES}" y="{top}" width="{width:.0f}" height="{_BAR - 1}" fill="{colour}"/>'
                f'<text x="{_NAMES + width + 5:.0f}" y="{top + 10}" font-size="10">{rate:,.0f}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def _rates(runs: Mapping[str, list[Measurement]]) -> tuple[float, float]:
    return median(run.rate for run in runs[GET]), median(run.rate for run in runs[PUT])
