"""Pictures of what a study's trained networks do, on test images that a rule chooses: never the best ones by hand."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import pandas as pd

from metaseg.cli.study_page import Pictures
from metaseg.config import IGNORED
from metaseg.data.dataset import Dataset
from metaseg.networks.block_name import own_sources
from metaseg.store.runs import Store
from metaseg.study.plan import PlannedRun, Study
from metaseg.study.predict import Predictor
from metaseg.training.metrics import f1_score

# What draws is imported when there is something to draw: a page's `--help` doesn't wait for matplotlib.

MOST_ROWS = 4
"""Subgroups that a picture shows, the first by name."""

QUANTILES = (0.25, 0.5, 0.75)
"""Of the gain, where there are no subgroups to show an image of each."""


def both(*pictures: Pictures) -> Pictures:
    """All of several pictures."""
    return lambda study, store: {name: png for draw in pictures for name, png in draw(study, store).items()}


def overlays(arms: tuple[str, str], label: str | None = None) -> Pictures:
    """`overlays.png`: what two arms get wrong (paper, Figures S1 and 2B).

    Of each subgroup, the test image whose F1 gains the median from the first arm to the second (means over seeds); of a
    single subgroup, those at the quartiles. The networks are those of seed 0.

    Args:
        arms: names; a study without one of them gets no picture.
        label: class to show where there are several; images without it aren't chosen.
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
                predictor = _predictor(study, store, arm, row["subgroup"])
                predicted = predictor.predict(dataset.image(sample), _metadata(dataset, sample)) == number
                predicted &= dataset.mask(sample) != IGNORED
                counts = _counts(predicted, dataset.mask(sample) == number)
                panels.append(Panel(f"{arm}, F1 {f1_score(counts):.3f}", predicted))
            name = PurePosixPath(row["image"]).stem
            caption = name if row["subgroup"] == "all" else f"{row['subgroup']}\n{name}"
            rows.append(OverlayRow(caption, dataset.image(sample), dataset.mask(sample) == number, tuple(panels)))
        what = "" if label is None else f" ({label})"
        return {
            "overlays.png": draw_overlays(rows, f"{study.name}: what {' and '.join(arms)} miss{what}", _about(dataset))
        }

    return draw


def probabilities(arms: tuple[str, str], column: str) -> Pictures:
    """`probabilities.png`: the first arm's probability map, and the second's told each value of `column` (Figure S3).

    Of test images, those whose F1 gain from the first arm to the second is at the quartiles; networks of seed 0.
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
            first, second = (_predictor(study, store, arm, row["subgroup"]) for arm in arms)
            image = dataset.image(sample)
            panels = [ProbabilityPanel(arms[0], first.probabilities(image, metadata)[0])]
            for code in second.encoder.codes:
                for value in getattr(code, "vocabulary", ()) if code.column == column else ():
                    told = {**metadata, column: value}
                    panels.append(ProbabilityPanel(f"{arms[1]} told {value}", second.probabilities(image, told)[0]))
            name = PurePosixPath(row["image"]).stem
            rows.append(ProbabilityRow(name, image, dataset.mask(sample) == 1, tuple(panels)))
        title = f"{study.name}: probability of {dataset.classes[0]}"
        return {"probabilities.png": draw_probabilities(rows, title, _about(dataset))}

    return draw


def sweep(arm: str, label: str) -> Pictures:
    """`sweep.png`: one test image, and the mask as the arm is told one value after the other (paper, Figure 2A).

    Of the test images with class `label`, the one whose continuous metadata is the median. Network of seed 0.
    """

    def draw(study: Study, store: Store) -> Mapping[str, bytes]:
        from metaseg.pictures.draw import draw_sweep

        dataset = study.dataset
        columns = [column.name for column in dataset.metadata if column.kind == "continuous"]
        scores = _scores(study, store, arm, label)
        if scores.empty or not columns:
            return {}
        column, number = columns[0], 1 + dataset.classes.index(label)
        samples = [int(sample) for sample in dataset.indices("test") if (dataset.mask(sample) == number).any()]
        values = dataset.values[column].iloc[samples].dropna().sort_values()
        if values.empty:
            return {}
        sample = int(values.index[len(values) // 2])
        predictor = _predictor(study, store, arm, "")
        told = _told(store, _runs(study, store, arm)[0], column)
        if not told:
            return {}
        image, metadata = dataset.image(sample), _metadata(dataset, sample)
        masks = [predictor.predict(image, {**metadata, column: value}) for value in told]
        picture = draw_sweep(
            image,
            np.where(dataset.mask(sample) == IGNORED, 0, dataset.mask(sample)),
            told,
            masks,
            dataset.classes,
            column,
            f"{study.name}: {arm} told another {column}, the image held fixed",
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
    text, numbers = ("image", "subgroup", "class", "evaluation"), ("tp", "fp", "fn", "tn")
    return store.open_run(run.run_id).table("images.parquet", text, numbers)


def _scores(study: Study, store: Store, arm: str, label: str) -> pd.Series:
    """F1 of the arm's networks, mean over seeds, by (image, subgroup)."""
    tables = [_rows(store, run) for run in _runs(study, store, arm)]
    if not tables:
        return pd.Series(dtype=float)
    rows = pd.concat(tables)
    rows = rows[(rows["evaluation"] == "as-trained") & (rows["class"] == label)]
    rows["f1"] = f1_score(rows[["tp", "fp", "fn", "tn"]].to_numpy())
    return rows.groupby(["image", "subgroup"])["f1"].mean()


def chosen(dataset: Dataset, gain: pd.Series, number: int) -> list[int]:
    """Of each subgroup, the row of the dataset's table whose gain is the median; of a single one, those at `QUANTILES`.

    Args:
        dataset: the decoded samples.
        gain: by (image, subgroup).
        number: mask value of the class; images without it aren't chosen.
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


def _predictor(study: Study, store: Store, arm: str, subgroup: str) -> Predictor:
    """The arm's network of seed 0; of a stratified arm, the subgroup's."""
    run = next(run for run in _runs(study, store, arm) if run.config.seed == 0 and run.part in ("", subgroup))
    blocks = [source.block for source in own_sources([run.config.block])]
    return Predictor.open(store.open_run(run.run_id), blocks)


def _told(store: Store, run: PlannedRun, column: str) -> Sequence[float]:
    names = _rows(store, run)["evaluation"].unique()
    return sorted(float(name.removeprefix(f"{column}=")) for name in names if name.startswith(f"{column}="))
