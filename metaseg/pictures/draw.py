"""Pictures of predictions beside the image and the truth: overlays, probability maps, sweeps. Arrays in, a PNG out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from metaseg.pictures.sheet import Sheet

Image = npt.NDArray[np.uint8]
"""`(H, W, 1)` or `(H, W, 3)`"""
Mask = npt.NDArray[np.bool_]
Rgb = npt.NDArray[np.float64]

MATCH, FALSE_POSITIVE, FALSE_NEGATIVE = "#FFFFFF", "#D55E00", "#56B4E9"
TRUTH, OWN = "#F0E442", "#0072B2"
MAP_TRUTH, MAP_HALF = "#FFFFFF", "#D55E00"
"""Contours on a probability map, whose own colours go from violet to yellow."""
CLASSES = ("#56B4E9", "#D55E00", "#009E73", "#F0E442", "#CC79A7", "#E69F00")
"""Colours of the Okabe-Ito palette, like the others: distinguishable with any colour vision."""

DIMMED = 0.35
"""Brightness of the image beneath an overlay."""

MAX_COLUMNS = 6
"""Most panels of a sweep beside each other."""


@dataclass(frozen=True)
class Panel:
    """One network's prediction."""

    title: str
    """E.g. "baseline, F1 0.861"."""
    predicted: Mask
    """`(H, W)`"""


@dataclass(frozen=True)
class OverlayRow:
    """A sample and the predictions of networks. Raises `ValueError` for other shapes or types."""

    label: str
    image: Image
    target: Mask
    """`(H, W)`"""
    panels: tuple[Panel, ...]

    def __post_init__(self) -> None:
        named = [("target", self.target), *((f"prediction {p.title!r}", p.predicted) for p in self.panels)]
        _check(self.label, self.image, named, np.bool_)


@dataclass(frozen=True)
class ProbabilityPanel:
    """One network's probability map."""

    title: str
    probability: npt.NDArray[np.floating]
    """`(H, W)`, 0 to 1."""


@dataclass(frozen=True)
class ProbabilityRow:
    """A sample and the probability maps of networks. Raises `ValueError` for other shapes or types."""

    label: str
    image: Image
    target: Mask
    """`(H, W)`"""
    panels: tuple[ProbabilityPanel, ...]

    def __post_init__(self) -> None:
        _check(self.label, self.image, [("target", self.target)], np.bool_)
        named = [(f"probability {panel.title!r}", panel.probability) for panel in self.panels]
        _check(self.label, self.image, named, np.floating)
        for panel in self.panels:
            low, high = panel.probability.min(), panel.probability.max()
            if not 0 <= low <= high <= 1:
                raise ValueError(
                    f"{self.label}: probability {panel.title!r} is {low:g} to {high:g}; expected values from 0 to 1"
                )


def draw_overlays(rows: Sequence[OverlayRow], title: str, about: str) -> bytes:
    """Draw the agreement of predictions with the reference, one row per sample; returns a PNG.

    The first column is the image with the reference contour. Each network has a column with the dimmed image and, over
    it, true positives (white), false positives and false negatives.

    Args:
        rows: samples, with equally many panels.
        title: above the figure.
        about: a sentence about the data, for the caption.

    Raises:
        ValueError: there are no rows, or they have different numbers of panels.
    """
    sheet = _sheet_of(rows, title, about, [
        Patch(facecolor=MATCH, edgecolor="black", linewidth=0.5, label="match"),
        Patch(color=FALSE_POSITIVE, label="false positive"),
        Patch(color=FALSE_NEGATIVE, label="false negative"),
        _line(TRUTH, "truth"),
    ])  # fmt: skip
    for row, axes in zip(rows, sheet.axes(), strict=True):
        _show(axes[0], _displayed(row.image))
        draw_outline(axes[0], row.target, TRUTH)
        for axis, panel in zip(axes[1:], row.panels, strict=True):
            pixels = DIMMED * _displayed(row.image)
            pixels[panel.predicted & row.target] = _rgb(MATCH)
            pixels[panel.predicted & ~row.target] = _rgb(FALSE_POSITIVE)
            pixels[~panel.predicted & row.target] = _rgb(FALSE_NEGATIVE)
            _show(axis, pixels)
    return sheet.png()


def draw_probabilities(rows: Sequence[ProbabilityRow], title: str, about: str) -> bytes:
    """Draw the probability maps of networks, one row per sample; returns a PNG.

    The first column is the image with the reference contour. Each network has a column with its probability, the
    contour at 0.5 and the reference contour. Arguments and errors are those of `draw_overlays`.
    """
    entries = [_line(MAP_TRUTH, "truth"), _line(MAP_HALF, "probability 0.5")]
    sheet = _sheet_of(rows, title, about, entries, right=0.65)
    for row, axes in zip(rows, sheet.axes(), strict=True):
        _show(axes[0], _displayed(row.image))
        draw_outline(axes[0], row.target, MAP_TRUTH)
        for axis, panel in zip(axes[1:], row.panels, strict=True):
            axis.imshow(panel.probability, cmap="viridis", vmin=0, vmax=1)
            draw_outline(axis, row.target, MAP_TRUTH)
            draw_outline(axis, panel.probability, MAP_HALF)
    sheet.colour_bar("probability")
    return sheet.png()


