"""Draw the growth of a cost by the number of sessions as an SVG."""

from collections.abc import Mapping
from math import log10

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 60, 110, 30, 40
TEXT = "#64748b"  # legible on a light and on a dark page
COLORS = ("#c0392b", "#2e6da4", "#b9770e", "#27864c", "#7d3c98")


def draw(series: Mapping[str, Mapping[int, float]]) -> str:
    """Return a plot of multiples by sessions for each name; the number of sessions is logarithmic."""
    sizes = sorted({size for costs in series.values() for size in costs})
    most = max(cost for costs in series.values() for cost in costs.values())
    first, last = log10(sizes[0]), log10(sizes[-1])

    def x(size: int) -> float:
        return LEFT + (log10(size) - first) / ((last - first) or 1) * (WIDTH - LEFT - RIGHT)

    def y(cost: float) -> float:
        return HEIGHT - BOTTOM - cost / most * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="{TEXT}">',
        "<title>Time of a save, as a multiple of that on a small store, by the number of sessions</title>",
        f'<text x="{LEFT}" y="18">a save, as a multiple of one on a store with 1,000 sessions</text>',
    ]
    for cost in (0, most / 2, most):
        parts.append(
            f'<path d="M{LEFT} {y(cost):.1f}H{WIDTH - RIGHT}" stroke="{TEXT}" stroke-opacity="0.3"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y(cost) + 4:.1f}" text-anchor="end">{cost:.2f}</text>')
    for size in sizes:
        parts.append(f'<text x="{x(size):.1f}" y="{HEIGHT - 14}" text-anchor="middle">{size:,}</text>')
    for (name, costs), color in zip(series.items(), COLORS, strict=False):
        points = [(x(size), y(cost)) for size, cost in sorted(costs.items())]
        line = " ".join(f"{at:.1f},{height:.1f}" for at, height in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{at:.1f}" cy="{height:.1f}" r="3" fill="{color}"/>' for at, height in points]
        end, height = points[-1]
        parts.append(f'<text x="{end + 8:.1f}" y="{height + 4:.1f}" fill="{color}">{name}</text>')
    return "\n".join((*parts, "</svg>\n"))
