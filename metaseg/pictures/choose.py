"""Pictures of a study's trained networks at work, on test images chosen by a rule, never the best ones by hand."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.cli.study_page import Pictures
from metaseg.config import IGNORED
from metaseg.data.dataset import Dataset
from metaseg.data.display import to_display
from metaseg.schema import AS_TRAINED, COUNTS, IMAGES, KEY, UNKNOWN
from metaseg.store.runs import Store
from metaseg.study.plan import PlannedRun, Study
from metaseg.study.predict import Predictor
from metaseg.training.metrics import f1_score

# Modules that draw are imported only when there is something to draw: `--help` of a page doesn't wait for matplotlib.

MOST_ROWS = 4
"""Most subgroups that a picture shows, the first ones by name."""

QUANTILES = (0.25, 0.5, 0.75)
"""Quantiles of the gain at which images are shown if there is only one subgroup."""


def both(*pictures: Pictures) -> Pictures:
    """Combine several pictures into one function that draws all of them."""
    return lambda study, store: {name: png for draw in pictures for name, png in draw(study, store).items()}


def overlays(arms: tuple[str, str], label: str | None = None) -> Pictures:
    """Draw `overlays.png`: the errors of two arms (paper, Figures S1 and 2B).

    From each subgroup it shows the test image with the median gain in F1 from the first arm to the second (means over
    seeds); from a single subgroup, those at the quartiles. The networks are those of seed 0, in the image's fold.

    Args:
        arms: names of the arms; a study without one of them gets no picture.
        label: class to show, if there are several; images without it aren't chosen.
    """

    def draw(study: Study, store: Store) -> Mapping[str, bytes]:
        from metaseg.pictures.draw import OverlayRow, Panel, draw_overlays

        dataset = study.dataset
        number = 1 if label is None else 1 + dataset.classes.index(label)
        scores = [_scores(study, store, arm, dataset.classes[number - 1]) for arm in arms]
        if any(score.empty for score in scores):
            return {}
        rows = []
        for sample in chosen(dataset, (scores[1] - scores[0]).dropna(), number):
            row = dataset.table.iloc[sample]
            panels = []
            for arm in arms:
                predictor = _predictor(study, store, arm, sample)
                predicted = predictor.predict(dataset.image(sample), _metadata(dataset, sample)) == number
                predicted &= dataset.mask(sample) != IGNORED
                counts = _counts(predicted, dataset.mask(sample) == number)
                panels.append(Panel(f"{arm}, F1 {f1_score(counts):.3f}", predicted))
            name = PurePosixPath(row["image"]).stem
            caption = name if row["subgroup"] == "all" else f"{row['subgroup']}\n{name}"
            image = to_display(dataset.image(sample))
            rows.append(OverlayRow(caption, image, dataset.mask(sample) == number, tuple(panels)))
        of = "" if label is None else f" ({label})"
        return {
            "overlays.png": draw_overlays(rows, f"{study.name}: errors of {' and '.join(arms)}{of}", _about(dataset))
        }

    return draw


def probabilities(arms: tuple[str, str], column: str) -> Pictures:
    """Draw `probabilities.png`: probability maps of the first arm, and of the second given each value of `column`
    (paper, Figure S3).

    It shows the test images at the quartiles of the gain in F1 from the first arm to the second. The networks are those
    of seed 0, in the image's fold.

    Args:
        arms: names of the arms; a study without one of them gets no picture.
        column: categorical metadata column.
    """

    def draw(study: Study, store: Store) -> Mapping[str, bytes]:
        from metaseg.pictures.draw import ProbabilityPanel, ProbabilityRow, draw_probabilities

        dataset = study.dataset
        scores = [_scores(study, store, arm, dataset.classes[0]) for arm in arms]
        if any(score.empty for score in scores):
            return {}
        rows = []
        for sample in chosen(dataset, (scores[1] - scores[0]).dropna(), 1):
            row, metadata = dataset.table.iloc[sample], _metadata(dataset, sample)
            first, second = (_predictor(study, store, arm, sample) for arm in arms)
            image = dataset.image(sample)
            panels = [ProbabilityPanel(arms[0], first.probabilities(image, metadata)[0])]
            for code in second.encoder.codes:
                for value in getattr(code, "vocabulary", ()) if code.column == column else ():
                    told = {**metadata, column: value}
                    panels.append(ProbabilityPanel(f"{arms[1]} given {value}", second.probabilities(image, told)[0]))
            name = PurePosixPath(row["image"]).stem
            rows.append(ProbabilityRow(name, to_display(image), dataset.mask(sample) == 1, tuple(panels)))
        title = f"{study.name}: probability of {dataset.classes[0]}"
        return {"probabilities.png": draw_probabilities(rows, title, _about(dataset))}

    return draw


def sweep(arm: str, label: str) -> Pictures:
    """Draw `sweep.png`: one test image, and the arm's masks as the metadata value varies (paper, Figure 2A).

    The image has class `label` and the median of the first continuous metadata column. The network is that of seed 0.

    Args:
        arm: name of the arm; a study without it gets no picture.
        label: class that the image has.
    """

    def draw(study: Study, store: Store) -> Mapping[str, bytes]:
        from metaseg.pictures.draw import draw_sweep

        dataset = study.dataset
        columns = [column.name for column in dataset.metadata if column.kind == "continuous"]
        scores = _scores(study, store, arm, label)
        if scores.empty or not columns:
            return {}
        column, number = columns[0], 1 + dataset.classes.index(label)
        samples = [int(sample) for sample in dataset.tested if (dataset.mask(sample) == number).any()]
        values = dataset.values[column].iloc[samples].dropna().sort_values()
        if values.empty:
            return {}
        sample = int(values.index[len(values) // 2])
        predictor = _predictor(study, store, arm, sample)
        told = _told(store, _run(study, store, arm, sample), column)
        if not told:
            return {}
        image, metadata = dataset.image(sample), _metadata(dataset, sample)
        masks = [predictor.predict(image, {**metadata, column: value}) for value in told]
        picture = draw_sweep(
            to_display(image),
            np.where(dataset.mask(sample) == IGNORED, 0, dataset.mask(sample)),
            told,
            masks,
            dataset.classes,
            column,
            f"{study.name}: {arm} given other values of {column} with the same image",
            _about(dataset),
            float(dataset.values[column].iloc[sample]),
        )
        return {"sweep.png": picture}

    return draw


def _about(dataset: Dataset) -> str:
    return dataset.about or f"Dataset {dataset.name}"


def _metadata(dataset: Dataset, sample: int) -> dict[str, str | float]:
    row = dataset.values.iloc[sample]
    return {column.name: row[column.name] for column in dataset.metadata}


def _counts(predicted: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    cells = (predicted & target, predicted & ~target, ~predicted & target, ~predicted & ~target)
    return np.array([cell.sum() for cell in cells], dtype=np.int64)


def _runs(study: Study, store: Store, arm: str) -> list[PlannedRun]:
    return [run for run in study.runs if run.arm.name == arm and store.is_done(run.run_id)]


def _rows(store: Store, run: PlannedRun) -> pd.DataFrame:
    return store.open_run(run.run_id).table(IMAGES, KEY, COUNTS)


def _scores(study: Study, store: Store, arm: str, label: str) -> pd.Series:
    """Compute F1 of the arm's networks, mean over seeds, by (image, subgroup)."""
    tables = [_rows(store, run) for run in _runs(study, store, arm)]
    if not tables:
        return pd.Series(dtype=float)
    rows = pd.concat(tables)
    rows = rows[(rows["evaluation"] == AS_TRAINED) & (rows["class"] == label)]
    rows["f1"] = f1_score(rows[COUNTS].to_numpy())
    return rows.groupby(["image", "subgroup"])["f1"].mean()


