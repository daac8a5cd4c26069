"""Draw renal_synthetic.png: simulated CT slices, and how the given size moves a tumour's outline."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image

from metaseg.simulators.kidney_tumours import outline, size_of, slice_of
from metaseg.simulators.settings import RenalConfig

ROWS = (("image", None), ("effect 0", 0.0), ("effect 1", 1.0))
COLOURS = ("lime", "red", "deepskyblue")
CASES = (12, 9, 1, 5, 22, 3)
"""Tumours from small to large, and a cyst."""


def _palette() -> Image.Image:
    """Greys, and each colour from black to light, as smoothed lines over grey pixels are."""
    greys = [(value, value, value) for value in (*range(0, 252, 4), 255)]
    blends = [
        tuple(round(share * 255 * channel + (1 - share) * grey) for channel in to_rgb(colour))
        for colour in COLOURS
        for share in (0.35, 0.55, 0.75, 0.95)
        for grey in (0, 64, 128, 192, 255)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in greys + blends for channel in colour])
    return palette


def contact_sheet(path: Path, config: RenalConfig) -> None:
    """Save a PNG of 124 colours: a column for each case; the image alone, then with its outlines at two effects."""
    figure, axes = plt.subplots(len(ROWS), len(CASES), figsize=(12.0, 4.9), dpi=100, layout="constrained")
    for column, case in zip(axes.T, CASES, strict=True):
        drawn, size = slice_of(config, case, 0), size_of(config, case)
        column[0].set_title(f"{drawn.lesion}, {size:g} cm")
        for axis, (label, effect) in zip(column, ROWS, strict=True):
            axis.imshow(drawn.image, cmap="gray", vmin=0, vmax=255)
            if effect is not None:
                mask = outline(drawn, size, effect)
                for value, colour in enumerate(COLOURS, 1):
                    if (mask == value).any():
                        axis.contour(mask == value, [0.5], colors=colour, linewidths=0.9)
            axis.set(ylim=(0.85 * config.size, 0.17 * config.size))  # above and below there is air
            axis.set(xticks=[], yticks=[], ylabel=label if case == CASES[0] else "")
    figure.savefig(path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(palette=_palette())
    small.save(path, optimize=True)


if __name__ == "__main__":
    contact_sheet(Path(__file__).with_name("renal_synthetic.png"), RenalConfig())
