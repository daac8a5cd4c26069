"""Draw styles.png: one simulated image with its nuclei outlined accurately, finely and coarsely (as Figure S2)."""

from pathlib import Path

import matplotlib.pyplot as plt
from PIL import Image
from scipy.ndimage import find_objects
from skimage.measure import label

from metaseg.simulators.annotation_styles import polygonise, simplified_contour
from metaseg.simulators.settings import StyleConfig, SyntheticConfig
from metaseg.simulators.seven_cells import field_of_view, outline


def outlines(path: Path) -> None:
    """Save a PNG of 64 colours: a column for each style; polygons with their vertices, and the masks."""
    scene = field_of_view(SyntheticConfig(size=128), "HeLa", well=1, field=0)
    mask = outline(scene, "HeLa", 0.0)
    objects = label(mask, connectivity=2)
    figure, axes = plt.subplots(2, 3, figsize=(7.2, 5.0), dpi=100, layout="constrained")
    for (above, below), (style, tolerance) in zip(axes.T, StyleConfig().tolerances.items(), strict=True):
        above.imshow(scene.image, cmap="gray", vmin=40, vmax=200)
        vertices = 0
        for number, (rows, columns) in enumerate(find_objects(objects), start=1):
            polygon = simplified_contour(objects[rows, columns] == number, tolerance)
            vertices += len(polygon) - 1
            row, column = polygon[:, 0] + rows.start, polygon[:, 1] + columns.start
            above.plot(column, row, color="red", linewidth=0.9, marker="." if tolerance else "", markersize=4)
        below.imshow(polygonise(mask, tolerance), cmap="gray")
        above.set(xlim=(0, 127), ylim=(127, 0))
        above.set_title(f"{style} ({tolerance:g} px), {vertices} vertices", fontsize=10)
        for axis in (above, below):
            axis.set(xticks=[], yticks=[])
    figure.savefig(path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(64)
    small.save(path, optimize=True)


if __name__ == "__main__":
    outlines(Path(__file__).with_name("styles.png"))
