"""An image model of cultured cells in brightfield: the look of a cell line, and one field of view drawn from it.

Lengths are in pixels, brightness is relative to the lamp's. Every random number comes from the generator passed in.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Field = npt.NDArray[np.float32]
"""A value for each pixel, `(size, size)`."""

AREA = 128 * 128
"""Pixels in which `Look.nuclei` counts nuclei."""


@dataclass(frozen=True)
class Look:
    """Look of a cell line's images: the parameters of their distribution."""

    nuclei: float
    """Mean number of nuclei in 128 x 128 px."""
    radius: float
    """Radius of a nucleus, the geometric mean of its semi-axes."""
    elongation: float
    """Ratio of a nucleus's long to its short axis; that of its cell body is about the square."""
    clump: float | None
    """Mean number of nuclei in a clump, or None if they are scattered."""
    body: float
    """Distance by which the cell body extends beyond its nucleus."""
    contrast: float
    """Brightness of a nucleus relative to its cell body; negative is darker."""
    membrane: float
    """Darkness of a nucleus's contour."""
    halo: float
    """Brightness of the phase halo around a nucleus."""
    border: float
    """Brightness of the ridges where cells meet or end."""
    nucleoli: float
    """Mean number of nucleoli in a nucleus, at least one."""
    grain: float
    """Scale of the cytoplasm's texture."""
    roughness: float
    """Amplitude of the cytoplasm's texture."""


@dataclass(frozen=True)
class Well:
    """Properties that the fields of one well share."""

    density: float
    """Number of nuclei, relative to the mean of the look."""
    gradient: npt.NDArray[np.float64]
    """`(2,)` change of illumination from edge to edge, down and across."""
    vignette: float
    """Loss of light in the corners."""
    defocus: float
    """Standard deviation of the blur."""
    exposure: float
    """Grey value of empty medium, 0 to 255."""


@dataclass(frozen=True)
class Scene:
    """One field of view and the geometry that it was drawn from."""

    image: npt.NDArray[np.uint8]
    """`(size, size)`"""
    distance: Field
    """Signed distance to the nearest nucleus's contour, negative inside, at most `REACH`."""
    nuclei: int
    """Number of nuclei with their centre in the field."""


class _Ellipses(NamedTuple):
    centre: npt.NDArray[np.float64]  # (n, 2) row, column
    axes: npt.NDArray[np.float64]  # (n, 2) semi-axes, long and short
    angle: npt.NDArray[np.float64]  # (n,) of the long axis against the columns' direction


REACH = 10.0
"""Distances above this are set to it."""

_GAP = 4.0
"""Least distance between the contours of two nuclei before `_WOBBLE`, so that outlines drawn too large seldom merge."""

_WOBBLE = 0.7
"""Standard deviation of the displacement that makes contours less regular than ellipses."""

_NOISE = 0.008
"""Read noise of the camera."""

_PHOTONS = 3000.0
"""Electrons in a pixel of brightness 1: the source of shot noise."""


def draw_well(rng: np.random.Generator) -> Well:
    """Draw the properties that a well's fields share. Their distribution is the same for all looks."""
    return Well(
        density=float(np.exp(rng.normal(0, 0.12))),
        gradient=rng.normal(0, 0.12, 2),
        vignette=float(rng.uniform(0.0, 0.12)),
        defocus=float(rng.uniform(0.6, 1.0)),
        exposure=float(rng.uniform(110, 140)),
    )


