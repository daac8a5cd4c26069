"""Draws `evidence.png`: the difference and interval of each comparison that the page of evidence rests on.

python docs/evidence/draw_evidence.py
"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.scores import Title
from analysis.figures.style import foot, new_figure, render, signed, tidy
from docs.evidence.make_evidence import HERE, Row, comparison, studies
from metaseg.schema import MARGIN

COLOURS = {"helps": "#1a7f37", "hurts": "#b42318"}
"""Colour of a verdict; others are grey."""

OPEN = "#777777"


WIDEST = 0.4
"""Largest difference of F1 on the axis: a few intervals are so wide that others would be dots."""


def build(rows: Sequence[tuple[Row, Row, pd.Series]]) -> Figure:
    """A line for each comparison, below its claim.

    Args:
        rows: the study, its row and the test that the row shows, in the order of display.
    """
    figure = new_figure(0.3 * len(rows) + 0.34 * len({study["claim"] for study, *_ in rows}) + 0.4)
    panel = figure.subplots()
    place, claim = 0.0, ""
    ticks: list[tuple[float, str]] = []
    for study, row, test in rows:
        if study["claim"] != claim:
            claim = study["claim"]
            place += 1.1
            panel.text(
                -0.02, place, claim.capitalize(), transform=panel.get_yaxis_transform(), ha="right", va="center",
                fontsize=9, fontweight="bold",
            )  # fmt: skip
        place += 1
        colour = COLOURS.get(test["verdict"], OPEN)
        panel.hlines(place, test["ci_low_adjusted"], test["ci_high_adjusted"], color=colour, linewidth=1.6)
        panel.plot(test["difference"], place, "o", color=colour, markersize=5)
        for end, marker, beyond in (
            (-WIDEST, "<", test["ci_low_adjusted"] < -WIDEST),
            (WIDEST, ">", test["ci_high_adjusted"] > WIDEST),
        ):
            if beyond:
                panel.plot(end, place, marker, color=colour, markersize=6)
        panel.text(
            1.01, place, f"{signed(test['difference'])}  {test['verdict']}", transform=panel.get_yaxis_transform(),
            va="center", fontsize=8, color=colour,
        )  # fmt: skip
        ticks.append((place, f"{study['short']}: {row['short']}"))
    panel.axvspan(-MARGIN, MARGIN, color="#eeeeee", zorder=0)
    panel.axvline(0, color="#444444", linewidth=0.9)
    panel.set_yticks([at for at, _ in ticks], [label for _, label in ticks])
    panel.set_ylim(place + 0.8, 0.4)
    panel.set_xlim(-1.05 * WIDEST, 1.05 * WIDEST)
    panel.set_xlabel("difference of F1", fontsize=9)
    tidy(panel, "x")
    panel.tick_params(axis="y", length=0)
    foot(
        figure,
        f"Lines: 95 % intervals, corrected for several comparisons and looks. Grey band: differences within {MARGIN:g} "
        f"count as equal. Arrows: the interval goes on beyond {WIDEST:g}.",
    )
    return figure


def main() -> None:
    """Draw the figure from the studies' tables."""
    rows = [(study, row, comparison(study, row)) for study in studies() for row in study["row"]]
    title = Title("Does metadata help on real images?")
    (HERE / "evidence.png").write_bytes(render(build(rows), title))


if __name__ == "__main__":
    main()
