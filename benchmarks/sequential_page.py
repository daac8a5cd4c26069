"""Page and figure of `benchmarks.sequential`."""

import io

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.null_draws import Floats


def equal_power(runs: pd.DataFrame) -> pd.DataFrame:
    """For each regime and difference: median runs of an arm until decided, beside the fixed design of equal power.

    Its runs are interpolated between fixed designs; NaN where none of them decides as often.
    """
    rows = []
    for (regime, effect), part in runs.groupby(["regime", "effect"], sort=False):
        ours, others = part[part["seeds"].isna()].iloc[0], part[part["seeds"].notna()]
        decided = (others["differs"] + others["equal"]).cummax().to_numpy()
        power, of_runs = float(ours["differs"] + ours["equal"]), others["runs_median"].to_numpy()
        rows.append((regime, effect, power, ours["runs_median"], ours["runs_mean"], _runs_for(power, decided, of_runs)))
    return pd.DataFrame(rows, columns=["regime", "effect", "decided", "median", "mean", "fixed"])


def _runs_for(power: float, decided: Floats, runs: Floats) -> float:
    """Fewest runs, between designs, that decide in `power` %; `decided` ascends."""
    enough = np.flatnonzero(decided >= power)
    if not len(enough):
        return float("nan")
    first = int(enough[0])
    if not first:
        return float(runs[0])
    share = (power - decided[first - 1]) / (decided[first] - decided[first - 1])
    return float(runs[first - 1] + share * (runs[first] - runs[first - 1]))


def _span(shares: pd.Series) -> str:
    return f"{shares.min():.1f} to {shares.max():.1f} %"


def page(errors: pd.DataFrame, runs: pd.DataFrame, null_draws: int, runs_draws: int) -> str:
    """The Markdown page."""
    alike = errors[errors["ahead"] == 0]
    ours, peeking = alike["until_decided"], alike["peeking"]
    null = "\n".join(
        f"| {row['regime']} | {row['looks'].replace(' ', ', ')} | {row['until_decided']:.1f} | {row['peeking']:.1f} | "
        f"{row['last_look']:.1f} |"
        for _, row in errors.iterrows()
    )
    short = "\n".join(
        f"| {row['regime']} | {row['effect']:g} | {row['decided']:.0f} | {row['median']:.0f} | {row['mean']:.1f} | "
        + ("more |" if np.isnan(row["fixed"]) else f"{row['fixed']:.1f} | {row['median'] / row['fixed']:.2f}")
        + " |"
        for _, row in equal_power(runs).iterrows()
    )
    parts = []
    for regime, part in runs.groupby("regime", sort=False):
        lines = "\n".join(
            f"| {row['effect']:g} | {row['design']} | {row['differs']:.1f} | {row['equal']:.1f} | {row['futile']:.1f} "
            f"| {row['undecided']:.1f} | {row['runs_median']:.0f} | {row['runs_mean']:.1f} |"
            for _, row in part.iterrows()
        )
        parts.append(
            f"### {regime.capitalize()}\n\n| difference | design | differs | equal | futile | undecided | runs, median "
            f"| mean |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n{lines}"
        )
    return f"""# Calibration: seeds until decided

## How often are equal arms called different at some look?

In %, at a nominal 5 %; {null_draws} simulated studies a regime (standard error 0.17 at 5 %). *Peeking* is p < 0.05 at
any of the same looks, *last look* the one test at the last. With as many seeds in both arms, as studies have them:
{_span(ours)}; peeking: {_span(peeking)}. Stopping for futility is left out: it only lowers the first column.

| regime | looks (seeds) | until decided | peeking | last look |
| --- | --- | --- | --- | --- |
{null}

75 images on one split, 100 in five folds. Residual SD 0.02; seed SD 0.006 in both arms, 0.001 where seeds hardly vary,
or 0.003 and 0.012 (1:4); arm x image SD 0.03, 0.01 where images vary less, and 0 where seeds vary alone. Where the arm
that varies less has five seeds more, early looks err a little more: studies add seeds to both arms alike.

Folds are drawn independent of each other here. Intervals over folds are widened, because real folds [depend on each
other](fold_trainings.md), so these regimes err much less than 5 % and find less.

## Runs to a verdict

Runs of each arm (with five folds, a seed is five runs), margin 0.01. *Decided*: found to differ or to be equal, in %.
*Fixed*: runs of the fixed number of seeds that decides as often; *share*: of these that the median study takes.
Of {runs_draws} simulated studies.

| regime | difference | decided | runs, median | mean | fixed | share |
| --- | --- | --- | --- | --- | --- | --- |
{short}

![How studies end, and with how many runs](sequential.png)

Most is saved where a difference is well within reach: half of the runs or less. A difference that the first look shows
saves nothing beside a fixed design as small as that look, which nobody knows to choose. Where arms differ by little or
nothing and images vary, most studies end as futile or undecided, with fewer runs than the most; a fixed design spends
all of its runs before it says the same.

{chr(10).join(f"{part}{chr(10)}" for part in parts)}
[False positives](sequential.csv), [runs](sequential_runs.csv). To re-run: `python -m benchmarks.sequential`.
"""


def picture(runs: pd.DataFrame) -> bytes:
    """Share decided against mean runs: a panel a regime, a line a difference, a star for the study until decided."""
    regimes = list(runs["regime"].unique())
    figure = Figure(figsize=(4.2 * len(regimes), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(regimes), sharey=True, squeeze=False)[0]
    colours = ["#777777", "#56b4e9", "#009e73", "#e69f00", "#d55e00"]
    for axis, regime in zip(axes, regimes, strict=True):
        for (effect, part), colour in zip(runs[runs["regime"] == regime].groupby("effect"), colours, strict=False):
            others, ours = part[part["seeds"].notna()], part[part["seeds"].isna()]
            decided = others["differs"] + others["equal"]
            axis.plot(others["runs_mean"], decided, ".-", color=colour, lw=1, label=f"{effect:g}")
            axis.plot(
                ours["runs_mean"], ours["differs"] + ours["equal"], "*", color=colour, ms=13, mec="black", mew=0.5
            )
        axis.set_title(str(regime), fontsize=10)
        axis.set_xlabel("mean runs of an arm")
        axis.set_ylim(-3, 103)
    axes[0].set_ylabel("decided in %")
    axes[-1].legend(title="true difference", fontsize=8, title_fontsize=8)
    figure.suptitle("Stars: until decided. Dots: fixed numbers of seeds.", fontsize=10)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130)
    return content.getvalue()
