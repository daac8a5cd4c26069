"""Scores that counts of pixels can't give, of boundaries and of objects: two masks of one class in, numbers out.

All lengths are in pixels. A mask's boundary are its pixels with a neighbour (of four) outside it; beyond the image is
outside. Boundaries are found and measured by MONAI, objects by scikit-image and SciPy.
"""

import contextlib
import warnings
from collections.abc import Collection, Iterator
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
import torch

from metaseg.config import ConfigError
from metaseg.schema import HD95, OBJECTS, SURFACE, ExtraScore

Mask = npt.NDArray[np.bool_]

TOLERANCE = 2.0
"""Pixels that boundaries may be apart for surface Dice, unless said otherwise."""

PERCENTILE = 95.0
"""Of the distances between boundaries: HD95."""


def require_packages(scores: Collection[ExtraScore]) -> None:
    """Raise a `ConfigError` that says what to install where a package for these scores isn't there."""
    boundary = sorted({"surface-dice", "hd95"}.intersection(scores))
    if boundary and find_spec("monai") is None:
        raise ConfigError(
            f"extra score {boundary[0]!r} needs the package monai, which isn't installed: pip install 'metaseg[scores]'"
        )


def score_masks(
    predicted: Mask, reference: Mask, scores: Collection[ExtraScore], tolerance: float = TOLERANCE
) -> dict[str, float]:
    """The scores of an image's mask of one class, by column of a run's score file.

    Args:
        predicted: `(H, W)`.
        reference: `(H, W)`.
        scores: which.
        tolerance: of surface Dice, in pixels.
    """
    row: dict[str, float] = {}
    if "surface-dice" in scores:
        row |= dict(zip(SURFACE, (surface_dice(predicted, reference, tolerance), tolerance), strict=True))
    if "hd95" in scores:
        row[HD95] = hd95(predicted, reference)
    if "objects" in scores:
        row |= dict(zip(OBJECTS, object_counts(predicted, reference), strict=True))
    return row


def surface_dice(predicted: Mask, reference: Mask, tolerance: float) -> float:
    """Which part of both boundaries is within `tolerance` pixels of the other one, in 0..1 (Nikolov et al. 2021).

    Each boundary pixel counts once (Seidlitz et al. 2022, equation 1). 1 where both masks are empty, as of F1; 0 where
    one is.
    """
    from monai.metrics.surface_dice import compute_surface_dice

    if not (predicted.any() and reference.any()):
        return float(predicted.any() == reference.any())
    masks = (_batch(predicted), _batch(reference))
    with _quiet():
        return float(compute_surface_dice(*masks, [tolerance], include_background=True))


def hd95(predicted: Mask, reference: Mask) -> float:
    """The 95 % Hausdorff distance in pixels: 0 is best.

    Of distances from each boundary pixel to the other mask's boundary, the 95th percentile (linearly interpolated) of
    each direction; the larger of the two. NaN where either mask is empty, or both are: there is no distance.
    """
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    if not (predicted.any() and reference.any()):
        return float("nan")
    masks = (_batch(predicted), _batch(reference))
    with _quiet():
        return float(compute_hausdorff_distance(*masks, percentile=PERCENTILE, include_background=True))


def object_counts(predicted: Mask, reference: Mask) -> tuple[int, int, int]:
    """Objects that are found, invented and missed: tp, fp, fn.

    Objects are connected components; pixels that touch by a corner are connected. A predicted and a reference object
    match where their intersection is at least half of their union; as many as can be are matched, one to one. (Above
    one half no object has two candidates; at one half it can.)
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from skimage.measure import label

    objects, wanted = label(reference, connectivity=2, return_num=True)
    guesses, guessed = label(predicted, connectivity=2, return_num=True)
    areas = [np.bincount(labels.ravel(), minlength=n + 1)[1:] for labels, n in ((objects, wanted), (guesses, guessed))]
    both = reference & predicted
    pairs, shared = np.unique((objects[both].astype(np.int64) - 1) * guessed + guesses[both] - 1, return_counts=True)
    rows, columns = np.divmod(pairs, max(guessed, 1))
    match = 2 * shared >= areas[0][rows] + areas[1][columns] - shared
    graph = csr_array((shared[match], (rows[match], columns[match])), shape=(wanted, guessed))
    found = int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
    return found, guessed - found, wanted - found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what MONAI has to say of MONAI's own calls."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
        yield


def _batch(mask: Mask) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()
