"""Validation curves as SVG: a panel for each arm, its runs thin, their mean thick, beside the baseline's."""

from collections.abc import Iterable, Sequence
from html import escape
from statistics import fmean

from metaseg.terminal import visible
from metaseg.watching.state import Curve, StudyView

WIDTH, HEIGHT = 260, 170
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 8, 24
"""Pixels of a panel, and of its margins."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of the Okabe-Ito palette: distinguishable with any colour vision."""

GREY = "#888888"


def draw_curves(view: StudyView) -> str:
    """Panels of the arms that have a validated epoch, as HTML; empty if none has."""
    by_arm: dict[str, dict[str, list[Curve]]] = {arm: {} for arm in view.arms}
    for run in view.runs:
        if run.curve:
            by_arm[run.arm].setdefault(run.part, []).append(run.curve)
    points = [point for run in view.runs for point in run.curve]
    if not points:
        return ""
    last = max(epoch for epoch, _ in points)
    low = max(0.0, min(_floor(f1 for _, f1 in points), 0.9))
    means = {arm: [mean for curves in parts.values() if (mean := mean_curve(curves))] for arm, parts in by_arm.items()}
    panels = []
    for place, (arm, parts) in enumerate(by_arm.items()):
        if parts:
            curves = [curve for of_part in parts.values() for curve in of_part]
            reference = means.get(view.baseline, []) if arm != view.baseline else []
            colour = COLOURS[place % len(COLOURS)]
            panels.append(_panel(arm, curves, means[arm], reference, colour, last, low))
    return f'<div class="panels">{"".join(panels)}</div>'


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Mean over runs of an arm, or of one of its parts, as far as half of those with a curve have come."""
    values: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, f1 in curve:
            values.setdefault(epoch, []).append(f1)
    return tuple((epoch, fmean(found)) for epoch, found in sorted(values.items()) if 2 * len(found) >= len(curves))


def _floor(scores: Iterable[float]) -> float:
    """The lower end of the axis: a tenth below which few validations are; early epochs would flatten the rest."""
    ordered = sorted(scores)
    return int(10 * ordered[len(ordered) // 20]) / 10


def _panel(
    arm: str, curves: Sequence[Curve], means: Sequence[Curve], references: Sequence[Curve], colour: str, last: int,
    low: float,
) -> str:  # fmt: skip
    def path(curve: Curve, style: str) -> str:
        points = " ".join(f"{_x(epoch, last):.1f},{_y(f1, low):.1f}" for epoch, f1 in curve)
        if len(curve) == 1:
            x, y = points.split(",")
            return f'<circle cx="{x}" cy="{y}" r="2" {style.replace("stroke=", "fill=", 1)}/>'
        return f'<polyline points="{points}" fill="none" {style}/>'

    ticks = [low, (1 + low) / 2, 1.0]
    axes = "".join(
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(tick, low):.1f}" y2="{_y(tick, low):.1f}" stroke="#e3e7ee"/>'
        f'<text x="{LEFT - 5}" y="{_y(tick, low) + 4:.1f}" text-anchor="end">{tick:.2f}</text>'
        for tick in ticks
    )
    axes += (
        f'<text x="{LEFT}" y="{HEIGHT - 7}">0</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 7}" text-anchor="end">epoch {last}</text>'
    )
    thin = "".join(path(curve, f'stroke="{colour}" stroke-width="1" opacity="0.35"') for curve in curves)
    dashed = "".join(path(each, f'stroke="{GREY}" stroke-width="1.5" stroke-dasharray="4 3"') for each in references)
    thick = "".join(path(mean, f'stroke="{colour}" stroke-width="2.5"') for mean in means)
    name = escape(visible(arm))
    several = f"{len(curves)} run{'s' * (len(curves) != 1)}"
    return (
        f'<figure><figcaption><b style="color:{colour}">{name}</b> {several}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}: validation F1 by epoch, {several}">'
        f"{axes}{thin}{dashed}{thick}</svg></figure>"
    )


def _x(epoch: int, last: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * epoch / last


def _y(f1: float, low: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (max(f1, low) - low) / (1 - low))
