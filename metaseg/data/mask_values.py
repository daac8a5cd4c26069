"""Meaning of a mask's values: background, a class, or ignored pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import label

from metaseg.config import IGNORED, DataConfig
from metaseg.data.manifest import ManifestError

Pixels = npt.NDArray[np.uint8]
Stored = npt.NDArray[Any]  # bool, uint8 or uint16

FEW = 3
"""Up to this many values above 0, one of which is the largest of its type, aren't instance labels: one may be void."""

THIN = 0.05
"""Share of grey pixels whose neighbours all have their value: 0 where grey is a blurred edge, above 0.6 in labels."""

PIECES = 3
"""Connected components per value, on average: 1 for instance labels (a few where objects are cut), more for the shades
of a picture."""

CLASSES = 32
"""Values 1, 2, 3 ... up to this one may be classes, each with any number of connected components."""

NEAR = 16
"""Distance from 0 and from 255 within which lossy compression leaves values that were black and white."""

ADVICE = "choose the foreground values with --foreground (1, or 128..255) and the ignored value with --ignore"


@dataclass(frozen=True)
class MaskValues:
    """Mapping of stored values to classes."""

    classes: tuple[str, ...]
    """One: all values above 0 are this class, so that masks may hold instance labels. Several: value k is the k-th."""
    foreground: tuple[tuple[int, int], ...] = ()
    """Ranges of values that are the one class, lowest and highest included; all above 0 if there are none."""
    ignore: int | None = None
    """The value of ignored pixels."""

    @classmethod
    def of(cls, config: DataConfig) -> "MaskValues":
        """Make the mapping from the settings `classes`, `foreground` and `ignore`."""
        ranges = [(int(low), int(high or low)) for low, _, high in (text.partition("..") for text in config.foreground)]
        return cls(config.classes, tuple(ranges), config.ignore)

    def describe(self) -> dict[str, Any]:
        """Return the settings that aren't the defaults, for a dataset's fingerprint."""
        given = {"foreground": self.foreground, "ignore": self.ignore}
        return {name: value for name, value in given.items() if value not in ((), None)}

    def decode(self, path: Path, values: Stored) -> Pixels:
        """Map `(H, W)` stored values to 0 background, k the k-th class, or `IGNORED`.

        Raises:
            ManifestError: values aren't classes, are shades of blurred edges, or are ambiguous; the message names the
                file and the values.
        """
        void = np.zeros(values.shape, bool) if self.ignore is None else values == self.ignore
        if len(self.classes) > 1:
            mask = self._several(path, np.where(void, 0, values))
        elif self.foreground:
            mask = np.zeros(values.shape, np.uint8)
            for low, high in self.foreground:
                mask[(values >= low) & (values <= high)] = 1
        else:
            _check_one_class(path, values, void)
            mask = (values > 0).astype(np.uint8)
        mask[void] = IGNORED
        return mask

    def _several(self, path: Path, values: Stored) -> Pixels:
        if values.max() > len(self.classes):
            expected = ", ".join(f"{k} {name}" for k, name in enumerate(["background", *self.classes]))
            raise ManifestError(f"{path}: has mask values {_shown(values)}; expected {expected}")
        return values.astype(np.uint8)


def _check_one_class(path: Path, values: Stored, void: npt.NDArray[np.bool_]) -> None:
    counted = np.where(void, 0, values)
    found = np.unique(counted)
    above = found[found > 0].astype(int)
    if len(above) < 2:
        return
    largest = np.iinfo(values.dtype).max
    dense = above[-2] == len(above) - 1
    if above[-1] == largest != len(above) and (dense or len(above) <= FEW or largest > 255):
        raise ManifestError(f"{path}: has mask values {_shown(found)}, which are ambiguous; {ADVICE}")
    if not _are_numbers(counted, above):
        raise ManifestError(
            f"{path}: has {len(found)} values ({_shown(found)}), which lie on edges or in many pieces, as JPEG "
            "compression or smooth resizing leaves them; expected two values, or one label per object. If the mask was "
            f"binary, {ADVICE}"
        )


def _are_numbers(values: Stored, above: npt.NDArray[np.int_]) -> bool:
    """Return True if the values `above` 0 are labels of objects or classes; False if they are shades of a picture."""
    dense = above[-1] == len(above)
    grey = (values > 0) & (values != above[-1])
    inside, blurred = _edges(values, grey)
    if len(above) >= (4 if dense else 3) and inside < THIN and blurred:
        return False
    if FEW < len(above) < 2 * NEAR and above[-1] == 255 and ((above > NEAR) & (above < 255 - NEAR)).mean() < 0.1:
        return False
    if above[-1] > 255 or (dense and (len(above) <= CLASSES or inside > 4 * THIN)):
        return True
    pieces = label(values, background=0, connectivity=2, return_num=True)[1]
    return bool(pieces <= PIECES * len(above))


def _edges(values: Stored, grey: npt.NDArray[np.bool_]) -> tuple[float, bool]:
    """Return the share of grey pixels surrounded by their own value, and whether most touch another value above 0.

    Objects of few pixels have no interior either, but they touch nothing but themselves and background.
    """
    inside, touching = np.ones(values.shape, bool), np.zeros(values.shape, bool)
    for axis in (0, 1):
        for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:-1], np.s_[1:])):
            here = (one, np.s_[:]) if axis == 0 else (np.s_[:], one)
            beside = (other, np.s_[:]) if axis == 0 else (np.s_[:], other)
            differs = values[here] != values[beside]
            inside[here] &= ~differs
            touching[here] |= differs & (values[beside] > 0)
    count = np.count_nonzero(grey)
    return np.count_nonzero(inside & grey) / count, bool(np.count_nonzero(touching & grey) > count / 2)


def _shown(values: Stored) -> str:
    found = np.unique(values)
    return ", ".join(map(str, found[:10])) + (", ..." if len(found) > 10 else "")
