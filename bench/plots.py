"""Two plots as SVG, drawn by hand: no library is worth a hundred lines."""

import math
from collections.abc import Callable, Iterator
from xml.sax.saxutils import escape

from bench.cases import Race
from bench.measure import Result

WIDTH, LEFT, RIGHT, ROW = 860, 150, 70, 34
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.dim{fill:#777}.ours{fill:#2f6f4f}"
    ".missed{fill:#b5532a}.target{stroke:#222;stroke-width:2}.grid{stroke:#ddd}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.dim{fill:#999}.target{stroke:#eee}"
    ".grid{stroke:#444}}"
)
Compared = list[tuple[Race, Result]]


def ratios(compared: Compared) -> str:
    """A bar for each race, on a logarithmic scale, with a line where it should reach."""
    place = _scale([one for case, result in compared for one in (case.target, result.ratio)])

    def draw() -> Iterator[str]:
        for number, (case, result) in enumerate(compared):
            top = number * ROW + 40
            kind = "ours" if result.ratio >= case.target else "missed"
            x, end = place(result.ratio), place(case.target)
            yield _label(top, case.name)
            yield f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{x - LEFT:.1f}" height="18"/>'
            yield f'<path class="target" d="M{end:.1f} {top - 4}v26"/>'
            yield f'<text x="{max(x, end) + 6:.1f}" y="{top + 14}">{result.ratio:.2f} ×</text>'

    title = "Ours in the peer's; the line is the least to reach (logarithmic)"
    return _picture(title, len(compared), draw())


def rounds(compared: Compared) -> str:
    """A dot for each round of each race, so that one sees how far they lie apart."""
    place = _scale([one.ratio for _, result in compared for one in result.rounds])

    def draw() -> Iterator[str]:
        for number, (case, result) in enumerate(compared):
            top = number * ROW + 40
            yield _label(top, case.name)
            yield f'<path class="grid" d="M{LEFT} {top + 9}H{WIDTH - RIGHT}"/>'
            for one in result.rounds:
                yield f'<circle class="ours" cx="{place(one.ratio):.1f}" cy="{top + 9}" r="5"/>'
            yield f'<text x="{WIDTH - RIGHT + 8}" y="{top + 14}">{result.spread:.0%}</text>'

    return _picture("Each round's ratio, and their spread (logarithmic)", len(compared), draw())


def _scale(values: list[float]) -> Callable[[float], float]:
    low, high = math.log(min(values) * 0.6), math.log(max(values) * 1.2)

    def place(value: float) -> float:
        return LEFT + (math.log(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    return place


def _label(top: int, text: str) -> str:
    return f'<text x="{LEFT - 10}" y="{top + 14}" text-anchor="end">{escape(text)}</text>'


def _picture(title: str, rows: int, parts: Iterator[str]) -> str:
    height = rows * ROW + 50
    inner = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f'<text class="dim" x="10" y="22">{escape(title)}</text>\n{inner}\n</svg>\n'
    )