def chosen(dataset: Dataset, gain: pd.Series, number: int) -> list[int]:
    """Choose from each subgroup the sample with the median gain; from a single subgroup, those at `QUANTILES`.

    Args:
        dataset: the decoded samples.
        gain: gain in F1, by (image, subgroup).
        number: mask value of the class; images without it aren't chosen.

    Returns:
        Rows of the dataset's table.
    """
    table = dataset.table.assign(image=dataset.names).reset_index().set_index(["image", "subgroup"])["index"]
    found = gain.rename("gain").to_frame().join(table)
    found = found[[bool((dataset.mask(sample) == number).any()) for sample in found["index"]]]
    of = found.index.get_level_values("subgroup")
    subgroups = sorted(of.unique())[:MOST_ROWS]
    quantiles = QUANTILES if len(subgroups) == 1 else (0.5,)
    rows = []
    for subgroup in subgroups:
        part = found[of == subgroup].sort_values("gain", kind="stable")
        rows += [int(part["index"].iloc[round(quantile * (len(part) - 1))]) for quantile in quantiles]
    return rows


def _run(study: Study, store: Store, arm: str, sample: int) -> PlannedRun:
    """The arm's run of seed 0 that tests a sample: in its fold; for a stratified arm, of its subgroup."""
    fold, subgroup = study.dataset.fold_of(sample), study.dataset.table["subgroup"].iloc[sample]
    runs = (run for run in _runs(study, store, arm) if (run.config.seed, run.config.fold) == (0, fold))
    return next(run for run in runs if run.part in ("", subgroup))


def _predictor(study: Study, store: Store, arm: str, sample: int) -> Predictor:
    """Open the network of `_run`."""
    return Predictor.open(store.open_run(_run(study, store, arm, sample).run_id), study.own_code)


def _told(store: Store, run: PlannedRun, column: str) -> Sequence[float]:
    prefix, names = f"{column}=", _rows(store, run)["evaluation"].unique()
    told = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return sorted(float(value) for value in told if value != UNKNOWN)
