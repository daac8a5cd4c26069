"""Evaluations of a run on its test images: with the metadata it was trained with, and with other metadata instead."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from metaseg.config import RunConfig
from metaseg.data.dataset import Dataset
from metaseg.data.metadata import CategoricalCode, is_known
from metaseg.schema import AS_TRAINED, COUNTS, META, UNKNOWN, ZEROS
from metaseg.training.evaluate import evaluate
from metaseg.training.fit import Fitted

SWAPPED_UP_TO = 16
"""Most values of a categorical column for which networks are evaluated with each value in place of the true one."""

SWAPPED_QUANTILES = 7
"""Number of values of a continuous column that networks are evaluated with in place of the true one."""


def evaluations(
    config: RunConfig, fitted: Fitted, dataset: Dataset
) -> Iterator[tuple[str, npt.NDArray[np.int64], Tensor]]:
    """Evaluations of the network: a name, `(n,)` test samples, and the metadata `(all samples, M)` that it is given.

    - `as-trained`: metadata as in training.
    - `zeros`, for networks trained with true metadata: all-zero metadata.
    - `COLUMN=VALUE`, for networks trained with true metadata or one head per value: that value instead of the true
      one. Each value of a categorical column is given to the samples that have another; quantiles of a continuous
      column's training values (with folds, of all values) are given to all samples.
    - `unknown`, for networks that can be told so of every column: no column is known.
    - `COLUMN=unknown`, where there are several columns: this one isn't known. Networks that can't be told so get zeros
      for it. Both are given to the samples that have a value.
    """
    samples = dataset.indices("test", config.subset)
    yield AS_TRAINED, samples, fitted.vectors
    if config.metadata_mode not in ("true", "heads"):
        return
    if config.metadata_mode == "true":
        yield ZEROS, samples, torch.zeros_like(fitted.vectors)
    yield from _withheld(fitted, dataset, samples)
    own = ~dataset.is_trained_only  # the others may have values that encoders don't know
    for code in fitted.encoder.codes:
        told: Sequence[str | float]
        if isinstance(code, CategoricalCode):
            told = code.vocabulary if len(code.vocabulary) <= SWAPPED_UP_TO else ()
        else:
            # In all folds the same values, so that each is given to every image of a study.
            known = dataset.indices("train") if dataset.folds is None else np.arange(len(dataset.values))
            known = known[~dataset.is_trained_only[known]]
            values = dataset.values[code.column].iloc[known].dropna()
            quantiles = np.quantile(values, np.linspace(0, 1, SWAPPED_QUANTILES))
            told = sorted({float(f"{value:.3g}") for value in quantiles})
        true = dataset.values[code.column].iloc[samples]
        for value in told:
            if value == UNKNOWN and len(fitted.encoder.codes) > 1:
                continue  # a value of this name is what has been withheld already
            others = samples[(true != value).to_numpy()]
            if len(others):
                vectors = np.zeros(fitted.vectors.shape, np.float32)
                vectors[own] = fitted.encoder.encode(dataset.values[own].assign(**{code.column: value}))
                name = f"{code.column}={value if isinstance(value, str) else format(value, 'g')}"
                yield name, others, torch.from_numpy(vectors)


def _withheld(
    fitted: Fitted, dataset: Dataset, samples: npt.NDArray[np.int64]
) -> Iterator[tuple[str, npt.NDArray[np.int64], Tensor]]:
    """Evaluations in which all metadata, or one of several columns, aren't known."""
    encoder, tested = fitted.encoder, dataset.values.iloc[samples]
    columns = [code.column for code in encoder.codes]
    known = {column: is_known(tested[column]).to_numpy() for column in columns}
    asked = {UNKNOWN: columns} if encoder.knows_unknown else {}
    if len(columns) > 1:
        asked |= {f"{column}={UNKNOWN}": [column] for column in columns}
    for name, of in asked.items():
        told = samples[np.any([known[column] for column in of], axis=0)]
        if len(told):
            vectors = encoder.withhold(fitted.vectors.numpy(force=True), of[0] if len(of) < len(columns) else None)
            yield name, told, torch.from_numpy(vectors)


def evaluate_test_images(config: RunConfig, fitted: Fitted, dataset: Dataset, device: torch.device) -> pd.DataFrame:
    """A table with a row per test image, class and evaluation: counts in pixels, groups and metadata of the image."""
    classes = len(dataset.classes)
    tables = []
    for name, samples, vectors in evaluations(config, fitted, dataset):
        counts = evaluate(fitted.model, dataset, samples, vectors.to(device), device)
        rows_of = samples.repeat(classes)
        rows = dataset.table.iloc[rows_of].reset_index(drop=True)
        table = pd.DataFrame(
            {"image": dataset.names.iloc[rows_of].array, "class": list(dataset.classes) * len(samples)}
        )
        table["evaluation"] = name
        table[["group", "subgroup"]] = rows[["group", "subgroup"]]
        table[COUNTS] = counts.reshape(-1, 4)
        for column in dataset.metadata:
            table[META + column.name] = dataset.values[column.name].iloc[rows_of].array
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
