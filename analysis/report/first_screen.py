"""The first screen of a report's page: a verdict on each arm in large type, its interval beside it, and one picture."""

import base64
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from analysis.figures.forest import Limits, axis_limits
from analysis.report.data import ReportData
from analysis.report.plain_text import to_html as plain
from metaseg.schema import MACRO

OVERLAYS = "overlays.png"
"""The picture of what changes in the masks, where the study has drawn one."""

REASONS = {
    "one seed": "one seed",
    "too few": "too few {units}",
    "incomplete": "runs are missing",
    "no look": "its first look is still to come",
    "futile": "futile: further seeds would hardly decide it",
}
"""Reasons why nothing was tested, by the verdict in tables."""

MANY = 5
"""More arms have smaller type."""


@dataclass(frozen=True)
class Row:
    """An arm against the baseline, on all images of the class that is concluded on."""

    arm: str
    verdict: str
    """`helps`, `hurts`, `equal` or `undecided`."""
    remark: str
    """Why it is undecided, or what was expected; may be empty."""
    gain: float
    """Difference of mean scores."""
    interval: tuple[float, float]
    """At 95 %, of this comparison alone; NaN where it isn't known."""
    adjusted: tuple[float, float]
    """At the level of the corrected test; NaN where it isn't known."""


@dataclass(frozen=True)
class FirstScreen:
    """The verdicts and the picture that a reader sees without scrolling."""

    rows: tuple[Row, ...]
    """Empty where nothing can be compared with the baseline."""
    caption: str
    """Explains gains and intervals."""
    limits: Limits
    """Ends of the axis."""
    margin: float
    """Gains within ± it count as none."""
    picture: bytes | None
    """PNG of `OVERLAYS`."""

    @property
    def shown(self) -> frozenset[str]:
        """Names of pictures that the page needn't show again."""
        return frozenset() if self.picture is None else frozenset({OVERLAYS})

    def to_html(self) -> str:
        """Verdicts beside the picture; empty where there is neither."""
        parts = [self._verdicts()] if self.rows else []
        if self.picture is not None:
            content = base64.b64encode(self.picture).decode()
            caption = "What changes in the masks"
            parts.append(
                f'<figure class="masks"><figcaption>{caption}</figcaption>'
                f'<img alt="{caption}" src="data:image/png;base64,{content}"></figure>'
            )
        return f'<div class="first">{"".join(parts)}</div>' if parts else ""

    def _verdicts(self) -> str:
        kind = "verdicts many" if len(self.rows) > MANY else "verdicts"
        rows = "".join(self._row(row) for row in self.rows)
        return (
            f'<section class="{kind}"><p class="small">{plain(self.caption)}</p>{rows}'
            f'<div class="row axis"><div></div><div class="bar">{self._axis()}</div></div></section>'
        )

    def _row(self, row: Row) -> str:
        numbers = f"{row.gain:+z.3f}"
        if np.isfinite(row.interval).all():
            numbers += f' <span class="interval">({_interval(row.interval)})</span>'
        remark = f'<div class="small">{plain(row.remark)}</div>' if row.remark else ""
        return (
            f'<div class="row"><div><div class="arm">{plain(row.arm)}</div>'
            f'<div class="verdict {row.verdict}">{row.verdict}</div>'
            f'<div class="gain">{numbers}</div>{remark}</div>'
            f'<div class="bar">{self._bar(row)}</div></div>'
        )

    def _bar(self, row: Row) -> str:
        """The row's place in the forest plot: margin, zero, both intervals and the gain."""
        known = bool(np.isfinite(row.interval).all())
        said = f"{row.arm}: {row.gain:+z.3f}" + (f", 95 % interval {_interval(row.interval)}" if known else "")
        shapes = [self._band(), f'<line class="zero" x1="{self._at(0)}" x2="{self._at(0)}" y1="0" y2="100%"/>']
        for kind, (low, high) in (("thin", row.adjusted), ("thick", row.interval)):
            if np.isfinite([low, high]).all():
                shapes.append(f'<line class="{kind}" x1="{self._at(low)}" x2="{self._at(high)}" y1="50%" y2="50%"/>')
                shapes += [
                    f'<text x="{edge}" y="50%" dy=".35em" text-anchor="{anchor}">{arrow}</text>'
                    for beyond, edge, anchor, arrow in (
                        (low < self.limits[0], "0%", "start", "\u25c2"),
                        (high > self.limits[1], "100%", "end", "\u25b8"),
                    )
                    if beyond
                ]
        shapes.append(f'<circle class="{"" if known else "hollow"}" cx="{self._at(row.gain)}" cy="50%" r="7"/>')
        return f'<svg class="{row.verdict}" role="img" aria-label="{plain(said)}">{"".join(shapes)}</svg>'

    def _band(self) -> str:
        left, right = (self._fraction(end) for end in (-self.margin, self.margin))
        return f'<rect class="margin" x="{left:.2f}%" y="0" width="{right - left:.2f}%" height="100%"/>'

    def _axis(self) -> str:
        marks = [
            f'<text x="{self._at(value)}" y="1em" text-anchor="middle">{label}</text>'
            for value, label in _ticks(self.limits)
            if 5 < self._fraction(value) < 95
        ]
        return f'<svg aria-hidden="true">{"".join(marks)}</svg>'

    def _fraction(self, value: float) -> float:
        """Its place on the axis in percent."""
        low, high = self.limits
        return float(np.clip(100 * (value - low) / (high - low), 0, 100))

    def _at(self, value: float) -> str:
        return f"{self._fraction(value):.2f}%"


