"""Figures of `performance_page.py`."""

from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.scores import COLOURS, Title, to_png

GREY = "#b8b8b8"

CURVES = {
    "images": ("images", "images of 32²", {"prepare": "prepare all", "open": "open", "crop": "cut one crop"}),
    "sides": ("side", "side of an image, pixels", {"crop": "cut a crop of 128²", "evaluate": "evaluate an image"}),
    "runs": ("runs", "runs of a study", {"plan": "plan", "missing": "find what is missing"}),
    "rows": ("rows", "rows of results", {"collect_to_test": "collect to test"}),
}
"""Panels: what is counted, what it is called, and lengths of time."""


def draw_throughput(throughput: dict[str, Any]) -> bytes:
    """Crops a second of bare loops, ours and peers, with quartiles; returns a PNG."""
    rows = [row for row in throughput["figures"] if "images_per_second" in row][::-1]
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.subplots()
    for place, row in enumerate(rows):
        speed = row["images_per_second"]
        colour = (
            COLOURS[0] if row["name"].startswith("ours") else GREY if row["name"].startswith("bare") else COLOURS[1]
        )
        panel.barh(place, speed["median"], color=colour, height=0.7)
        panel.plot([speed["low"], speed["high"]], [place, place], color="black", linewidth=1.2)
        panel.text(speed["high"] + 0.6, place, f"{speed['median']:.1f}", va="center", fontsize="small")
    panel.set_yticks(range(len(rows)), [row["name"] for row in rows])
    panel.set_xlabel("crops a second")
    panel.margins(x=0.12)
    panel.spines[["top", "right"]].set_visible(False)
    size, machine = throughput["size"], throughput["machine"]
    about = (
        f"Crops of {size['crop']}² in batches of {size['batch']}, {throughput['threads']} threads, "
        f"{machine['gpu'] or machine['processor']}. Bars are medians, lines quartiles; grey: tensors are there already."
    )
    return to_png(figure, Title("Training a conditioned U-Net and its peers", about))


def draw_growth(scale: dict[str, Any]) -> bytes:
    """Seconds against numbers, both logarithmic, a panel a number; returns a PNG."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    for panel, (name, (number, label, lengths)) in zip(figure.subplots(2, 2).ravel(), CURVES.items(), strict=True):
        points = scale[name]["points"]
        x = np.array([point[number] for point in points])
        for colour, (length, text) in zip(COLOURS, lengths.items(), strict=False):
            low, median, high = (
                np.array([point[length][key] for point in points]) for key in ("low", "median", "high")
            )
            slope = scale[name]["exponents"][length]
            panel.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
            panel.plot(x, median, color=colour, marker="o", markersize=4, label=f"{text}: {slope:.2f}")
        panel.set_xscale("log")
        panel.set_yscale("log")
        least, most = np.log10(panel.get_ylim())
        panel.set_ylim(10 ** np.floor(least), 10 ** np.ceil(most))
        panel.set_xticks(x, [f"{value:,}" for value in x], minor=False)
        panel.minorticks_off()
        panel.set_xlabel(label)
        panel.set_ylabel("seconds")
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize="small")
    about = (
        "Behind each name, the exponent of its growth: 1 is proportional, 2 that of an image's pixels with its side."
    )
    return to_png(figure, Title("How cost grows", about))
