"""An image model of axial CT slices through the kidneys: a patient's anatomy, and one slice of it with a lesion.

Lengths are in 128ths of the image's side, about 2.8 mm each; brightness is in Hounsfield units until the last step.
Every random number comes from the generators passed in.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Field = npt.NDArray[np.float32]
"""A value for each pixel, `(size, size)`."""

Mask = npt.NDArray[np.bool_]
"""`(size, size)`"""

Lesion = Literal["tumour", "cyst"]

SIDE = 128
"""Side of an image, in units of length."""

MEAN_RADIUS = 8.0
"""Radius of a tumour cut through its centre, at which its profile has fallen to `exp(-0.5 / SOFTNESS**2)`."""

LEAST_RADIUS = 3.0
"""Smallest radius of a lesion: it covers at least this much around its centre."""

SOFTNESS = 0.8
"""Standard deviation of a tumour's Gaussian profile, as a share of its radius."""

WINDOW = (-79.0, 304.0)
"""Hounsfield units that become 0 and 255, as in `metaseg.datasets.kits`."""

_CORE = 1.8
"""Standard deviation of the dark core that marks a tumour's centre."""

_AIR, _FAT, _MUSCLE, _BONE, _FLUID = -1000.0, -105.0, 55.0, 260.0, 8.0


@dataclass(frozen=True)
class Slice:
    """One axial slice, and the geometry that it was drawn from."""

    image: npt.NDArray[np.uint8]
    """`(size, size)`, windowed."""
    kidneys: Mask
    """Both kidneys without their sinus, as if there were no lesion."""
    lesion: Lesion
    """Kind of lesion in one of the kidneys."""
    distance: Field
    """Distance from the lesion's centre, corrected for its elongation: the outline is where this equals the radius."""
    radius: float
    """Radius of the lesion in this slice: for a cyst the one drawn, for a tumour the one that its profile suggests."""
    room: Mask
    """Pixels that a lesion can cover: inside the abdominal wall, outside the spine and the muscles beside it; and those
    within `LEAST_RADIUS` of its centre."""


class _Ellipse(NamedTuple):
    row: float
    column: float
    across: float  # semi-axis along the columns' direction, before it is turned
    down: float
    turn: float = 0.0


class _Canvas:
    """A slice in Hounsfield units, on which ellipses with soft edges are painted one after the other."""

    def __init__(self, size: int, rng: np.random.Generator) -> None:
        self.size = size
        self.units = np.full((size, size), _AIR, dtype=np.float32)
        grid = (np.mgrid[:size, :size].astype(np.float32) + 0.5) * (SIDE / size)
        wobble = 0.6 * np.stack([self.noise(5.0, rng), self.noise(5.0, rng)])
        self._rows, self._columns = grid + wobble

    def noise(self, scale: float, rng: np.random.Generator) -> Field:
        """Smooth Gaussian noise of standard deviation 1."""
        white = rng.standard_normal((self.size, self.size), dtype=np.float32)
        smooth = gaussian_filter(white, scale * self.size / SIDE, mode="wrap", truncate=3)
        return np.asarray(smooth / smooth.std(), dtype=np.float32)

    def distance(self, ellipse: _Ellipse) -> Field:
        """Compute the first-order signed distance to the outline, negative inside."""
        return self._distance(ellipse, (slice(None), slice(None)))

    def paint(self, ellipse: _Ellipse, value: float, edge: float = 0.4, where: Field | None = None) -> None:
        """Paint an ellipse of `value`; `where` `(size, size)` is its opacity, 1 by default."""
        reach = max(ellipse.across, ellipse.down) + 6 * edge + 3
        start, stop = (
            [max(0, int((centre + by) * self.size / SIDE)) for centre in ellipse[:2]] for by in (-reach, reach)
        )
        window = (slice(start[0], stop[0] + 1), slice(start[1], stop[1] + 1))
        self.blend(value, _sigmoid(-self._distance(ellipse, window) / edge), window, where)

    def blend(
        self,
        value: float,
        weight: Field,
        window: tuple[slice, slice] = (slice(None), slice(None)),
        where: Field | None = None,
    ) -> None:
        """Move the pixels in `window` towards `value` by a share `weight`."""
        share = weight if where is None else weight * where[window]
        self.units[window] += share * (value - self.units[window])

    def elongated(self, ellipse: _Ellipse) -> Field:
        """Compute a distance from the centre that is 1 on the outline and grows in proportion."""
        u, v = self._along_axes(ellipse, (slice(None), slice(None)))
        return np.asarray(np.hypot(u / ellipse.across, v / ellipse.down), dtype=np.float32)

    def _distance(self, ellipse: _Ellipse, window: tuple[slice, slice]) -> Field:
        u, v = self._along_axes(ellipse, window)
        across, down = ellipse.across, ellipse.down
        g = np.sqrt((u / across) ** 2 + (v / down) ** 2) + 1e-6
        slope = np.sqrt((u / across**2) ** 2 + (v / down**2) ** 2) + 1e-6
        return np.asarray((g - 1) * g / slope, dtype=np.float32)

    def _along_axes(self, ellipse: _Ellipse, window: tuple[slice, slice]) -> tuple[Field, Field]:
        y, x = self._rows[window] - ellipse.row, self._columns[window] - ellipse.column
        cos, sin = np.float32(np.cos(ellipse.turn)), np.float32(np.sin(ellipse.turn))
        return cos * x + sin * y, cos * y - sin * x