def draw_scene(look: Look, well: Well, size: int, rng: np.random.Generator) -> Scene:
    """Draw a field of view of `size` x `size` px."""
    nuclei = _place(look, well, size, rng)
    wobble = _WOBBLE * np.stack([_noise(size, 5.0, rng), _noise(size, 5.0, rng)])
    bodies = _Ellipses(nuclei.centre, _body_axes(look, nuclei.axes), nuclei.angle)
    distance, _, owner = _distances(nuclei, wobble, size)
    body, next_body, _ = _distances(bodies, 3 * wobble, size)

    inside, cytoplasm = _sigmoid(-distance / 0.6), _sigmoid(-body / 1.5)
    texture = _noise(size, look.grain, rng) - _noise(size, 2 * look.grain, rng)
    strength = rng.normal(1, 0.15, len(nuclei.centre)).astype(np.float32)[owner]
    light = 1 + 0.01 * _noise(size, 12.0, rng)
    light += cytoplasm * (look.roughness * (1 - 0.7 * inside) * texture - 0.03)
    light += look.border * cytoplasm * _ridge(next_body - body, 2.5)
    light += look.border * _ridge(body - 0.5, 1.5)
    light += strength * look.contrast * inside
    light += strength * look.halo * _ridge(distance - 2.5, 1.2)
    light -= strength * look.membrane * _ridge(distance, 0.9)
    light += _nucleoli(look, nuclei, size, rng) * inside + _debris(size, rng)

    image = gaussian_filter(light, well.defocus * rng.uniform(0.85, 1.15)) * _illumination(well, size)
    image += np.sqrt(np.maximum(image, 0) / _PHOTONS) * rng.standard_normal((size, size))
    image += _NOISE * rng.standard_normal((size, size))
    grey = np.clip(np.rint(well.exposure * image), 0, 255).astype(np.uint8)
    return Scene(grey, distance, len(nuclei.centre))


def _place(look: Look, well: Well, size: int, rng: np.random.Generator) -> _Ellipses:
    """Place nuclei one after the other, leaving out those too close to an earlier one."""
    share = size * size / AREA
    wanted = int(np.clip(rng.poisson(look.nuclei * well.density * share), 6 * share, 30 * share))
    tries = 8 * wanted + 32
    if look.clump is None:
        centre = rng.uniform(0, size, (tries, 2))
    else:
        clumps = rng.uniform(0.1 * size, 0.9 * size, (max(1, round(wanted / look.clump)), 2))
        centre = clumps[rng.integers(len(clumps), size=tries)] + rng.normal(0, 13.0, (tries, 2))
    radius = look.radius * rng.uniform(0.87, 1.15, tries)
    stretch = np.sqrt(1 + (look.elongation - 1) * rng.uniform(0.6, 1.4, tries))
    axes = np.stack([radius * stretch, radius / stretch], axis=1)
    angle = rng.uniform(0, np.pi, tries)

    kept: list[int] = []
    for i in np.flatnonzero(((centre >= 0) & (centre < size)).all(axis=1)):
        between = np.hypot(*(centre[kept] - centre[i]).T) - axes[kept, 0] - axes[i, 0]
        if (between >= _GAP).all():
            kept.append(int(i))
        if len(kept) == wanted:
            break
    return _Ellipses(centre[kept], axes[kept], angle[kept])


