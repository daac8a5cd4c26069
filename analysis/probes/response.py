"""Response curves: predictions as a function of a continuous metadata value, with the image held fixed."""

import numpy as np
import pandas as pd

from analysis.probes.controls import RUN_IMAGE, metadata_columns
from analysis.results.declaration import ResultsError
from analysis.scores.metrics import f1
from metaseg.schema import AS_TRAINED, META, UNKNOWN


def response(images: pd.DataFrame, column: str, name: str) -> pd.DataFrame:
    """Each image's predicted area and F1 for each value of a continuous column that its network is told.

    Args:
        images: rows of `analysis.results.store_rows.Collected.images`.
        column: which, without `meta_`; evaluations are "COLUMN=VALUE".
        name: of the class.

    Returns:
        Columns arm, seed, image, subgroup, given and true (values of the column; true may be NaN), area (pixels
        predicted, tp + fp), reference (pixels there are, tp + fn), f1, as_trained (F1 of the same network, told the
        truth). Empty without such evaluations.

    Raises:
        ResultsError: a value isn't a number.
    """
    rows = images[images["class"] == name]
    counts = [rows[count].to_numpy() for count in ("tp", "fp", "fn")]
    rows = rows.assign(f1=f1(*counts), area=rows["tp"] + rows["fp"], reference=rows["tp"] + rows["fn"])
    truth = rows[rows["evaluation"] == AS_TRAINED]
    trained = truth.set_index(RUN_IMAGE)["f1"].rename("as_trained")
    told = rows[rows["evaluation"].str.startswith(f"{column}=") & (rows["evaluation"] != f"{column}={UNKNOWN}")]
    told = told.join(trained, on=RUN_IMAGE, how="inner")
    given = pd.to_numeric(told["evaluation"].str.removeprefix(f"{column}="), errors="coerce")
    if given.isna().any():
        raise ResultsError(f"evaluation {told.loc[given.isna(), 'evaluation'].iloc[0]!r}: expected a number")
    # An image isn't evaluated a second time where the value is its own: the curve would lack it there.
    own = truth[truth["arm"].isin(told["arm"]) & truth[META + column].isin(given)]
    own = own.assign(given=own[META + column].astype(float), as_trained=own["f1"])
    told = pd.concat([told.assign(given=given), own], ignore_index=True)
    told = told.drop_duplicates([*RUN_IMAGE, "given"])
    columns = [*RUN_IMAGE, "given", "true", "area", "reference", "f1", "as_trained"]
    return told.rename(columns={META + column: "true"})[columns].reset_index(drop=True)


def responses(images: pd.DataFrame) -> pd.DataFrame:
    """`response` of all continuous columns and classes that have such evaluations; column and class come first."""
    frames = []
    for column, numeric in metadata_columns(images).items():
        told = images.loc[images["evaluation"].str.startswith(f"{column}="), "evaluation"].unique() if numeric else ()
        if set(told) - {f"{column}={UNKNOWN}"}:
            for name in images["class"].unique():
                rows = response(images, column, name)
                rows.insert(0, "class", name)
                rows.insert(0, "column", column)
                frames.append(rows)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["column", "class"])


def response_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Predicted area, relative to the area there is, and F1, against the value given.

    Args:
        rows: of `responses`.

    Returns:
        Columns column, class, arm, given, n_images, n_seeds, area (mean over images and seeds, pixels), relative (all
        images' predicted area over their reference area, mean over seeds; NaN where no image has the class), sd (of
        relative across seeds; NaN with one), f1 and as_trained (means over images and seeds), sorted by the first four.
    """
    key = ["column", "class", "arm", "given"]
    sums = rows.groupby([*key, "seed"], observed=True)
    seeds = sums[["area", "f1", "as_trained"]].mean()
    totals = sums[["area", "reference"]].sum()
    seeds["relative"] = totals["area"] / totals["reference"].where(totals["reference"] > 0)
    runs = seeds.groupby(key, observed=True)
    curves = rows.groupby(key, observed=True).agg(n_images=("image", "nunique"), n_seeds=("seed", "nunique"))
    means = runs[["area", "relative", "f1", "as_trained"]].mean()
    curves = curves.join(means).assign(sd=runs["relative"].std())
    columns = ["n_images", "n_seeds", "area", "relative", "sd", "f1", "as_trained"]
    return curves[columns].reset_index()


OFFSETS = 9
"""Approximate number of intervals of given minus true value over which changes of F1 are averaged.

One of them is centred on 0."""


def offset_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Change of F1, compared with F1 as trained, when the given value is too small or too large.

    Args:
        rows: of `responses`; images without a true value are left out.

    Returns:
        Columns column, class, arm, offset (mean given minus true value of the interval), n_images, change (of F1, mean
        over seeds of the mean over images) and sd (across seeds; NaN with one), sorted by the first four. A column's
        intervals are of equal width; those without an image have no row.
    """
    rows = rows.assign(offset=rows["given"] - rows["true"], change=rows["f1"] - rows["as_trained"])
    rows = rows.dropna(subset="offset")
    frames = []
    for _, part in rows.groupby("column", observed=True):
        width = (part["offset"].max() - part["offset"].min()) / OFFSETS or 1.0
        frames.append(part.assign(interval=np.rint(part["offset"] / width)))
    if not frames:
        return pd.DataFrame(columns=["column", "class", "arm", "offset", "n_images", "change", "sd"])
    key = ["column", "class", "arm", "interval"]
    binned = pd.concat(frames)
    seeds = binned.groupby([*key, "seed"], observed=True)["change"].mean().groupby(key, observed=True)
    means = binned.groupby(key, observed=True).agg(offset=("offset", "mean"), n_images=("image", "nunique"))
    return means.assign(change=seeds.mean(), sd=seeds.std()).reset_index().drop(columns="interval")
