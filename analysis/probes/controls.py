"""Counterfactual controls: networks that see metadata, given zeros or another value at test time."""

import pandas as pd

from analysis.scores.metrics import f1
from metaseg.schema import AS_TRAINED, META, UNKNOWN, ZEROS, Average

ZEROED, WRONG, WORST = "zeros", "wrong", "worst"
"""Controls: metadata zeroed; the mean over all other values; the swap with the lowest F1."""

RUN_IMAGE = ["arm", "seed", "image", "subgroup"]


def metadata_columns(images: pd.DataFrame) -> dict[str, bool]:
    """Names of the metadata columns, and whether their values are numbers."""
    names = [name for name in images.columns if name.startswith(META)]
    return {name.removeprefix(META): pd.api.types.is_numeric_dtype(images[name]) for name in names}


def macro_scores(images: pd.DataFrame) -> pd.DataFrame:
    """F1 of each image (mean over its classes) in each evaluation.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.

    Returns:
        Columns arm, seed, image, subgroup, group, evaluation, f1 and the true values `meta_COLUMN`.
    """
    counts = [images[column].to_numpy() for column in ("tp", "fp", "fn")]
    known = [name for name in images.columns if name.startswith(META)]
    scores = images[[*RUN_IMAGE, "group", "evaluation", "class", *known]].assign(f1=f1(*counts))
    if scores["class"].nunique() == 1:
        return scores.drop(columns="class")
    grouped = scores.groupby([*RUN_IMAGE, "evaluation"], observed=True, sort=False)
    return grouped.agg({"group": "first", **dict.fromkeys(known, "first"), "f1": "mean"}).reset_index()


def told_otherwise(images: pd.DataFrame) -> pd.DataFrame:
    """Macro F1 of each image with wrong or zeroed metadata, beside that of the same network as trained.

    A value that isn't known is no wrong one, and an image without a value can't be told a wrong one: such rows are left
    out (`analysis.probes.labels` has them).

    Returns:
        The columns of `macro_scores`; column and given (the evaluation's "COLUMN=VALUE"; both empty where metadata
        were zeroed); as_trained (F1).
    """
    otherwise = images.loc[images["evaluation"] != AS_TRAINED, "arm"].unique()
    scores = macro_scores(images[images["arm"].isin(otherwise)])
    scores[["column", "given"]] = scores["evaluation"].str.extract(r"(?s)^([^=]*)=(.*)$").fillna("")
    numeric = metadata_columns(images)
    told = scores[(scores["evaluation"] == ZEROS) | scores["column"].isin(numeric)]
    told = told[(told["given"] != UNKNOWN)]
    for column in (column for column in numeric if not numeric[column]):
        told = told[(told["column"] != column) | (told[META + column].astype(str) != UNKNOWN)]
    trained = scores[scores["evaluation"] == AS_TRAINED].set_index(RUN_IMAGE)["f1"].rename("as_trained")
    return told.join(trained, on=RUN_IMAGE, how="inner").reset_index(drop=True)


def swapped_matrix(images: pd.DataFrame, arm: str, column: str) -> pd.DataFrame:
    """Mean F1 of an arm for each true value of a categorical column and each value that it is told.

    Where the two are equal, F1 is that as trained, of the same images and seeds.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.
        arm: one that has evaluations "COLUMN=VALUE".
        column: which, without `meta_`.

    Returns:
        Columns true, given, n_images, n_seeds, f1 (macro over classes; the mean over seeds of the mean over images) and
        sd (of those means across seeds, NaN with one), sorted by the first two. Empty without such evaluations.
    """
    told = told_otherwise(images[images["arm"] == arm])
    return _matrix(told[told["column"] == column], column)


def _matrix(told: pd.DataFrame, column: str) -> pd.DataFrame:
    told = told.assign(true=told[META + column].astype(str))
    truth = told.drop_duplicates(RUN_IMAGE)
    rows = pd.concat([told, truth.assign(given=truth["true"], f1=truth["as_trained"])])
    pair = ["true", "given"]
    seeds = rows.groupby([*pair, "seed"])["f1"].mean().groupby(pair)
    counts = rows.groupby(pair).agg(n_images=("image", "nunique"), n_seeds=("seed", "nunique"))
    return counts.assign(f1=seeds.mean(), sd=seeds.std()).reset_index()


def swapped_matrices(images: pd.DataFrame) -> pd.DataFrame:
    """`swapped_matrix` of all arms and categorical columns that have such evaluations; arm and column come first."""
    told = told_otherwise(images)
    frames = []
    for column, numeric in metadata_columns(images).items():
        rows = told[told["column"] == column]
        for arm in rows["arm"].unique() if not numeric else ():
            frames.append(_matrix(rows[rows["arm"] == arm], column).assign(arm=str(arm), column=column))
    columns = ["arm", "column", "true", "given", "n_images", "n_seeds", "f1", "sd"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def metadata_controls(images: pd.DataFrame, average: Average = "images") -> pd.DataFrame:
    """F1 of each arm with zeroed or wrong metadata, compared with F1 as trained.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.
        average: what a mean over images is, as in the table of scores; a worst swap's is over its images alone.

    Returns:
        A row per arm and control, columns arm, control (`ZEROED`; for each metadata column `WRONG`: an image's mean
        over all other values, and `WORST`: the swap of the lowest F1), column, true and given (of the worst swap; for a
        continuous column only the value given), n_images, n_seeds, as_trained and f1 (macro over classes, of the same
        images), difference (f1 - as_trained) and sd (of that across seeds, NaN with one).
    """
    told = told_otherwise(images)
    numeric, rows = metadata_columns(images), []
    for arm in told["arm"].unique():
        own = told[told["arm"] == arm]
        for column in ("", *numeric):
            control = own[own["column"] == column]
            if control.empty:
                continue
            where = {"arm": str(arm), "column": column, "true": "", "given": ""}
            rows.append(where | {"control": WRONG if column else ZEROED} | _mean(control, average))
            if column:
                control = control.assign(true="" if numeric[column] else control[META + column].astype(str))
                swaps = control.groupby(["true", "given"])
                means = {pair: _mean(swap, "images") for pair, swap in swaps}
                (true, given), lowest = min(means.items(), key=lambda item: item[1]["f1"])
                rows.append(where | {"control": WORST, "true": true, "given": given} | lowest)
    columns = ["arm", "control", "column", "true", "given", "n_images", "n_seeds"]
    return pd.DataFrame(rows, columns=[*columns, "as_trained", "f1", "difference", "sd"])


def _mean(told: pd.DataFrame, average: Average) -> dict[str, float]:
    """Means over values given, images and seeds, in this order."""
    each = told.groupby(["seed", "subgroup", "image"], observed=True)[["as_trained", "f1"]].mean()
    if average == "subgroups":
        each = each.groupby(["seed", "subgroup"], observed=True).mean()
    seeds = each.groupby("seed").mean()
    change = seeds["f1"] - seeds["as_trained"]
    return {
        "n_images": told["image"].nunique(),
        "n_seeds": len(seeds),
        "as_trained": seeds["as_trained"].mean(),
        "f1": seeds["f1"].mean(),
        "difference": change.mean(),
        "sd": change.std(),
    }