def draw_slice(size: int, lesion: Lesion, patient: np.random.Generator, rng: np.random.Generator) -> Slice:
    """Draw a slice of `size` x `size` px.

    Args:
        size: side of the image, in pixels.
        lesion: kind of lesion in one of the kidneys.
        patient: generator of the anatomy; it must be in the same state for all slices of a patient.
        rng: generator of the differences between slices: the position along the body, noise.
    """
    canvas = _Canvas(size, rng)
    belly, spine = _trunk(canvas, patient)
    cavity = canvas.distance(belly)
    inside = _sigmoid(-cavity / 0.4)
    _organs(canvas, inside, patient, rng)
    kidneys, ellipses = _kidneys(canvas, belly, patient, rng)
    distance = _distance_from_lesion(canvas, ellipses, patient)
    section = float(np.sqrt(1 - rng.uniform(-0.7, 0.7) ** 2))  # of a ball, cut off its centre
    radius = section * (MEAN_RADIUS if lesion == "tumour" else patient.uniform(4.0, 8.0))
    if lesion == "tumour":
        profile = np.exp(-0.5 * (distance / (SOFTNESS * radius)) ** 2) * inside
        canvas.blend(patient.uniform(40, 60), profile * (1 + 0.1 * np.tanh(canvas.noise(2.0, rng) - 1)))
        canvas.blend(_FLUID, np.exp(-0.5 * (distance / _CORE) ** 2) * inside)
    else:
        canvas.blend(_FLUID, _sigmoid((radius - distance) / 0.3) * inside)
    room = ((cavity < 0) & (spine > 0)) | (distance <= LEAST_RADIUS)
    return Slice(_expose(canvas, rng), kidneys, lesion, distance, radius, room)


def _trunk(canvas: _Canvas, patient: np.random.Generator) -> tuple[_Ellipse, Field]:
    """Paint wall, spine and the muscles beside it; return the cavity, and the distance to spine and muscles."""
    across, down = patient.uniform(52, 58), patient.uniform(40, 45)
    fat, wall = patient.uniform(3, 7), patient.uniform(3.5, 4.5)
    outlines = [_Ellipse(64, 64, across - by, down - by) for by in (0.0, 1.0, fat, fat + wall)]
    for outline, value in zip(outlines, (0.0, _FAT, _MUSCLE, _FAT), strict=True):
        canvas.paint(outline, value)
    across, down = across - fat - wall / 2, down - fat - wall / 2
    for angle in np.linspace(-0.35, np.pi + 0.35, 9) + patient.uniform(-0.1, 0.1, 9):
        if abs(np.cos(angle)) > 0.45:  # ribs: none in front of the belly, none behind the spine
            row, column = 64 + down * np.sin(angle), 64 + across * np.cos(angle)
            canvas.paint(
                _Ellipse(row, column, 3.0, 1.1, np.arctan2(down * np.cos(angle), -across * np.sin(angle))), 320
            )

    back = 64 + down
    middle = back - patient.uniform(17, 19)
    muscles = [_Ellipse(back - 4, 64 + side * 13, 13, 7, side * 0.25) for side in (-1, 1)]
    muscles += [_Ellipse(middle + 1, 64 + side * 13.5, 5, 6.5, side * 0.3) for side in (-1, 1)]
    body = _Ellipse(middle, 64, 9.5, 7.5)
    for muscle in muscles:
        canvas.paint(muscle, _MUSCLE)
    for side in (-1, 1):
        canvas.paint(_Ellipse(middle + 9, 64 + side * 6, 6, 1.8, side * 0.5), _BONE)
    canvas.paint(_Ellipse(middle + 15, 64, 1.4, 6), _BONE)
    canvas.paint(body, 330)
    canvas.paint(_Ellipse(middle, 64, 8.3, 6.3), patient.uniform(130, 210), edge=0.6)
    canvas.paint(_Ellipse(middle + 9, 64, 4.5, 3.6), 300)
    canvas.paint(_Ellipse(middle + 9, 64, 3.6, 2.8), 30)
    return outlines[-1], np.minimum.reduce([canvas.distance(part) for part in (body, *muscles)])


