"""Draw the README's pictures from the files of results: `python -m tests.benchmarks.pictures`."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from math import ceil, log10
from pathlib import Path
from typing import Final

from tests.benchmarks.report import RESULTS, read_results

WIDTH: Final = 860
FONT: Final = 'font-family="system-ui, sans-serif" font-size="13"'
INK, FAINT, PAPER = "#1f2933", "#d5dae0", "#ffffff"
# Colours that colour-blind people can tell apart too (Okabe and Ito, "Color universal design"), from light to dark.
COLOURS: Final = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#7a5195", "#8c8c8c")
DARK: Final = frozenset(("#009e73", "#0072b2", "#d55e00", "#7a5195"))

STAGES: Final = {
    "Python and its standard library": ("interpreter", "Python"),
    "NumPy": ("NumPy",),
    "Pillow": ("Pillow",),
    "ONNX Runtime": ("ONNX Runtime",),
    "FastAPI, pydantic, Mangum": ("pydantic", "FastAPI", "Mangum"),
    "pg8000": ("pg8000",),
    "this repository's code": ("own code",),
    "session, connection, first answer": ("session", "warm-up", "connect", "first request"),
}
"""The labels of a cold start's stages in the picture."""


def draw() -> list[Path]:
    """Draw a picture of each file of results that exists, and return the pictures' files."""
    drawn = []
    for name, results, key, picture in (
        ("latency_over_rows.svg", "ten_million", "latency_ms", latency_over_rows),
        ("cold_start.svg", "bench", "cold_start_ms", cold_start),
    ):
        if (RESULTS / f"{results}.json").exists():
            file = RESULTS / name
            file.write_text(picture(read_results(results)[key]))
            drawn.append(file)
    return drawn


def latency_over_rows(latency: Mapping[str, Mapping[str, float]]) -> str:
    """Draw milliseconds against the number of predictions, with a line for each question.

    Parameters
    ----------
    latency
        For each question, median milliseconds by number of predictions.

    Returns
    -------
    str
        SVG.
    """
    left, right, top, bottom, height = 60, 290, 46, 50, 420
    sizes = sorted({int(size) for by_size in latency.values() for size in by_size})
    most = ceil(2 * max(max(by_size.values()) for by_size in latency.values())) / 2
    low, high = log10(sizes[0]), log10(sizes[-1])

    def x(size: int) -> float:
        return left + (log10(size) - low) / (high - low or 1) * (WIDTH - left - right)

    def y(milliseconds: float) -> float:
        return height - bottom - milliseconds / most * (height - top - bottom)

    parts = [_text(left - 40, 24, "Milliseconds (p50) over the number of predictions in the ledger", weight="bold")]
    for step in range(int(most * 2) + 1):
        parts.append(_line(left, y(step / 2), WIDTH - right, y(step / 2), FAINT))
        parts.append(_text(left - 8, y(step / 2) + 4, f"{step / 2:g}", anchor="end"))
    parts += [_text(x(size), height - bottom + 22, f"{size:,}", anchor="middle") for size in sizes]
    ends = {what: y(by_size[str(sizes[-1])]) for what, by_size in latency.items()}
    places = _apart(ends, 17)
    for colour, (what, by_size) in zip(COLOURS, latency.items(), strict=False):
        points = [(x(int(size)), y(took)) for size, took in sorted(by_size.items(), key=lambda item: int(item[0]))]
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2.5" '
            f'points="{" ".join(f"{at:.1f},{height:.1f}" for at, height in points)}"/>'
        )
        parts += [f'<circle cx="{at:.1f}" cy="{height:.1f}" r="3.5" fill="{colour}"/>' for at, height in points]
        parts.append(_line(points[-1][0] + 6, points[-1][1], WIDTH - right + 22, places[what], colour))
        parts.append(_text(WIDTH - right + 26, places[what] + 4, what))
    return _svg(height, parts)


def cold_start(stages: Mapping[str, Mapping[str, float]]) -> str:
    """Draw where the milliseconds of cold starts go, with a bar for each function.

    Parameters
    ----------
    stages
        For each function, median milliseconds by stage.

    Returns
    -------
    str
        SVG.
    """
    left, right, top, bar, gap = 70, 80, 46, 34, 18
    longest = max(sum(own.values()) for own in stages.values())
    legend = top + len(stages) * (bar + gap) + 14
    parts = [_text(20, 24, "Milliseconds from a new process to its first answer (p50 of each stage)", weight="bold")]
    for number, (function, own) in enumerate(stages.items()):
        y, at = top + number * (bar + gap), float(left)
        parts.append(_text(left - 10, y + bar / 2 + 5, function, anchor="end"))
        for colour, (stage, names) in zip(COLOURS, STAGES.items(), strict=True):
            took = sum(own.get(name, 0) for name in names)
            width = took / longest * (WIDTH - left - right)
            parts.append(
                f'<rect x="{at:.1f}" y="{y}" width="{width:.1f}" height="{bar}" fill="{colour}">'
                f"<title>{escape(stage)}: {took:.0f} ms</title></rect>"
            )
            if width > 30:
                label = _text(at + width / 2, y + bar / 2 + 5, f"{took:.0f}", anchor="middle")
                parts.append(f'<g fill="{PAPER}">{label}</g>' if colour in DARK else label)
            at += width
        parts.append(_text(at + 8, y + bar / 2 + 5, f"{sum(own.values()):.0f} ms", weight="bold"))
    for number, (colour, stage) in enumerate(zip(COLOURS, STAGES, strict=True)):
        x, y = left + number % 3 * 255, legend + number // 3 * 24
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="14" fill="{colour}"/>')
        parts.append(_text(x + 20, y + 12, stage))
    return _svg(legend + ceil(len(STAGES) / 3) * 24 + 12, parts)


def _apart(places: Mapping[str, float], distance: float) -> dict[str, float]:
    """Move labels down until none overlaps another."""
    moved: dict[str, float] = {}
    below = -distance
    for what, place in sorted(places.items(), key=lambda item: item[1]):
        below = moved[what] = max(place, below + distance)
    return moved


def _svg(height: float, parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" {FONT} fill="{INK}">',
            f'<rect width="{WIDTH}" height="{height:g}" rx="8" fill="{PAPER}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _say(files: Iterable[Path]) -> None:
    for file in files:
        print(f"drawn: {file}")


if __name__ == "__main__":
    _say(draw())
