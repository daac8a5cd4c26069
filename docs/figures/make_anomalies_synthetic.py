"""Draw anomalies_synthetic.png: simulated images with anomalies, and how the task's two masks depend on the effect."""

from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from metaseg.simulators.anomalies import draw_image, plan
from metaseg.simulators.settings import AnomalyConfig
from metaseg.simulators.seven_cells import LINES

ROWS = (("image", None), ("effect 1", 1.0), ("effect 0", 0.0))
COLOURS = ("#33dd33", "#ff33ff")
"""Colours of the outlines for the tasks `nuclei` and `anomaly`."""


def contact_sheet(path: Path, config: AnomalyConfig) -> None:
    """Save a PNG of 128 colours: an annotated image of each cell line, alone and with both outlines at two effects."""
    first = {image.cell_line: index for index, image in reversed([*enumerate(plan(config))]) if image.annotated}
    figure, axes = plt.subplots(len(ROWS), len(LINES), figsize=(9.6, 4.5), dpi=125, layout="constrained")
    for column, line in zip(axes.T, LINES, strict=True):
        scene = draw_image(config, first[line], visible=True)
        column[0].set_title(line)
        for axis, (label, effect) in zip(column, ROWS, strict=True):
            axis.imshow(scene.image, cmap="gray", vmin=20, vmax=210)
            if effect is not None:
                for mask, colour, style in zip(scene.masks(effect), COLOURS, ("solid", (0, (3, 3))), strict=True):
                    axis.contour(mask, [0.5], colors=colour, linewidths=0.9, linestyles=[style])
            axis.set(xticks=[], yticks=[], ylabel=label if line == next(iter(LINES)) else "")
    figure.supxlabel("green: what the task nuclei asks for; dashed magenta: the task anomaly", fontsize="small")
    figure.savefig(path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(128)
    small.save(path, optimize=True)


if __name__ == "__main__":
    contact_sheet(Path(__file__).with_name("anomalies_synthetic.png"), AnomalyConfig())
