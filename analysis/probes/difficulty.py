"""How much metadata alone tells about how hard an image is: the baseline's F1, explained without any network."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from analysis.probes.controls import macro_scores, metadata_columns
from metaseg.schema import AS_TRAINED, META

PERMUTATIONS = 9999
CHUNK = 2_000_000
"""Numbers that are permuted at a time: what bounds the memory."""

COLUMNS = ["column", "kind", "n_images", "n_units", "n_values", "explained", "corrected", "correlation", "p"]

Floats = npt.NDArray[np.float64]


def anova(values: Floats, labels: npt.NDArray[np.int64], generator: np.random.Generator) -> tuple[float, float, float]:
    """One-way analysis of variance, with a permutation test.

    Args:
        values: shape (units,).
        labels: the level of each, 0 to k - 1, each of which occurs; shape (units,).
        generator: of the permutations.

    Returns:
        eta² = SSB / SST; epsilon² = (SSB - (k - 1) MSW) / SST, which is 0 in the mean where levels don't matter; p of
        eta² among `PERMUTATIONS` permutations of the labels, (1 + as large) / (1 + all). NaN, NaN and 1 where all
        values are equal; epsilon² is NaN where each unit is a level.
    """
    levels = np.eye(labels.max() + 1)[labels]
    sizes = levels.sum(axis=0)
    centred = values - values.mean()
    total = float(centred @ centred)
    if total <= 1e-12 * len(values):
        return np.nan, np.nan, 1.0

    def between(permuted: Floats) -> Floats:
        return np.asarray(((permuted @ levels) ** 2 / sizes).sum(axis=-1))

    observed = float(between(centred))
    freedom = len(values) - len(sizes)
    error = (total - observed) / freedom if freedom else np.nan
    p = _p(observed, (between(rows) for rows in _permutations(centred, generator)))
    return observed / total, (observed - (len(sizes) - 1) * error) / total, p


def spearman(x: Floats, y: Floats, generator: np.random.Generator) -> tuple[float, float]:
    """Spearman's correlation and the permutation p of its square, as in `anova`; NaN and 1 where x or y is constant."""
    ranks = [stats.rankdata(values) - (len(values) + 1) / 2 for values in (x, y)]
    sizes = [float(np.sqrt(values @ values)) for values in ranks]
    if not all(sizes):
        return np.nan, 1.0
    x, y = (values / size for values, size in zip(ranks, sizes, strict=True))
    correlation = float(x @ y)
    return correlation, _p(correlation**2, ((rows @ x) ** 2 for rows in _permutations(y, generator)))


def _permutations(values: Floats, generator: np.random.Generator) -> Iterator[Floats]:
    """`PERMUTATIONS` rows in chunks."""
    each = max(CHUNK // len(values), 1)
    for start in range(0, PERMUTATIONS, each):
        rows = np.tile(values, (min(each, PERMUTATIONS - start), 1))
        yield generator.permuted(rows, axis=1)


def _p(observed: float, permuted: Iterable[Floats]) -> float:
    # Sums in another order differ in the last digits: what is as large up to them counts as as large.
    as_large = sum(int((values >= observed * (1 - 1e-9)).sum()) for values in permuted)
    return (1 + as_large) / (1 + PERMUTATIONS)


def difficulty(images: pd.DataFrame, baseline: str, generator: np.random.Generator) -> pd.DataFrame:
    """How much of the variance of the baseline's F1 each metadata column explains by itself.

    The baseline sees no metadata: where its F1 differs by a column's values, the column tells how hard images are. F1
    is the macro over classes and the mean over seeds. The units are groups: images are averaged within group and value
    first (for a continuous column, values are, too). Images without a value are left out.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.
        baseline: the arm.
        generator: of the permutations.

    Returns:
        A row per metadata column, with kind (categorical or continuous), n_images, n_units, n_values, explained (eta²,
        or Spearman's correlation squared), corrected (epsilon²; NaN for a continuous column), correlation (Spearman's;
        NaN for a categorical column) and p. No row for a column that has one value, or of which each unit has its own.
    """
    scores = macro_scores(images[(images["arm"] == baseline) & (images["evaluation"] == AS_TRAINED)])
    rows = []
    for column, numeric in metadata_columns(images).items():
        name = META + column
        known = scores.dropna(subset=name)
        key = ["group"] if numeric else ["group", name]
        units = known.groupby(key, observed=True)[["f1", *([name] if numeric else [])]].mean().reset_index()
        values = units[name].nunique()
        if values < 2 or (not numeric and values == len(units)):
            continue
        row = {"column": column, "n_images": known["image"].nunique(), "n_units": len(units), "n_values": values}
        if numeric:
            correlation, p = spearman(units[name].to_numpy(float), units["f1"].to_numpy(), generator)
            row |= {"kind": "continuous", "explained": correlation**2, "correlation": correlation, "p": p}
        else:
            labels = np.unique(units[name].astype(str), return_inverse=True)[1]
            explained, corrected, p = anova(units["f1"].to_numpy(), labels, generator)
            row |= {"kind": "categorical", "explained": explained, "corrected": corrected, "p": p}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)
