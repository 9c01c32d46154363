"""Draw docs/fast.svg from the table of docs/fast.md: how many times as fast each work is as what people use today.

    python benchmarks/chart.py [docs/fast.svg]

The figures are those of docs/PERFORMANCE.md, which the other scripts of this folder print. The bars are logarithmic:
from 1 (as fast) to 100 times.
"""

from __future__ import annotations

import math
import re
import sys
from html import escape
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROW = re.compile(r"^\| (.+?) \| (.+?) \| ([\d.]+) times as fast \|$", re.MULTILINE)
WIDTH, LEFT, RIGHT, STEP, TOP = 800, 330, 70, 44, 56
MOST = 100


def figures(text: str) -> list[tuple[str, str, float]]:
    """Return the rows of the table: the work, what it is compared with, how many times as fast it is."""
    return [(work, peer.replace("`", ""), float(times)) for work, peer, times in ROW.findall(text)]


def chart(rows: list[tuple[str, str, float]]) -> str:
    """Return the chart as SVG, on a ground of its own so that it is read in light and in dark."""
    scale = (WIDTH - LEFT - RIGHT) / math.log(MOST)
    height = TOP + STEP * len(rows) + 16
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="14" role="img">',
        "<title>How many times as fast as what people use today</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#f6f7fb"/>',
        '<text x="20" y="30" font-size="16" font-weight="600" fill="#1f2540">times as fast, on two cores</text>',
    ]
    for times in (1, 3, 10, 30, 100):
        x = LEFT + scale * math.log(times)
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 12}" stroke="#d5d9e8"/>')
        drawn.append(
            f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle" font-size="12" fill="#6b7190">{times}</text>'
        )
    for at, (work, peer, times) in enumerate(rows):
        y = TOP + STEP * at
        long = scale * math.log(min(max(times, 1.02), MOST))
        drawn.append(f'<text x="20" y="{y + 16}" fill="#1f2540">{escape(work)}</text>')
        drawn.append(f'<text x="20" y="{y + 32}" font-size="12" fill="#6b7190">beside {escape(peer)}</text>')
        drawn.append(f'<rect x="{LEFT}" y="{y + 6}" width="{long:.1f}" height="22" rx="3" fill="#3f51b5"/>')
        drawn.append(f'<text x="{LEFT + long + 8:.1f}" y="{y + 22}" font-weight="600" fill="#1f2540">{times:g}×</text>')
    return "\n".join([*drawn, "</svg>", ""])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "fast.svg"
    target.write_text(chart(figures((DOCS / "fast.md").read_text("utf-8"))), "utf-8")
