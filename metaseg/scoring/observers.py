"""Annotators scored against each other: the pixel counts of every mask against the others' masks of its image."""

import io

import numpy as np
import pandas as pd

from metaseg.config import IGNORED, ConfigError
from metaseg.data.dataset import Dataset
from metaseg.schema import COUNTS, OTHER, ROW, observers_file
from metaseg.store.runs import Store


def observer_counts(dataset: Dataset, annotator: str) -> pd.DataFrame:
    """Count the pixels of each tested mask against the masks of the same image by other annotators.

    Args:
        dataset: some images of which have several rows.
        annotator: column that names who drew a mask. Masks by one annotator aren't compared with each other, such as
            those drawn with different tools.

    Returns:
        A row per tested row, other mask and class: `ROW`, as runs name the tested row; `OTHER`, the other mask's
        annotator; and `COUNTS`, as if the other mask were a prediction.

    Raises:
        ConfigError: there is no such column, or no image has masks by two annotators.
    """
    if annotator not in dataset.values:
        raise ConfigError(f"annotator is {annotator!r}; expected one of {', '.join(dataset.values.columns)}")
    who, names, subgroups = dataset.values[annotator].astype(str), dataset.names, dataset.table["subgroup"]
    tested = pd.Series(dataset.tested)
    rows = []
    for _, own in tested.groupby(dataset.table["image"].iloc[tested].to_numpy(), sort=False):
        masks = {row: dataset.mask(row) for row in own}
        for row in own:
            for other in own:
                if who[row] == who[other]:
                    continue
                counted = (masks[row] != IGNORED) & (masks[other] != IGNORED)
                truth, drawn = masks[row][counted], masks[other][counted]
                for number, name in enumerate(dataset.classes, start=1):
                    pairs = np.bincount(2 * (truth == number) + (drawn == number), minlength=4)
                    tn, fp, fn, tp = map(int, pairs)
                    rows.append((names[row], subgroups[row], name, who[other], tp, fp, fn, tn))
    if not rows:
        raise ConfigError(f"no image has masks of two values of {annotator!r}; expected some to compare annotators by")
    return pd.DataFrame(rows, columns=[*ROW, OTHER, *COUNTS])


def write_observers(store: Store, study: str, dataset: Dataset, annotator: str) -> None:
    """Write `observer_counts` of a study's dataset to the store, beside its runs; the report reads them.

    Raises:
        ConfigError: as `observer_counts`.
    """
    buffer = io.BytesIO()
    observer_counts(dataset, annotator).to_parquet(buffer, index=False)
    store.storage.write(observers_file(study), buffer.getvalue())
