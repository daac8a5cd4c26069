"""Draw seven_cells_synthetic.png: fields of view of the simulated cell lines, and how metadata moves their outlines."""

from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image

from metaseg.simulators.settings import SyntheticConfig
from metaseg.simulators.seven_cells import LINES, field_of_view, outline

ROWS = (("image", None), ("effect 0", 0.0), ("effect 1", 1.0))


def contact_sheet(path: Path, config: SyntheticConfig) -> None:
    """Save a PNG of 64 colours: a column for each cell line; the image alone, then with its outline at two effects."""
    figure, axes = plt.subplots(len(ROWS), len(LINES), figsize=(9.6, 4.35), dpi=100, layout="constrained")
    for column, line in zip(axes.T, LINES, strict=True):
        scene = field_of_view(config, line, well=0, field=0)
        column[0].set_title(line)
        for axis, (label, effect) in zip(column, ROWS, strict=True):
            axis.imshow(scene.image, cmap="gray", vmin=40, vmax=200)
            if effect is not None:
                axis.contour(outline(scene, line, effect), [0.5], colors="red", linewidths=0.6)
            axis.set(xticks=[], yticks=[], ylabel=label if line == next(iter(LINES)) else "")
    figure.savefig(path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(64)
    small.save(path, optimize=True)


if __name__ == "__main__":
    contact_sheet(Path(__file__).with_name("seven_cells_synthetic.png"), SyntheticConfig())
