"""Simulated CT slices through kidneys with a tumour or a cyst, whose metadata is the tumour's size.

A tumour's centre is visible, but its edge isn't: it is drawn as a soft blob whose distribution doesn't depend on its
size. The simulated radiologists outline it at a radius of

    r * (size / SIZE_MEAN) ** metadata_effect

where r is the radius that the blob itself suggests, the same in all cases except for the height at which the slice cuts
the tumour.

Consequences for a study:

- An image alone doesn't determine the outline of its tumour; together with the size it does. Without the size, the best
  outline is that of a tumour of about the mean size.
- At `metadata_effect=0` every tumour is outlined where its profile has fallen to one level, so the image determines the
  outline; the size is independent of image and mask: metadata carries no information at all.
- A cyst is drawn dark with a sharp edge and outlined there, whatever the effect; the size of a case with a cyst is
  uninformative. A case has a tumour or a cyst, never both, as in the paper's section 3.4.
- Images never depend on the effect: for a given seed, only tumours' outlines change with it.

Every slice is a function of (seed, case, slice), so it doesn't depend on the number of slices.
"""

from dataclasses import asdict, replace
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from metaseg.data.manifest import Manifest
from metaseg.datasets.derived import derive
from metaseg.datasets.source import Progress
from metaseg.datasets.table import read_table
from metaseg.simulators.abdomen import LEAST_RADIUS, Lesion, Slice, draw_slice
from metaseg.simulators.settings import CYST_EVERY, MAX_TUMOUR_EFFECT, RENAL_CLASSES, RenalConfig
from metaseg.simulators.seven_cells import well_splits

SIZES = (1.5, 12.0)
"""Least and largest size of a tumour, in cm."""

SIZE_MEAN = 4.0
"""Geometric mean of the sizes before they are limited to `SIZES`, in cm."""

SIZE_SPREAD = 0.45
"""Standard deviation of the sizes' natural logarithm."""

RADII = (LEAST_RADIUS, 24.0)
"""Least and largest radius that a tumour is outlined at, in 128ths of the image's side."""

MAX_EFFECT = MAX_TUMOUR_EFFECT
"""Largest effect, at which about an eighth of the tumours is outlined at one of `RADII`."""


class _Stream(IntEnum):
    PATIENT = 0
    SLICE = 1
    SIZE = 2


def make_renal(folder: Path, config: RenalConfig, progress: Progress = lambda done, total: None) -> Manifest:
    """Write the images, masks and manifest.csv into `folder`, or reuse them if they exist.

    Args:
        folder: doesn't exist, is empty, or holds what this function wrote for the same `config`. It appears complete or
            not at all.
        config: number and kind of images, and the effect of metadata.
        progress: called with the number of images written and of all images.

    Raises:
        ConfigError: `folder` holds something else.
    """
    made = {"simulator": config.version, **asdict(config)}
    derive(folder, made, lambda complete: _write(complete, config, progress))
    about = (
        f"SIMULATED CT slices of kidneys with tumours and cysts, metadata effect {config.metadata_effect:g} (0: none)"
    )
    manifest = read_table(folder / "manifest.csv", ["radiographic_size:continuous"])
    return replace(manifest, about=about, classes=RENAL_CLASSES)


def lesion_of(case: int) -> Lesion:
    """Return the kind of lesion of a case, counted from 0; its number decides, so that all splits have both kinds."""
    return "cyst" if case % CYST_EVERY == CYST_EVERY - 1 else "tumour"


def size_of(config: RenalConfig, case: int) -> float:
    """Draw a case's radiographic size in cm, with one decimal: lognormal, clipped to `SIZES`."""
    normal = float(_generator(config, _Stream.SIZE, case).standard_normal())
    return round(float(np.clip(SIZE_MEAN * np.exp(SIZE_SPREAD * normal), *SIZES)), 1)


def slice_of(config: RenalConfig, case: int, number: int) -> Slice:
    """Draw one slice, counted from 0 in its case; `config.metadata_effect` isn't used."""
    patient = _generator(config, _Stream.PATIENT, case)
    return draw_slice(config.size, lesion_of(case), patient, _generator(config, _Stream.SLICE, case, number))


def outline(drawn: Slice, size: float, metadata_effect: float) -> npt.NDArray[np.uint8]:
    """Draw the mask of simulated radiologists who are told that the tumour measures `size` cm: uint8, as large as the
    image, 0 background, k the k-th of `RENAL_CLASSES`."""
    mask = drawn.kidneys.astype(np.uint8)
    radius = drawn.radius
    if drawn.lesion == "tumour":
        radius = float(np.clip(radius * (size / SIZE_MEAN) ** metadata_effect, *RADII))
    mask[(drawn.distance <= radius) & drawn.room] = 1 + RENAL_CLASSES.index(drawn.lesion)
    return mask


def _generator(config: RenalConfig, stream: _Stream, case: int, number: int = 0) -> np.random.Generator:
    return np.random.default_rng([config.seed, stream, case, number])


def _write(folder: Path, config: RenalConfig, progress: Progress) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir()
    total = config.cases * config.slices_per_case
    rows: list[dict[str, object]] = []
    for case, split in enumerate(well_splits(config.cases)):
        group, size = f"case_{case:05d}", size_of(config, case)
        for number in range(config.slices_per_case):
            drawn = slice_of(config, case, number)
            name = f"{group}_slice_{number:04d}.png"
            Image.fromarray(drawn.image).save(folder / "images" / name)
            Image.fromarray(outline(drawn, size, config.metadata_effect)).save(folder / "masks" / name)
            rows.append(
                {
                    "image": f"images/{name}",
                    "mask": f"masks/{name}",
                    "split": split,
                    "group": group,
                    "radiographic_size": size,
                    "lesion": drawn.lesion,
                }
            )
            progress(len(rows), total)
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
