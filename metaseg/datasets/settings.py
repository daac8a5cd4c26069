"""Settings of the importers. Importing this module is cheap, so that a page can parse its options before all else."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from metaseg.config import check_settings

Channel = Literal["brightfield", "fluorescence"]

Polarity = Literal["clean-is-one", "artifact-is-one"]

Annotation = Literal["MAJ", "OR", "AND"]


@dataclass(frozen=True)
class SevenCellsConfig:
    """Choices for reading the laboratory's folder."""

    channel: Channel = "brightfield"
    """The one of a field's two images that the networks see. Both have the same stencil of nuclei."""

    split_file: Path | None = None
    """CSV or Parquet table with columns image (a file name in images/, of either channel) and split, with a row for
    every image, such as the split of a publication. By default images are split by well."""


@dataclass(frozen=True)
class ArtSegConfig:
    """Choices for reading ArtSeg: the images to use and the meaning of its masks."""

    polarity: Polarity = "clean-is-one"
    """Meaning of 1 (or 255) in the masks. In the published ones it is the clean area, and artefacts are 0."""

    clean: bool = True
    """Include clean images, with empty masks."""


@dataclass(frozen=True)
class KitsConfig:
    """Choices for reading a KiTS release: annotation, grey window, cases and slices."""

    annotation: Annotation = "MAJ"
    """Rule that combines KiTS21's three annotations of an object: majority (MAJ), union (OR) or intersection (AND). The
    other releases have one annotation."""

    hu_window: tuple[float, float] = (-79.0, 304.0)
    """Hounsfield units that become 0 and 255. The default is the range from the 0.5th to the 99.5th percentile of
    KiTS19's labelled voxels, by which the challenge's winners clipped (Isensee and Maier-Hein 2019): fat is black,
    enhanced cortex is not yet white, and one grey value is 1.5 units."""

    missing_size: Literal["drop", "mean"] = "drop"
    """Cases without a radiographic size, where it is metadata: left out with a warning, or taken for the mean."""

    slice_step: int = 1
    """Keep every n-th of a case's slices that show a kidney."""

    cases: int | None = None
    """Read only the first n cases."""

    def __post_init__(self) -> None:
        low, high = self.hu_window
        rules = (
            ("annotation", self.annotation in get_args(Annotation), "MAJ, OR or AND"),
            ("hu_window", math.isfinite(high - low) and low < high, "two finite numbers, the lower one first"),
            ("missing_size", self.missing_size in ("drop", "mean"), "drop or mean"),
            ("slice_step", self.slice_step >= 1, "at least 1"),
            ("cases", self.cases is None or self.cases >= 1, "at least 1, or None for all"),
        )
        check_settings(self, rules)
