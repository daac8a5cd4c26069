"""Settings of the simulators. Importing this module is cheap, so that a page can parse its options before all else."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from metaseg.config import Split, check_settings

MAX_EFFECT = 2.0
"""Largest metadata effect for cell lines: the smallest nucleus's outline is still more than 4 px wide."""

WELLS = 96
"""Number of wells of a plate. Each cell line has a plate of its own."""

RENAL_CLASSES = ("kidney", "tumour", "cyst")
"""Classes of the masks: value k is the k-th."""

MAX_TUMOUR_EFFECT = 1.5
"""Largest metadata effect for tumours: about an eighth of them is outlined at one of the limits of the radius."""

CYST_EVERY = 4
"""One patient in so many has a cyst, the others have a tumour."""

FIELDS = 2
"""Images of a well."""

SPLIT_OF_WELLS: tuple[Split, ...] = ("train", "val", "test", "train", "train", "train")
"""Splits of wells 0 to 5, repeated for all others: 2016, 504 and 504 of 3024 images, each line in all of them."""

MAX_ANNOTATED = 0.6
"""Largest share of annotated images; above it, there are too few test images for their part of them."""


@dataclass(frozen=True)
class SyntheticConfig:
    """Settings of simulated brightfield images of seven cell lines.

    Example:
        >>> from metaseg import SyntheticConfig
        >>> SyntheticConfig(images_per_line=40, metadata_effect=0).count
        280
    """

    lines: ClassVar[int] = 7
    """Number of cell lines."""

    version: ClassVar[int] = 1
    """Version of the simulator. Raise it whenever the same settings would give other files."""

    size: int = 128
    """Side of the square images, in pixels."""

    images_per_line: int = 36
    """Images of each cell line: training, validation and test together."""

    wells_per_line: int = 36
    """Wells of each cell line, which images are fields of. A well's images share light, focus and density, and are
    never in two splits: about half of the wells are for training, a third for test, the rest for validation."""

    metadata_effect: float = 1.0
    """Effect of metadata, from 0 (masks of look-alike cell lines have the same distribution) to 2."""

    seed: int = 0
    """Seed of the images. It is not the seed of a run."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.lines * self.images_per_line

    def sketch(self) -> "SyntheticConfig":
        """Return the same settings with few images, for planning."""
        return replace(self, images_per_line=4, wells_per_line=4)

    @property
    def name(self) -> str:
        """A folder name that no other configuration has."""
        images = f"{self.size}px-{self.images_per_line}x{self.wells_per_line}"
        return f"synthetic-{images}-effect{self.metadata_effect:g}-seed{self.seed}-v{self.version}"

    def __post_init__(self) -> None:
        rules = (
            ("size", self.size >= 64, "at least 64 pixels"),
            ("wells_per_line", self.wells_per_line >= 3, "at least 3 (one for each of train, val and test)"),
            ("images_per_line", self.images_per_line >= self.wells_per_line, "at least one image a well"),
            ("metadata_effect", 0 <= self.metadata_effect <= MAX_EFFECT, f"0 to {MAX_EFFECT:g}"),
            ("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1"),
        )
        check_settings(self, rules)


@dataclass(frozen=True)
class LiveCellSimulation:
    """Settings of the simulator."""

    lines: ClassVar[int] = 8
    """Number of cell lines."""

    version: ClassVar[int] = 1
    """Version of the simulator. Raise it whenever the same settings would give other files."""

    size: int = 128
    """Side of the square images, in pixels."""

    images_per_line: int = 30
    """Images of each cell line: training, validation and test together."""

    wells_per_line: int = 15
    """Wells of each cell line, which images are a time series of. They are never in two splits: about half of the wells
    are for training, a third for test, the rest for validation."""

    metadata_effect: float = 1.0
    """Effect of metadata, from 0 (outlines of look-alike cell lines have the same distribution) to 2."""

    seed: int = 0
    """Seed of the images. It is not the seed of a run."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.lines * self.images_per_line

    def sketch(self) -> "LiveCellSimulation":
        """Return the same settings with few images, for planning."""
        return replace(self, images_per_line=3, wells_per_line=3)

    @property
    def name(self) -> str:
        """A folder name that no other configuration has."""
        images = f"{self.size}px-{self.images_per_line}x{self.wells_per_line}"
        return f"livecell-synthetic-{images}-effect{self.metadata_effect:g}-seed{self.seed}-v{self.version}"

    def __post_init__(self) -> None:
        rules = (
            ("size", self.size >= 64, "at least 64 pixels"),
            ("wells_per_line", 3 <= self.wells_per_line <= WELLS, f"3 (one for each split) to {WELLS} (a plate)"),
            ("images_per_line", self.images_per_line >= self.wells_per_line, "at least one image a well"),
            ("metadata_effect", 0 <= self.metadata_effect <= MAX_EFFECT, f"0 to {MAX_EFFECT:g}"),
            ("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1"),
        )
        check_settings(self, rules)