def draw_sweep(
    image: Image,
    target: npt.NDArray[np.uint8],
    values: Sequence[float],
    masks: Sequence[npt.NDArray[np.uint8]],
    class_names: Sequence[str],
    label: str,
    title: str,
    about: str,
    own: float,
) -> bytes:
    """Draw a network's predictions for one image as a metadata value varies; returns a PNG.

    Args:
        image: the image, held fixed.
        target: `(H, W)` reference mask: 0 background, k the k-th class.
        values: metadata values given to the network, finite, in the order of display.
        masks: the prediction for each of `values`, like `target`.
        class_names: names of the classes, at most as many as `CLASSES`.
        label: name of the values, with their unit.
        title: above the figure.
        about: a sentence about the data, for the caption.
        own: the image's own value; the nearest of `values` is framed.

    Raises:
        ValueError: there are no values, masks don't match them, there are too many classes, or a mask has another shape
            or a value that isn't a class.
    """
    if not values or len(values) != len(masks):
        raise ValueError(f"{len(values)} values and {len(masks)} masks; expected at least one, and a mask for each")
    if not np.isfinite([*values, own]).all():
        raise ValueError(f"values are {[*values]}, own is {own}; expected finite numbers")
    if not 0 < len(class_names) <= len(CLASSES):
        raise ValueError(f"{len(class_names)} classes; expected 1 to {len(CLASSES)}")
    named = [("target", target), *((f"mask of {value:g}", mask) for value, mask in zip(values, masks, strict=True))]
    _check("sweep", image, named, np.integer)
    for name, mask in named:
        if mask.max() > len(class_names):
            raise ValueError(f"sweep: {name} has value {mask.max()}; expected at most {len(class_names)}")
    nearest = int(np.argmin(np.abs(np.asarray(values) - own)))
    marked = "the image's own value" if values[nearest] == own else f"nearest to the image's own value, {own:g}"
    titles = [f"truth, {label} {own:g}", *(f"{label} {value:g}" for value in values)]
    lines = [titles[start : start + MAX_COLUMNS] for start in range(0, len(titles), MAX_COLUMNS)]
    entries: list[Artist] = [
        Patch(color=colour, label=name) for name, colour in zip(class_names, CLASSES, strict=False)
    ]
    entries.append(Patch(facecolor="none", edgecolor=OWN, linewidth=2, label=marked))
    sheet = Sheet([image.shape[:2]] * len(lines), lines, [""] * len(lines), title, about, entries)
    cells = [axis for line in sheet.axes() for axis in line]
    for position, (axis, mask) in enumerate(zip(cells, [target, *masks], strict=True)):
        pixels = _displayed(image)
        for k in range(1, len(class_names) + 1):
            pixels[mask == k] = 0.6 * pixels[mask == k] + 0.4 * _rgb(CLASSES[k - 1])
        _show(axis, pixels)
        for k in range(1, len(class_names) + 1):
            draw_outline(axis, mask == k, CLASSES[k - 1])
        if position == 1 + nearest:
            axis.spines[:].set(color=OWN, linewidth=3)
    return sheet.png()


def _sheet_of(
    rows: Sequence[OverlayRow] | Sequence[ProbabilityRow],
    title: str,
    about: str,
    entries: Sequence[Artist],
    right: float = 0.1,
) -> Sheet:
    counts = {len(row.panels) for row in rows}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f"{len(rows)} rows of {sorted(counts)} panels; expected rows, and equally many panels in each")
    titles = [["image", *(panel.title for panel in row.panels)] for row in rows]
    return Sheet(
        [row.image.shape[:2] for row in rows], titles, [row.label for row in rows], title, about, entries, right
    )


def _check(where: str, image: Image, named: Sequence[tuple[str, npt.NDArray[np.generic]]], kind: type) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ValueError(f"{where}: image is {image.dtype} {image.shape}; expected uint8 (H, W, 1) or (H, W, 3)")
    for name, array in named:
        if array.shape != image.shape[:2] or not np.issubdtype(array.dtype, kind):
            found, size = f"{array.dtype} {array.shape}", image.shape[:2]
            raise ValueError(f"{where}: {name} is {found}; expected {kind.__name__} {size}, as large as the image")


def _displayed(image: Image) -> Rgb:
    """Stretch an image from its 0.5th to its 99.5th percentile, as some are nearly black: `(H, W, 3)`, 0 to 1."""
    low, high = np.percentile(image, (0.5, 99.5))
    stretched = np.clip((image - low) / max(high - low, 1), 0, 1)
    return np.asarray(np.broadcast_to(stretched, (*image.shape[:2], 3)).copy(), dtype=np.float64)


def show_image(axis: Axes, image: Image) -> None:
    """Show an image, stretched as in all pictures."""
    _show(axis, _displayed(image))


def _show(axis: Axes, pixels: Rgb) -> None:
    axis.imshow(pixels, vmin=0, vmax=1)


def draw_outline(axis: Axes, values: npt.NDArray[np.generic], colour: str) -> None:
    """Draw the contour at 0.5, closed at the image's border; on a dark stroke, to be visible on light pixels too."""
    height, width = values.shape
    padded = np.pad(values.astype(np.float64), 1)
    lines = axis.contour(
        np.arange(-1, width + 1), np.arange(-1, height + 1), padded, [0.5], colors=colour, linewidths=0.9
    )
    lines.set_path_effects([withStroke(linewidth=1.9, foreground="black", alpha=0.6)])
    axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _rgb(colour: str) -> Rgb:
    return np.array(to_rgb(colour))


def _line(colour: str, label: str) -> Line2D:
    stroke = withStroke(linewidth=2.6, foreground="black", alpha=0.6)
    return Line2D([], [], color=colour, linewidth=1.6, label=label, path_effects=[stroke])
