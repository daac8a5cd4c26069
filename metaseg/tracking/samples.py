"""Pictures of validation samples: image, mask and prediction of a finished run, beside each other."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from metaseg.config import IGNORED, Subset
from metaseg.data.dataset import Dataset
from metaseg.data.display import to_display
from metaseg.device import one_thread
from metaseg.networks.block_source import Code
from metaseg.schema import CONFIG
from metaseg.store.names import as_name
from metaseg.store.runs import FinishedRun, from_json
from metaseg.study.predict import Predictor

MOST_SAMPLES = 3
"""Number of samples of a run, evenly spread over its validation samples: the same ones for all runs of a fold."""

MOST_PIXELS = 1024 * 1024
"""Size of the largest image that is predicted: it is done on a CPU of the machine that drives the study."""

SIDE = 320
"""Height in pixels above which a picture is made smaller."""

CLASSES = ((86, 180, 233), (213, 94, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (230, 159, 0))
"""Colours of the Okabe-Ito palette, distinguishable with any colour vision."""

Rgb = npt.NDArray[np.uint8]


def sample_pictures(dataset: Dataset, finished: FinishedRun, blocks: Sequence[Code] = ()) -> dict[str, bytes]:
    """PNG files by the samples' names: image, true mask and predicted mask, from left to right.

    Args:
        dataset: as the run's fold sees it.
        finished: the run.
        blocks: code from outside metaseg that the run's block and network may be.

    Raises:
        Exception: whatever `Predictor.open` and `Predictor.predict` raise.
    """
    chosen = validation_samples(dataset, finished)
    if not chosen:
        return {}
    predictor = Predictor.open(finished, blocks)
    pictures = {}
    with one_thread(torch.device("cpu")):
        for sample in chosen:
            row = dataset.values.iloc[sample]
            told: dict[str, Any] = {column.name: row[column.name] for column in dataset.metadata}
            image, mask = dataset.image(sample), dataset.mask(sample)
            predicted = predictor.predict(image, {} if predictor.metadata_mode == "absent" else told)
            shown = to_display(image)
            parts = [np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown, coloured(mask), coloured(predicted)]
            pictures[_name(dataset, sample)] = _png(np.concatenate(parts, axis=1))
    return pictures


def validation_samples(dataset: Dataset, finished: FinishedRun) -> list[int]:
    """Validation samples to show: evenly spread, of those that aren't too large and that the run's network is for."""
    part = (from_json(finished.read(CONFIG)) or {}).get("subset")
    subset = Subset(part["column"], part["value"], tuple(part["splits"])) if part else None
    rows, table = [int(row) for row in dataset.indices("val", subset)], dataset.table
    rows = [row for row in rows if table["height"].iloc[row] * table["width"].iloc[row] <= MOST_PIXELS]
    places = np.linspace(0, len(rows) - 1, min(MOST_SAMPLES, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def coloured(mask: npt.NDArray[np.uint8]) -> Rgb:
    """A mask `(H, W)` as `(H, W, 3)`: one class white, several in colours, pixels that don't count grey."""
    several = bool(((mask > 1) & (mask != IGNORED)).any())
    palette = np.zeros((256, 3), np.uint8)
    palette[1] = CLASSES[0] if several else (255, 255, 255)
    for number in range(2, 255):
        palette[number] = CLASSES[(number - 1) % len(CLASSES)]
    palette[IGNORED] = (110, 110, 110)
    return palette[mask]


def _png(pixels: Rgb) -> bytes:
    picture = Image.fromarray(pixels)
    if picture.height > SIDE:
        picture = picture.resize((round(picture.width * SIDE / picture.height), SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _name(dataset: Dataset, sample: int) -> str:
    return as_name(str(dataset.names.iloc[sample]).replace("/", "-"))
