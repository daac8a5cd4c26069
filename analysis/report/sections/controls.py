"""Networks that are given wrong metadata: the same weights with metadata zeroed, swapped, or varied."""

from dataclasses import replace

import pandas as pd

from analysis.figures.controls import build_response, build_swapped
from analysis.figures.scores import to_drawing
from analysis.probes.controls import WORST, ZEROED, metadata_controls, swapped_matrices
from analysis.probes.response import response_curves, responses
from analysis.report.data import ReportData
from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, picture, to_csv
from analysis.results.declaration import Study


def section(data: ReportData) -> Section | None:
    """The controls that the study evaluated; None where there are none."""
    images, study, figure = data.collected.images, data.study, data.figure
    controls = metadata_controls(images, study.average) if data.counted else pd.DataFrame()
    if controls.empty:
        return None
    grid = controls_grid(controls, "F1 of networks that see metadata, when the metadata are wrong")
    words = controls_caption(controls, study, images["class"].nunique() > 1)
    parts = [Part((grid,), (words,), files={"controls.csv": to_csv(controls)})]
    matrices = swapped_matrices(images)
    if len(matrices):
        title = replace(figure, text=f"{figure.text}, given each value instead of the true one")
        drawing, table = to_drawing(build_swapped(matrices), title), {"swapped.csv": to_csv(matrices)}
        parts.append(picture("swapped", drawing, "F1 by true and given value", (swapped_caption(matrices),), table))
    told = responses(images)
    if len(told):
        title = replace(figure, text=f"{figure.text}, given other values with the image held fixed")
        drawing = to_drawing(build_response(told, study.arms, study.baseline), title)
        table = {"response.csv": to_csv(response_curves(told))}
        parts.append(picture("response", drawing, "Predicted area and F1", (response_caption(told),), table))
    return Section("What if the metadata are wrong?", tuple(parts))


def controls_grid(controls: pd.DataFrame, title: str) -> Grid:
    """A row per arm; F1 as trained and, for each control, F1 and its difference from that, or the swap that it is.

    Args:
        controls: of `metadata_controls`.
        title: of the table.
    """
    kinds = list(dict.fromkeys(zip(controls["control"], controls["column"], strict=True)))
    rows = []
    for arm, own in controls.groupby("arm", sort=False):
        whole = own[own["control"] != WORST].sort_values("n_images", kind="stable", ascending=False).iloc[0]
        cells = [Cell(f"{whole['as_trained']:.3f}")]
        for control, column in kinds:
            found = own[(own["control"] == control) & (own["column"] == column)]
            cells += [_cell(row) for _, row in found.iterrows()] or [Cell("-")]
        rows.append((str(arm), tuple(cells)))
    columns = ("as trained", *(f"{control} {column}".strip() for control, column in kinds))
    return Grid(title, "arm", columns, tuple(rows))


def _cell(row: pd.Series) -> Cell:
    change = f"{row['difference']:+z.3f}"
    if row["control"] == WORST:
        swap = f"{row['true']} as {row['given']}" if row["true"] else f"as {row['given']}"
        return Cell(f"{row['f1']:.3f} ({change})", swap)
    return Cell(f"{row['f1']:.3f}", change)


def controls_caption(controls: pd.DataFrame, study: Study, macro: bool) -> str:
    """Explains the controls that there are, and the numbers."""
    columns = [column for column in dict.fromkeys(controls["column"]) if column]
    kinds = ["zeros: metadata set to zero at test time."] if (controls["control"] == ZEROED).any() else []
    for column in columns:
        kinds.append(f"wrong {column}: given another value than the image's own, the mean over all others.")
        kinds.append(
            f"worst {column}: the pair of true and given value with the lowest F1, on the images with that true value."
        )
    averaged = "" if study.average == "images" else ", by subgroups as in row Average but for the worst swap"
    return (
        f"The same weights, given other metadata at test time. Numbers are mean F1{' (macro)' if macro else ''} over "
        f"images and seeds{averaged}, and the difference from F1 as trained on the same images. {' '.join(kinds)}"
    )


def swapped_caption(matrices: pd.DataFrame) -> str:
    """Names the worst swap of each arm, below the heat map."""
    wrong = matrices[matrices["true"] != matrices["given"]]
    worst = wrong.loc[wrong.groupby(["column", "arm"], sort=False)["f1"].idxmin()]
    listed = [
        f"{arm}, {true} as {given}: {f1:.3f}"
        for arm, true, given, f1 in worst[["arm", "true", "given", "f1"]].itertuples(index=False, name=None)
    ]
    return f"F1 for each pair of true and given value (swapped.csv). Worst swaps: {'; '.join(listed)}."


def response_caption(told: pd.DataFrame) -> str:
    """Explains the curves."""
    columns = ", ".join(told["column"].unique())
    return (
        f"Predictions as a function of the {columns} that is given, with the image held fixed (response.csv). Above: "
        "the predicted area of all images over their true area; thin lines are single images that contain the class. "
        "Below: F1 minus F1 with the true value, against how far the given value is from the true one."
    )