def _organs(canvas: _Canvas, inside: Field, patient: np.random.Generator, rng: np.random.Generator) -> None:
    """Paint vessels, liver, spleen and bowel."""
    level = rng.normal(0, 1.0, 4)  # organs change a little along the body
    liver = _Ellipse(52 + level[0], 33, patient.uniform(15, 22), patient.uniform(15, 21) + level[1], 0.5)
    canvas.paint(liver, patient.uniform(95, 125), where=inside)
    for row, column in patient.normal((52, 33), 6, (6, 2)):
        canvas.paint(_Ellipse(row, column, 1.2, 0.9), 165, edge=0.6, where=inside)
    spleen = max(2.0, patient.uniform(6, 11) + level[2])
    canvas.paint(_Ellipse(62 + level[3], 102, 0.65 * spleen, spleen, 0.3), patient.uniform(105, 140), where=inside)
    aorta = patient.uniform(180, 300)
    canvas.paint(_Ellipse(74, 67, 3.4, 3.4), aorta)
    canvas.paint(_Ellipse(74, 57, 4.2, 3.0), patient.uniform(110, 160))
    for _ in range(14):
        row, column = patient.uniform((34, 46), (58, 92)) + rng.normal(0, 1.0, 2)
        across, down, turn = patient.uniform(3, 7), patient.uniform(3, 5), patient.uniform(0, np.pi)
        content = float(patient.choice([_FLUID, 45.0, 70.0, 240.0, -700.0], p=[0.2, 0.3, 0.25, 0.15, 0.1]))
        canvas.paint(_Ellipse(row, column, across, down, turn), 70, where=inside)
        canvas.paint(_Ellipse(row, column, across - 1.2, down - 1.2, turn), content, where=inside)
    for row, column in patient.uniform((40, 40), (72, 90), (12, 2)):
        canvas.paint(_Ellipse(row, column, 0.8, 0.8), 120, where=inside)


def _kidneys(
    canvas: _Canvas, belly: _Ellipse, patient: np.random.Generator, rng: np.random.Generator
) -> tuple[Mask, tuple[_Ellipse, _Ellipse]]:
    """Paint both kidneys; return their pixels and outlines."""
    cortex, medulla = patient.uniform(140, 240), patient.uniform(90, 140)
    mask = np.zeros((canvas.size, canvas.size), dtype=np.bool_)
    outlines = []
    for side in (-1, 1):
        row = belly.row + belly.down - patient.uniform(16, 20)
        column = belly.column + side * belly.across * patient.uniform(0.56, 0.62)
        scale = rng.uniform(0.85, 1.0)
        across, down = scale * patient.uniform(8, 9.5), scale * patient.uniform(11, 13)
        kidney = _Ellipse(row, column, across, down, side * patient.uniform(0.2, 0.7))
        canvas.paint(kidney, cortex)
        for angle in np.linspace(0, 2 * np.pi, 7, endpoint=False) + patient.uniform(0, 0.9):
            away, over = 0.58 * across * np.cos(angle), 0.58 * down * np.sin(angle)
            pyramid = _along(kidney, away, over)
            canvas.paint(_Ellipse(*pyramid, 2.4 * scale, 1.7 * scale, kidney.turn + angle), medulla, edge=0.7)
        sinus = _Ellipse(*_along(kidney, -side * 0.55 * across, 0.0), 0.6 * across, 0.33 * down, kidney.turn)
        canvas.paint(sinus, -60, edge=0.8)
        canvas.paint(_Ellipse(sinus.row, sinus.column - side * 3, 5, 1.1, side * -0.4), 150, edge=0.6)
        mask |= (canvas.distance(kidney) <= 0) & (canvas.distance(sinus) > 0)
        outlines.append(kidney)
    return mask, (outlines[0], outlines[1])


def _distance_from_lesion(canvas: _Canvas, kidneys: tuple[_Ellipse, _Ellipse], patient: np.random.Generator) -> Field:
    """Choose the lesion's centre, in the outer part of a kidney; return each pixel's distance from it."""
    side = int(patient.choice([-1, 1]))
    kidney = kidneys[(side + 1) // 2]
    depth, angle = patient.uniform(0.5, 0.85), patient.uniform(-1.0, 0.4)
    row, column = _along(kidney, side * depth * kidney.across * np.cos(angle), depth * kidney.down * np.sin(angle))
    stretch = patient.uniform(1.0, 1.25) ** 0.5
    return canvas.elongated(_Ellipse(row, column, stretch, 1 / stretch, patient.uniform(0, np.pi)))


def _along(ellipse: _Ellipse, across: float, down: float) -> tuple[float, float]:
    """Convert a point from coordinates along an ellipse's axes to row and column."""
    cos, sin = np.cos(ellipse.turn), np.sin(ellipse.turn)
    return float(ellipse.row + sin * across + cos * down), float(ellipse.column + cos * across - sin * down)


def _expose(canvas: _Canvas, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Blur, add noise, and window."""
    units = gaussian_filter(canvas.units, 0.45 * canvas.size / SIDE)
    units += 12 * canvas.noise(0.5, rng) + 4 * canvas.noise(2.0, rng)
    low, high = WINDOW
    grey = np.rint((np.clip(units, low, high) - low) * (255 / (high - low)))
    return np.asarray(grey, dtype=np.uint8)


def _sigmoid(x: Field) -> Field:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * x), dtype=np.float32)