def _body_axes(look: Look, axes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Compute the semi-axes of the cell bodies around nuclei of semi-axes `axes` `(n, 2)`."""
    stretch: npt.NDArray[np.float64] = np.sqrt(axes[:, 0] / axes[:, 1])
    return axes * np.stack([stretch, 1 / stretch], axis=1) + look.body


def _distances(ellipses: _Ellipses, wobble: Field, size: int) -> tuple[Field, Field, npt.NDArray[np.intp]]:
    """Compute signed distances to the nearest and second nearest contour, and the nearest's index; `(size, size)` each.

    The distance to an ellipse is the first-order approximation (g - 1) / |grad g| with g = 1 on the contour.
    """
    nearest = np.full((size, size), REACH, dtype=np.float32)
    second = nearest.copy()
    owner = np.zeros((size, size), dtype=np.intp)
    rows, columns = np.mgrid[:size, :size].astype(np.float32) + wobble
    for i, ((row, column), (long, short), angle) in enumerate(zip(*ellipses, strict=True)):
        reach = long + REACH + 2
        window = tuple(slice(max(0, int(c - reach)), int(c + reach) + 2) for c in (row, column))
        y, x = rows[window] - row, columns[window] - column
        u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        g = np.sqrt((u / long) ** 2 + (v / short) ** 2) + 1e-6
        distance = (g - 1) * g / (np.sqrt((u / long**2) ** 2 + (v / short**2) ** 2) + 1e-6)
        closer = distance < nearest[window]
        second[window] = np.minimum(second[window], np.where(closer, nearest[window], distance))
        nearest[window] = np.where(closer, distance, nearest[window])
        owner[window] = np.where(closer, i, owner[window])
    return nearest, second, owner


def _nucleoli(look: Look, nuclei: _Ellipses, size: int, rng: np.random.Generator) -> Field:
    """Draw nucleoli, dark dots inside nuclei."""
    owner = np.repeat(np.arange(len(nuclei.centre)), 1 + rng.poisson(look.nucleoli - 1, len(nuclei.centre)))
    angle, radius = rng.uniform(0, 2 * np.pi, len(owner)), rng.uniform(0, 0.6, len(owner)) * nuclei.axes[owner, 1]
    points = nuclei.centre[owner] + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    return _dots(points, -rng.uniform(1.0, 2.0, len(owner)), 1.1, size)


def _debris(size: int, rng: np.random.Generator) -> Field:
    """Draw dark and bright specks and fibres, which aren't nuclei."""
    specks, fibres = rng.poisson(7.0 * size * size / AREA), rng.poisson(1.2 * size * size / AREA)
    speck = rng.uniform(0, size, (specks, 1, 2)) + rng.uniform(0.3, 1.3, (specks, 1, 1)) * rng.normal(
        0, 1, (specks, 12, 2)
    )
    start, bend, end = (rng.uniform(0, size, (fibres, 1, 2)) for _ in range(3))
    t = np.linspace(0, 1, 2 * size)[:, None]
    end = start + (end - start) * rng.uniform(0.3, 0.8, (fibres, 1, 1))
    bend = (start + end) / 2 + 0.2 * (bend - start)
    fibre = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    sign = rng.choice([-1.0, 1.0], specks + fibres)
    return _dots(speck.reshape(-1, 2), np.repeat(sign[:specks] * 0.25, 12), 0.9, size) + _dots(
        fibre.reshape(-1, 2), np.repeat(sign[specks:] * 0.06, 2 * size), 0.9, size
    )


def _dots(points: npt.NDArray[np.float64], weight: npt.NDArray[np.float64], sigma: float, size: int) -> Field:
    """Draw Gaussian dots of integral `weight` `(n,)` at `points` `(n, 2)`; those outside the field are left out."""
    row, column = np.rint(points).astype(np.intp).T
    seen = (row >= 0) & (row < size) & (column >= 0) & (column < size)
    canvas = np.zeros((size, size), dtype=np.float32)
    np.add.at(canvas, (row[seen], column[seen]), weight[seen].astype(np.float32))
    return gaussian_filter(canvas, sigma)


def _noise(size: int, scale: float, rng: np.random.Generator) -> Field:
    """Draw smooth Gaussian noise of variance about 1, correlated over `scale`."""
    white = rng.standard_normal((size, size), dtype=np.float32)
    return gaussian_filter(white, scale, mode="wrap", truncate=3) * np.float32(2 * np.sqrt(np.pi) * scale)


def _illumination(well: Well, size: int) -> Field:
    down, across = np.mgrid[-0.5 : 0.5 : size * 1j, -0.5 : 0.5 : size * 1j].astype(np.float32)
    tilt = well.gradient[0] * down + well.gradient[1] * across
    return np.asarray(1 + tilt - 2 * well.vignette * (down**2 + across**2), dtype=np.float32)


def _ridge(distance: Field, width: float) -> Field:
    return np.asarray(np.exp(-((distance / width) ** 2)), dtype=np.float32)


def _sigmoid(x: Field) -> Field:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x), dtype=np.float32)
