"""Course of a sequential study: the estimate at each look, its repeated confidence interval and the boundaries."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.figures.style import GREY, SMALL, foot, new_figure, tidy
from analysis.results.looks import Rule
from analysis.stats.sequential import Sighting
from analysis.wording import NAMES, Names

MOST_REACH = 2.5
"""Limit of the axis, in terms of the largest difference and the narrowest interval: first looks can be very wide."""

PANELS = 3
"""Beside each other."""


def build_looks(
    sightings: Sequence[tuple[str, Sequence[Sighting]]], rule: Rule, margin: float, names: Names = NAMES
) -> Figure:
    """A panel a comparison: its difference by number of seeds.

    Args:
        sightings: name and looks of each comparison (`analysis.stats.sequential.sightings`).
        rule: of the study, which has the looks.
        margin: of equivalence, shaded.
        names: what scores are called.
    """
    columns = min(PANELS, len(sightings))
    rows = -(-len(sightings) // columns)
    figure = new_figure(2.2 * rows + 0.4)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    places = {seeds: place for place, seeds in enumerate(rule.looks)}
    for panel, (name, looks) in zip(panels, sightings, strict=False):
        panel.axhspan(-margin, margin, color="#eeeeee", zorder=0)
        panel.axhline(0, color=GREY, linewidth=0.8)
        at = np.array([places[each.seeds] for each in looks])
        estimate = np.array([each.estimate for each in looks])
        low, high = (np.array([each.interval[end] for each in looks]) for end in (0, 1))
        panel.errorbar(
            at, estimate, [estimate - low, high - estimate], fmt="o-", color="#0072b2", markersize=4, capsize=3
        )
        boundary = np.array([each.boundary for each in looks])
        for sign in (-1, 1):
            panel.plot(at, sign * boundary, "_", color="#d55e00", markersize=14, markeredgewidth=1.6)
        panel.set_title(name, fontsize=SMALL, loc="left")
        panel.set_xticks(range(len(rule.looks)), list(map(str, rule.looks)))
        tidy(panel, "y")
    everywhere = [each for _, looks in sightings for each in looks]
    reach = max(abs(each.estimate) + min(other.boundary for other in everywhere) for each in everywhere)
    widest = max(abs(end) for each in everywhere for end in each.interval)
    edge = 1.05 * min(widest, max(MOST_REACH * reach, 2 * margin))
    panels[0].set_ylim(-edge, edge)
    panels[0].set_xlim(-0.3, len(rule.looks) - 0.7)
    for panel in panels[len(sightings) :]:
        panel.set_visible(False)
    for panel in panels[max(len(sightings) - columns, 0) : len(sightings)]:
        panel.set_xlabel("seeds per arm", fontsize=SMALL)
    panels[0].set_ylabel(f"difference of {names.score}", fontsize=SMALL)
    beyond = " Wide intervals of early looks go beyond the edge." if edge < widest else ""
    foot(
        figure,
        "Dots: differences at each look, with 95 % intervals that hold at all looks together. Orange: a difference "
        f"beyond is shown at this look. Shaded: within ±{margin:g}, where arms count as equal.{beyond}",
    )
    return figure
