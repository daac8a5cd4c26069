"""An image model of artefacts in brightfield: debris, bubbles and spots out of focus, which absorb or refract light.

Lengths are in pixels. Every random number comes from the generator passed in.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.special import expit

from metaseg.simulators.brightfield import AREA, Field

MEAN_OBJECTS = 2.2
"""Mean number of artefacts in 128 x 128 px, where there are any."""

REACH = 64
"""Largest distance from its centre at which an artefact is drawn, in pixels."""

Mask = npt.NDArray[np.bool_]


def draw_artefacts(size: int, rng: np.random.Generator) -> tuple[Field, Mask]:
    """Draw at least one artefact into a field of `size` x `size` px.

    Returns:
        The factor by which the light of each pixel is multiplied, `(size, size)`; and the pixels of each artefact,
        `(artefacts, size, size)`, which may overlap.
    """
    light = np.ones((size, size), dtype=np.float32)
    rough, fine = (_noise(size, scale, rng) for scale in (3.0, 0.9))
    masks = np.zeros((1 + rng.poisson(max(MEAN_OBJECTS * size * size / AREA - 1, 0)), size, size), dtype=np.bool_)
    for mask in masks:
        row, column = rng.uniform(0.04 * size, 0.96 * size, 2)
        draw = (_debris, _debris, _bubble, _spot)[rng.integers(4)]
        near = tuple(slice(max(0, int(c) - REACH), min(size, int(c) + REACH + 1)) for c in (row, column))
        y, x = np.mgrid[near].astype(np.float32)
        factor, mask[near] = draw(y - np.float32(row), x - np.float32(column), rough[near], fine[near], rng)
        light[near] *= factor
    return light, masks


def _debris(y: Field, x: Field, rough: Field, fine: Field, rng: np.random.Generator) -> tuple[Field, Mask]:
    """Draw an opaque clump of grains: round, long or branched, with a rough edge that diffracts."""
    grains = rng.integers(3, 11)
    steps = rng.normal(0, 1, (grains, 2)) * rng.uniform(1.5, 4.0) + rng.normal(0, 1, 2) * rng.uniform(0, 3.0)
    start = rng.integers(0, np.arange(1, grains))  # a grain lies beside an earlier one
    centres = np.zeros((grains, 2), dtype=np.float32)
    for k in range(1, grains):
        centres[k] = centres[start[k - 1]] + steps[k]
    radii = rng.uniform(2.0, 5.5, grains).astype(np.float32)
    radii[0] = max(radii[0], 3.5)
    distance = np.full(y.shape, np.inf, dtype=np.float32)
    for (row, column), radius in zip(centres, radii, strict=True):
        distance = np.minimum(distance, np.hypot(y - row, x - column) - radius)
    distance = distance + 0.6 * rough + 0.4 * fine
    opacity = rng.uniform(0.5, 0.8) * (1 + 0.10 * rough + 0.16 * fine) * expit(-distance / 0.6)
    return 1 - np.clip(opacity, 0, 0.92) + rng.uniform(0, 0.2) * _ridge(distance - 2.2, 1.0), distance <= 0


def _bubble(y: Field, x: Field, rough: Field, fine: Field, rng: np.random.Generator) -> tuple[Field, Mask]:
    """Draw a bubble: a bright disc in a dark rim, a ring of refracted light inside and a faint one around it."""
    radius, stretch = np.exp(rng.uniform(np.log(5.0), np.log(14.0))), rng.uniform(0.94, 1.06)
    distance = np.hypot(y * stretch, x / stretch) - radius + 0.15 * rough
    rim = rng.uniform(0.9, 1.2) + 0.07 * radius
    light = 1 + rng.uniform(0.15, 0.4) * expit(-(distance + 2 * rim) / 0.8)
    light -= rng.uniform(0.45, 0.7) * _ridge(distance + rim, rim)
    light += rng.uniform(0.15, 0.4) * _ridge(distance + 3.2 * rim, 0.7 * rim)
    light += rng.uniform(0.1, 0.3) * _ridge(distance - 1.2, 1.0)
    return light, distance <= 0


def _spot(y: Field, x: Field, rough: Field, fine: Field, rng: np.random.Generator) -> tuple[Field, Mask]:
    """Draw something far from the focal plane: a soft patch, dark or bright, with a fringe if it is less far."""
    angle, radius, stretch = rng.uniform(0, np.pi), rng.uniform(8.0, 17.0), rng.uniform(1.0, 1.35)
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    distance = np.hypot(u / stretch, v * stretch) - radius + 0.5 * rough
    strength = rng.uniform(0.22, 0.42) * rng.choice([-1.0, 1.0])
    soft = rng.uniform(1.5, 3.5)
    light = 1 + strength * expit(-distance / soft) - rng.uniform(0, 0.4) * strength * _ridge(distance - 3 * soft, soft)
    return light, distance <= 0


def _noise(size: int, scale: float, rng: np.random.Generator) -> Field:
    """Draw smooth Gaussian noise of variance about 1, correlated over `scale`."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    return gaussian_filter(white, scale, mode="wrap", truncate=3) * np.float32(2 * np.sqrt(np.pi) * scale)


def _ridge(distance: Field, width: float) -> Field:
    return np.asarray(np.exp(-((distance / width) ** 2)), dtype=np.float32)
