"""Metadata response: what an image's segmentation becomes as one metadata value is varied and all else is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metaseg.config import ConfigError
from metaseg.data.mask_values import MaskValues, Pixels
from metaseg.data.metadata import CategoricalCode
from metaseg.data.reading import ImagePixels
from metaseg.prediction.ensemble import Ensemble
from metaseg.prediction.job import read_request
from metaseg.prediction.requests import Request, Value
from metaseg.prediction.results import rows_of
from metaseg.schema import AS_TRAINED, IMAGES, META, UNKNOWN
from metaseg.store.runs import DamagedRunError, FinishedRun
from metaseg.terminal import Terminal

STEPS = 9
"""Number of values of a continuous column, by default."""

DRAWN = 4
"""Images that are drawn, the first."""


@dataclass(frozen=True)
class Drawn:
    """An image and its masks, for the figure."""

    name: str
    pixels: ImagePixels
    masks: tuple[Pixels, ...]
    """A mask for each value."""
    own: Value
    """The image's own value; None where it isn't known."""
    known: bool
    """True if the image has a value of its own, or is known to have none."""
    reference: Pixels | None


@dataclass(frozen=True)
class Response:
    """The answer to each value."""

    column: str
    values: tuple[Value, ...]
    """None: told that it isn't known."""
    classes: tuple[str, ...]
    table: pd.DataFrame
    """A row for each image, value and class: `told`, `own`, `area_px`, `share`, `f1` where there is a reference, and
    `changed`: the share of pixels that are predicted otherwise than with the first value."""
    drawn: tuple[Drawn, ...]


def choose_values(ensemble: Ensemble, runs: Sequence[FinishedRun], column: str, asked: Sequence[str]) -> list[Value]:
    """Values to vary a column by: those that are asked for; else every category, or the range of the runs' own images.

    A network that can be told that a value isn't known is told so, too.

    Raises:
        ConfigError: the networks don't see the column, or a value isn't a number in a continuous one.
    """
    codes = [code for member in ensemble.members for code in member.predictor.encoder.codes if code.column == column]
    if column not in ensemble.columns or not codes:
        expected = ", ".join(ensemble.columns) or "no run without metadata"
        raise ConfigError(f"vary is {column!r}, which these networks don't see; expected {expected}")
    unknown: list[Value] = [None] if all(code.knows_unknown for code in codes) else []
    if isinstance(codes[0], CategoricalCode):
        known = [code.vocabulary for code in codes if isinstance(code, CategoricalCode)]
        shared = [value for value in known[0] if value != UNKNOWN and all(value in each for each in known)]
        return [None if value == UNKNOWN else value for value in asked] or [*shared, *unknown]
    if asked:
        return [None if value == UNKNOWN else _number(column, value) for value in asked]
    low, high = _range(runs, column)
    return [*_steps(low, high), *unknown]


def _steps(low: float, high: float) -> list[float]:
    """Evenly spaced values from `low` to `high`, with as few digits as tell them apart."""
    steps = np.linspace(low, high, STEPS)
    for digits in range(3, 17):
        rounded = [float(f"{value:.{digits}g}") for value in steps]
        if len(set(rounded)) == len(set(steps)) and low <= rounded[0] and rounded[-1] <= high:
            return list(dict.fromkeys(rounded))
    return list(dict.fromkeys(map(float, steps)))


def _number(column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"values has {text!r}; expected numbers, since {column!r} is continuous") from None


def _range(runs: Sequence[FinishedRun], column: str) -> tuple[float, float]:
    """Smallest and largest value among the images that the runs were tested on."""
    found: list[float] = []
    for run in runs:
        rows = run.table(IMAGES, ["evaluation"], [META + column])
        found += rows[META + column][rows["evaluation"] == AS_TRAINED].dropna().tolist()
    if not found:
        raise DamagedRunError(f"{runs[0].locate(IMAGES)}: has no value of {column!r}")
    return min(found), max(found)


def measure_response(
    requests: Sequence[Request],
    ensemble: Ensemble,
    column: str,
    values: Sequence[Value],
    meaning: MaskValues,
    console: Terminal,
) -> Response:
    """Segment each image once for each value.

    Args:
        requests: the images, with their other metadata; and their own value, if it is known.
        ensemble: the networks.
        column: the column that is varied.
        values: what the networks are told for it.
        meaning: of the references' values.
        console: for progress.

    Raises:
        ManifestError: an image or a reference can't be read.
        UnknownMetadataError: a value that the networks don't know.
    """
    tables: list[pd.DataFrame] = []
    drawn: list[Drawn] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for request in progress.track(requests, description="Segmenting"):
            pixels, reference = read_request(request, ensemble, meaning)
            masks, rows = [], []
            for value in values:
                prediction = ensemble.predict([pixels], [{**request.told, column: value}])[0]
                masks.append(prediction.mask)
                changed = float((prediction.mask != masks[0]).mean())
                rows += [
                    {"told": told_text(value), "changed": changed, **row}
                    for row in rows_of(prediction, ensemble.classes, reference)
                ]
            own = request.told.get(column)
            named = {"image": request.name, "own": told_text(own) if column in request.told else ""}
            tables.append(pd.DataFrame(rows).assign(**named))
            if len(drawn) < DRAWN:
                drawn.append(Drawn(request.name, pixels, tuple(masks), own, column in request.told, reference))
    table = pd.concat(tables, ignore_index=True)
    first = ["image", "told", "own", "class"]
    table = table[[*first, *(name for name in table.columns if name not in first)]]
    return Response(column, tuple(values), ensemble.classes, table, tuple(drawn))


def told_text(value: Value) -> str:
    """A value as tables and figures show it."""
    return UNKNOWN if value is None else value if isinstance(value, str) else format(value, "g")
