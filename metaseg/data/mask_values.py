"""What the values of a mask mean: background, a class, or pixels that count in nothing."""

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
"""So many values above 0 that go up to the largest of their type aren't objects' numbers: one of them is void."""

THIN = 0.05
"""Share of grey pixels whose neighbours all have their value: 0 where grey is a blurred edge, above 0.6 in labels."""

PIECES = 3
"""Connected pieces a value, on average: 1 where objects are numbered (a few where they are cut), more in what is left
of a picture."""

CLASSES = 32
"""Values 1, 2, 3 ... up to so many may be classes, each of which has any number of pieces."""

NEAR = 16
"""Of 0 and of 255: where lossy compression leaves the values of what was black and white."""

ADVICE = "say which values are the class with --foreground (1, or 128..255), and which don't count with --ignore"


@dataclass(frozen=True)
class MaskValues:
    """How stored values become classes."""

    classes: tuple[str, ...]
    """One: values above 0 are it, so that objects may be numbered. Several: value k is the k-th."""
    foreground: tuple[tuple[int, int], ...] = ()
    """Lowest and highest value, both included, of the one class; all above 0 where none is given."""
    ignore: int | None = None
    """The value that doesn't count."""

    @classmethod
    def of(cls, config: DataConfig) -> "MaskValues":
        """The meaning that the settings `classes`, `foreground` and `ignore` give to a mask's values."""
        ranges = [(int(low), int(high or low)) for low, _, high in (text.partition("..") for text in config.foreground)]
        return cls(config.classes, tuple(ranges), config.ignore)

    def describe(self) -> dict[str, Any]:
        """What distinguishes these from the usual meaning, for a dataset's fingerprint; nothing where nothing does."""
        given = {"foreground": self.foreground, "ignore": self.ignore}
        return {name: value for name, value in given.items() if value not in ((), None)}

    def decode(self, path: Path, values: Stored) -> Pixels:
        """`(H, W)` stored values as 0 background, k the k-th class, or `IGNORED`.

        Raises:
            ManifestError: names the file and its values, where these aren't classes, or can't be meant: blurred edges,
                or a few values that nothing tells apart.
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
        raise ManifestError(f"{path}: has mask values {_shown(found)}, which may mean several things; {ADVICE}")
    if not _are_numbers(counted, above):
        raise ManifestError(
            f"{path}: has {len(found)} values ({_shown(found)}), which lie on edges or in many pieces, as JPEG "
            "compression or smooth resizing leaves them; expected two values, or a number for each object. If they "
            f"were two, {ADVICE}"
        )


def _are_numbers(values: Stored, above: npt.NDArray[np.int_]) -> bool:
    """Whether the values `above` 0 number objects or classes; else they are shades, as of a picture."""
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
    """The share of grey pixels that lie within their own value; and whether most touch another one that isn't 0.

    Objects of few pixels have no inside either, but they touch nothing but themselves and background.
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