def first_screen(data: ReportData) -> FirstScreen:
    """The arms that are compared with the baseline: those expected to differ first, larger differences first."""
    names, study = data.names, data.study
    tests = data.declared[data.declared["reference"] == study.baseline].dropna(subset="difference")
    order = tests.assign(size=-tests["difference"].abs(), equal=tests["claim"] == "equal")
    tests = tests.loc[order.sort_values(["equal", "size"], kind="stable").index]
    rows = tuple(_row_of(test, names.units, study.margin) for _, test in tests.iterrows())
    leading = f", class {data.leading}" if data.leading in (MACRO, study.endpoint) else ""
    caption = f"Gain in mean {names.score} over {study.baseline}{leading}."
    if any(np.isfinite(row.interval).all() for row in rows):
        caption += f" Lines: 95 % confidence intervals for new {names.units} and new seeds"
        corrected = any(
            np.isfinite(row.adjusted).all() and _interval(row.adjusted) != _interval(row.interval) for row in rows
        )
        caption += "; thin, corrected for the number of comparisons." if corrected else "."
    caption += f" Shaded: gains within ±{study.margin:g} ({names.margin}) count as none."
    limits = axis_limits(tests, study.margin) if rows else (-1.0, 1.0)
    return FirstScreen(rows, caption, limits, study.margin, data.supplement.pictures.get(OVERLAYS))


def _row_of(test: pd.Series, units: str, margin: float) -> Row:
    verdict, remark = str(test["verdict"]), ""
    if verdict in REASONS:
        verdict, remark = "undecided", REASONS[verdict].format(units=units)
    elif verdict == "equal":
        remark = f"within ±{margin:g} by two one-sided tests"
    elif verdict not in ("helps", "hurts"):
        verdict, remark = "undecided", "not shown to differ or to be equal"
    if test["claim"] == "equal":
        remark = f"{remark}; expected to be equal" if remark else "expected to be equal"
    ends = [tuple(float(test.get(f"ci_{end}{kind}", np.nan)) for end in ("low", "high")) for kind in ("", "_adjusted")]
    (low, high), (wide_low, wide_high) = ends
    return Row(str(test["arm"]), verdict, remark, float(test["difference"]), (low, high), (wide_low, wide_high))


def _interval(ends: tuple[float, float]) -> str:
    return f"{ends[0]:+z.3f} to {ends[1]:+z.3f}"


def _ticks(limits: Limits) -> list[tuple[float, str]]:
    """Round numbers across the axis, all with as many decimals as the step between them needs."""
    values = MaxNLocator(4).tick_values(*limits)
    decimals = max(len(f"{value:.6g}".partition(".")[2]) for value in values)
    return [(float(value), f"{value:+.{decimals}f}" if abs(value) > 1e-9 else "0") for value in values]
