"""Learning curves: validation F1 and training loss by epoch."""

import hashlib
from collections.abc import Mapping

import pandas as pd
import pyarrow.compute as pc
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.scores import Title
from analysis.figures.style import (
    Line,
    Styles,
    arm_handles,
    foot,
    new_figure,
    plain_log_ticks,
    render,
    shown,
    span,
    styles_of,
    tidy,
)
from analysis.results.declaration import ResultsError, Study
from analysis.results.parquet import read_parquet, require
from analysis.results.store_rows import checksums
from metaseg.store.storage import Storage

READ = {"epoch": "epoch", "train_loss": "train_loss", "val_f1": "val_f1", "learning_rate": "lr"}
"""Columns of a run's `history.parquet`, and what they are called here."""

COLUMNS = ["arm", "seed", "part", "fold", *READ.values()]

LINES: tuple[Line, ...] = ("-", "--", "-.", ":")
"""Arms in turn, to be told apart where they lie on each other."""


def read_history(storage: Storage, study: Study) -> pd.DataFrame:
    """Read the histories of a study's finished runs.

    Returns:
        A row per run and epoch: arm (an ordered category of all the study's arms), seed, part (of an arm of several
        networks; else ""), fold ("" where there is one split), epoch (finished, from 1), train_loss, val_f1 (NaN in
        epochs that weren't validated) and lr.

    Raises:
        ResultsError: no finished run, or a history that is missing, corrupt or malformed; the message names the file.
    """
    done = storage.subfolders_with("runs", "DONE")
    tables = []
    for run in study.runs:
        if run.run_id in done:
            table = _read(storage, f"runs/{run.run_id}/history.parquet", checksums(storage, run).get("history.parquet"))
            tables.append(table.assign(arm=run.arm, seed=run.seed, part=run.part, fold=run.fold))
    if not tables:
        raise ResultsError(f"study {study.name!r} in {storage.where}: none of its {len(study.runs)} runs is finished")
    history = pd.concat(tables, ignore_index=True)[COLUMNS]
    return history.astype({"arm": pd.CategoricalDtype(list(study.arms), ordered=True)})


def _read(storage: Storage, file: str, sha256: str | None) -> pd.DataFrame:
    path = storage.locate(file)
    try:
        content = storage.read(file)
    except OSError as error:
        raise ResultsError(f"{path}: can't be read, though its run is done: {error}") from error
    if sha256 and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ResultsError(f"{path}: corrupt: its SHA-256 is {found}, DONE says {sha256}")
    table = read_parquet(content, path)
    require(table, list(READ), "numbers", path)
    require(table, ["epoch"], "integers", path)
    if not table.num_rows or table["epoch"].null_count or pc.any(pc.less(table["epoch"], 1)).as_py():
        raise ResultsError(f"{path}: no epochs; expected them from 1")
    rows: pd.DataFrame = table.select(list(READ)).to_pandas().rename(columns=READ)
    return rows.astype({"epoch": int, "train_loss": float, "val_f1": float, "lr": float})


def draw_learning(history: pd.DataFrame, title: Title, baseline: str) -> bytes:
    """Draw learning curves of each arm; returns a PNG. See `build_learning`."""
    return render(build_learning(history, baseline), title)


def build_learning(history: pd.DataFrame, baseline: str) -> Figure:
    """Validation F1 above, training loss below: a line per arm is the mean over seeds, its band their range.

    Networks of an arm's parts are averaged first. With folds, each seed counts once in each of them.

    Args:
        history: of `read_history`.
        baseline: colours are as in the other figures.

    Raises:
        ValueError: no rows.
    """
    if history.empty:
        raise ValueError("no history to draw; expected a row per run and epoch")
    arms, styles = shown(history["arm"]), styles_of(history["arm"], baseline)
    lines = {arm: LINES[i % len(LINES)] for i, arm in enumerate(arms)}
    figure = new_figure(5.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    common = _of_all_runs(history)
    scores = learning_curves(common, "val_f1")
    _draw_curves(above, scores, styles, lines)
    lowest, floor = float(scores["low"].min()), _floor(scores)
    if floor > lowest:
        above.set_ylim(bottom=floor)
    _draw_curves(below, learning_curves(common, "train_loss"), styles, lines)
    above.set_ylabel("validation F1", fontsize=9)
    below.set_ylabel("training loss", fontsize=9)
    if (history["train_loss"] > 0).all():
        below.set_yscale("log")
        plain_log_ticks(below.yaxis)
    below.set_xlabel("epoch", fontsize=9)
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    folded = "fold" in history and (history["fold"] != "").any()
    seeds = history.drop_duplicates(_run(history)).groupby("arm", observed=True).size()
    note = f"Lines: means over {'seeds and folds' if folded else 'seeds'} (of each arm: {span(seeds)})."
    if seeds.max() > 1:
        note += " Bands: from the lowest to the highest of them."
    if len(common) < len(history):
        note += " The lines of an arm end where its first run ended."
    if floor > lowest:
        note += f" Validation F1 below {floor:.2f} isn't shown."
    foot(figure, note, arm_handles(arms, styles, lines))
    return figure


def _of_all_runs(history: pd.DataFrame) -> pd.DataFrame:
    """Epochs up to the last that all of an arm's runs have: of later ones, a mean would be that of other runs."""
    last = history.groupby([*_run(history), "part"], observed=True)["epoch"].transform("max")
    return history[history["epoch"] <= last.groupby(history["arm"], observed=True).transform("min")]


def learning_curves(history: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean and range over seeds (and folds) of a column, where it isn't NaN: columns arm, epoch, mean, low, high and
    n_runs."""
    known = history.dropna(subset=[column])
    runs = known.groupby([*_run(history), "epoch"], observed=True)[column].mean()
    curves = runs.groupby(["arm", "epoch"], observed=True).agg(mean="mean", low="min", high="max", n_runs="size")
    return curves.reset_index()


def _run(history: pd.DataFrame) -> list[str]:
    """Columns that tell runs apart; parts of one aren't."""
    return [name for name in ("arm", "seed", "fold") if name in history]


def _floor(scores: pd.DataFrame) -> float:
    """The lowest F1 to be shown: the second half of the epochs is to have a third of the height or more."""
    late = scores[scores["epoch"] >= scores["epoch"].max() / 2]
    top, bottom = float(late["high"].max()), float(late["low"].min())
    return bottom - 2 * max(top - bottom, 0.01)


def _draw_curves(panel: Axes, curves: pd.DataFrame, styles: Styles, lines: Mapping[str, Line]) -> None:
    for arm, line in lines.items():
        own = curves[curves["arm"] == arm]
        colour, marker = styles[arm]
        x, y = own["epoch"].to_numpy(), own["mean"].to_numpy()
        every = max(1, len(x) // 8)
        panel.plot(
            x, y, line, color=colour, marker=marker, markersize=4, markevery=every, linewidth=1.5, zorder=3, label=arm
        )
        panel.fill_between(x, own["low"], own["high"], color=colour, alpha=0.13, linewidth=0, zorder=2)
    tidy(panel)