@dataclass(frozen=True)
class RenalConfig:
    """Settings of the simulator."""

    version: ClassVar[int] = 1
    """Version of the simulator. Raise it whenever the same settings would give other files."""

    size: int = 128
    """Side of the square images, in pixels."""

    cases: int = 60
    """Patients, never in two splits: about half are for training, a third for test, the rest for validation. Every
    fourth has a cyst, the others have a tumour."""

    slices_per_case: int = 3
    """Images of each patient."""

    metadata_effect: float = 1.0
    """Effect of metadata, from 0 (a tumour's outline doesn't depend on its size) to 1.5. At 1 its radius is
    proportional to the size."""

    seed: int = 0
    """Seed of the images. It is not the seed of a run."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.cases * self.slices_per_case

    def sketch(self) -> "RenalConfig":
        """Return the same settings with few images, for planning."""
        return replace(self, cases=2 * CYST_EVERY, slices_per_case=1)

    @property
    def name(self) -> str:
        """A folder name that no other configuration has."""
        images = f"{self.size}px-{self.cases}x{self.slices_per_case}"
        return f"renal-{images}-effect{self.metadata_effect:g}-seed{self.seed}-v{self.version}"

    def __post_init__(self) -> None:
        rules = (
            ("size", self.size >= 64, "at least 64 pixels"),
            ("cases", self.cases >= 2 * CYST_EVERY, f"at least {2 * CYST_EVERY} (so that training has a cyst)"),
            ("slices_per_case", self.slices_per_case >= 1, "at least 1"),
            ("metadata_effect", 0 <= self.metadata_effect <= MAX_TUMOUR_EFFECT, f"0 to {MAX_TUMOUR_EFFECT:g}"),
            ("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1"),
        )
        check_settings(self, rules)


@dataclass(frozen=True)
class AnomalyConfig:
    """Settings of the simulator."""

    version: ClassVar[int] = 1
    """Version of the simulator. Raise it whenever the same settings would give other files."""

    size: int = 128
    """Side of the square images, in pixels."""

    images: int = 252
    """Training, validation and test together, two of each well. From 84 on, every cell line is in all of them."""

    annotated: float = 365 / 3024
    """Share of images that have an anomaly mask too; at least one in each split has."""

    prevalence: float = 0.4
    """Share of images with visible anomalies, annotated or not. Annotated ones always have some."""

    metadata_effect: float = 1.0
    """Effect of the task, from 0 (both masks of an image are the same) to 1 (they have nothing in common)."""

    seed: int = 0
    """Seed of the images. It is not the seed of a run."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.images

    def sketch(self) -> "AnomalyConfig":
        """Return the same settings with few images, for planning."""
        return replace(self, images=FIELDS * len(SPLIT_OF_WELLS))

    @property
    def name(self) -> str:
        """A folder name that no other configuration has."""
        images = f"{self.size}px-{self.images}-annotated{self.annotated:g}-prevalence{self.prevalence:g}"
        return f"anomalies-{images}-effect{self.metadata_effect:g}-seed{self.seed}-v{self.version}"

    def __post_init__(self) -> None:
        fewest = FIELDS * len(SPLIT_OF_WELLS)
        rules = (
            ("size", self.size >= 64, "at least 64 pixels"),
            ("images", self.images >= fewest, f"at least {fewest} (wells for train, val and test)"),
            ("annotated", 0 < self.annotated <= MAX_ANNOTATED, f"above 0, at most {MAX_ANNOTATED:g}"),
            ("prevalence", self.annotated <= self.prevalence <= 1, f"annotated ({self.annotated:g}) to 1"),
            ("metadata_effect", 0 <= self.metadata_effect <= 1, "0 to 1"),
            ("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1"),
        )
        check_settings(self, rules)


@dataclass(frozen=True)
class StyleConfig:
    """Settings of the styles: tolerances of the polygons, splits, and seed of the assignment."""

    fine: float = 2.0
    """Largest distance of a fine polygon from the contour, in pixels."""

    coarse: float = 3.5
    """Largest distance of a coarse polygon from the contour, in pixels."""

    effect: float = 1.0
    """Factor of both distances. At 0 all masks stay accurate, so that the style carries no information."""

    val_fraction: float = 0.2
    """Share of samples for validation, if the manifest has no splits."""

    test_fraction: float = 0.2
    """Share of samples for test, if the manifest has no splits."""

    split_seed: int = 0
    """Seed of the split, if the manifest has none."""

    seed: int = 0
    """Seed of the assignment of styles to training samples. It is not the seed of a run."""

    def __post_init__(self) -> None:
        fractions = self.val_fraction + self.test_fraction
        rules = (
            ("fine", 0 <= self.fine < math.inf, "0 pixels or more"),
            ("coarse", self.fine <= self.coarse < math.inf, f"at least fine's {self.fine:g} pixels"),
            ("effect", 0 <= self.effect < math.inf, "0 or more"),
            ("val_fraction", self.val_fraction > 0, "more than 0"),
            ("test_fraction", self.test_fraction > 0 and fractions < 1, "more than 0, and some left for training"),
        )
        check_settings(self, rules)

    @property
    def tolerances(self) -> dict[str, float]:
        """Tolerance in pixels, by style."""
        return {"accurate": 0.0, "fine": self.effect * self.fine, "coarse": self.effect * self.coarse}
