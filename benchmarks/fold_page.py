"""Markdown page of `fold_calibration.py`."""

import re
import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd

TRAINED_FOR = "90 steps"
OURS, ONE_SEED, SPLIT = "folds, ours", "folds, ours, one seed", "single split, ours"
NAIVE, WILCOXON = "naive t over folds", "Wilcoxon over images"
CORRECTED, WIDENED, SPLIT_WIDENED = "Nadeau-Bengio", "folds, ours widened", "single split, ours widened"


def page(found: pd.DataFrame, parts: pd.DataFrame, again: pd.DataFrame, sets: Mapping[int, int]) -> str:
    """The page.

    Args:
        found: of `fold_calibration.table`.
        parts: of `fold_calibration.training_sets`, with the size of data sets.
        again: of `fold_calibration.drawn_table`.
        sets: number of data sets by their size.
    """
    small, large = sorted(sets)
    trained = sum(sets.values())

    def rate(size: int, arms: str, method: str) -> str:
        row = found[(found["size"] == size) & (found["arms"] == arms) & (found["method"] == method)].iloc[0]
        return f"{row['missed']:.0f} % (standard error {row['missed_se']:.1f})"

    def of(size: int, arms: str, method: str, column: str) -> float:
        rows = found[(found["size"] == size) & (found["arms"] == arms) & (found["method"] == method)]
        return float(rows[column].iloc[0])

    def component(size: int, what: str, column: str) -> float:
        return float(parts.loc[(parts["size"] == size) & (parts["of"] == what), column].iloc[0])

    def coupled(folds: int, method: str) -> float:
        rows = again[(again["folds"] == folds) & (again["method"] == method) & (again["coupling"] == 1)]
        return float(rows["power"].iloc[0])

    plain = again[(again["folds"] == 5) & (again["method"] == "ours")]
    independent = float(plain.loc[(plain["coupling"] == 0) & (plain["training_set_sd"] == 0), "power"].iloc[0])
    sizes = "\n\n".join(
        f"### {size} images, {sets[size]} data sets\n\n{_rates(found, size)}" for size in (small, large)
    )
    return _filled(f"""# Calibration: cross-validated arms, by trained networks

Would the result hold for **a new data set**: other training images, other test images, other seeds? Simulated scores
can't tell, because somebody has to say how they depend on the training set. So small U-Nets were trained on {trained}
simulated data sets, each drawn anew: {sets[small]} of {small} images and {sets[large]} of {large}. Each has images of
bright blobs of two lines, and the line decides how far out the annotator draws the border. Arms are two equal copies of
the baseline (`se`, no metadata) and `sme`, which is told the line. Each arm was trained in 4 folds with 3 seeds, and
with 12 seeds on the first fold's split: the same number of runs.

## In short

- **Equal arms are called different as often as they should be**: {rate(small, "equal", OURS)} at {small} images and
  {rate(large, "equal", OURS)} at {large} by our test over folds, at a nominal 5 %.
- **Intervals for the difference of arms that aren't alike are too short.** Ours over folds miss the true difference in
  {rate(small, "unlike", OURS)} of data sets of {small} images and {rate(large, "unlike", OURS)} of those of {large}; on
  a single split with as many runs, in {rate(small, "unlike", SPLIT)} and {rate(large, "unlike", SPLIT)}; the naive t
  test over folds in {rate(small, "unlike", NAIVE)} and {rate(large, "unlike", NAIVE)}; Wilcoxon's test over images in
  {rate(small, "unlike", WILCOXON)} and {rate(large, "unlike", WILCOXON)}.
- **Folds depend on each other.** An image that is tested in one fold trains the networks of the others, and what is
  peculiar to a data set is in its test images and in its training images. The differences of arms in two folds of one
  data set correlate by {component(small, "difference", "correlation"):.2f} (standard error
  {component(small, "difference", "correlation_se"):.2f}) at {small} images and
  {component(large, "difference", "correlation"):.2f} ({component(large, "difference", "correlation_se"):.2f}) at
  {large}. So testing every image gains less than the number of images says: from data set to data set, the
  difference varies with an SD of {of(small, "unlike", OURS, "sd"):.4f} at {small} images and
  {of(large, "unlike", OURS, "sd"):.4f} at {large}, where our test takes it for
  {of(small, "unlike", OURS, "se"):.4f} and {of(large, "unlike", OURS, "se"):.4f}. As many runs on one of these splits
  would vary with {_split_sd(parts, small):.4f} and {_split_sd(parts, large):.4f}.
- **The training set's own effect is small.** On images that are new to all, the arms' difference varies between data
  sets beyond seeds with an SD of {_sd(component(small, "difference", "shared"))} at {small} images, where one seed's
  is {_sd(component(small, "difference", "seed"))}: arms that are trained on the same images share most of what these
  do to them.
- **What holds better**: our interval widened by Nadeau and Bengio's factor, 1 + K / (K - 1) times the variance for K
  folds. It misses {rate(small, "unlike", WIDENED)} and {rate(large, "unlike", WIDENED)}, and finds a difference in
  {of(small, "unlike", WIDENED, "different"):.0f} and {of(large, "unlike", WIDENED, "different"):.0f} % of data sets;
  Nadeau and Bengio's own test misses {rate(small, "unlike", CORRECTED)} and {rate(large, "unlike", CORRECTED)}, and
  finds one in {of(small, "unlike", CORRECTED, "different"):.0f} and
  {of(large, "unlike", CORRECTED, "different"):.0f} %.
- **Folds still pay**, less than it seems. For 10 runs an arm and 100 images, folds with the widened interval find a
  difference of 0.02 in {coupled(5, "ours widened"):.0f} % of drawn studies whose folds depend on each other as much as
  here, and a single split in {coupled(1, "ours"):.0f} % ({coupled(1, "ours widened"):.0f} % widened). Taken for
  independent, folds seem to find it in {independent:.0f} %.

![Errors of tests](fold_trainings.png)

## What can be claimed

- The plain test over folds keeps its size where the arms are the same in all but name. Where arms are unlike but equal
  on average, its small p isn't safe, either: tested against the true difference, it calls
  {of(small, "unlike", OURS, "missed"):.0f} and {of(large, "unlike", OURS, "missed"):.0f} % of data sets different from
  it, at a nominal 5 %. It takes folds for independent, so its interval is too short and its p too small.
- Reports therefore use the widened interval, and the p that belongs to it (`analysis.stats.mrmc.difference`).
- **"For new data sets like this one, too"** is a claim for the widened interval alone. On these data sets its
  standard error is about right on average ({of(small, "unlike", WIDENED, "se"):.4f}
  and {of(large, "unlike", WIDENED, "se"):.4f}, where
  the difference varies with {of(small, "unlike", OURS, "sd"):.4f} and {of(large, "unlike", OURS, "sd"):.4f}), but it
  still misses {of(small, "unlike", WIDENED, "missed"):.0f} and {of(large, "unlike", WIDENED, "missed"):.0f} %. Where
  arms are alike, it misses next to nothing: there it is conservative. That is a rule, not an estimate: no test
  over the folds of one data set can tell how much folds depend on each other (Bengio & Grandvalet 2004, J Mach Learn
  Res 5:1089; Bates,
  Hastie & Tibshirani 2024, J Am Stat Assoc 119:1434).
- No interval covers images that aren't like these: another hospital, another cell line. Folds of groups ask that.

## Errors of the tests

`missed`: intervals that don't cover the true difference, in % of data sets, at a nominal 5 %. For equal copies that is
how often they are called different. For unlike arms, the true difference is the mean over all data sets
({_truth(found, small)} at {small} images, {_truth(found, large)} at {large}), so that
a test that keeps its size misses 5 %, whatever training sets do to the arms. `called different`: from 0, for unlike
arms; it is worth something only where 5 % are missed. `SD` is how much the estimated difference of unlike arms varies
from data set to data set, `SE` what the method thinks it is. Seeds of both copies were parted into arms in all 10 ways,
and results averaged.

{sizes}

- **naive t over folds**: t test of the folds' differences. **Nadeau-Bengio**: the same with 1 / K + 1 / (K - 1) in
  place of 1 / K. **5x2cv**: Dietterich's t and Alpaydin's F on five splits in halves, which train on half of the
  images and have a true difference of their own. **Wilcoxon**: signed-rank test of images, averaged over seeds.
- **widened**: our variance times 1 + J n_test / n_train, J tests on n_test images: 1 + K / (K - 1) for K folds.
- **+ c seed variance**: c times the variance among an arm's seeds is added for the training set, the part
  (K-2) / (K-1) of it whole, the rest over folds. **+ fold excess**: the same, estimated from how folds
  differ beyond seeds and images. **or naive t**: whichever standard error is larger.

## What training sets do

Standard deviations of an arm's F1, or of the difference of arms. *Seed*: among networks that differ by the seed alone
(of a difference: of one run each). *Training set*: of networks' mean on images that are new to all, beyond seeds: the
part that the folds of a data set share, and the part in which they differ. *Folds together*: root of the covariance of
two folds' means on their own images; 0 if folds are independent, and the shared part if only training sets matter.

{_components(parts)}

The variance due to training sets is, for the difference, {component(small, "difference", "share"):.2f} (standard error
{component(small, "difference", "share_se"):.2f}) times that of seeds at {small} images; it is
{component(small, "baseline", "share"):.2f} and {component(small, "sme", "share"):.2f} times for the arms by themselves.

## Draws: if training sets had an effect of their own, or folds were coupled

100 images, 10 runs an arm (5 folds with 2 seeds, or 10 seeds on a single split of 20 test images), seed SD 0.006,
arm x image SD 0.03, residual SD 0.02. Each arm's training-set effect has the given SD, independent of the other's;
three quarters of its variance are shared by folds. In the last two columns there is none, but an image moves the
difference of arms by training, too: by so many times what it does by being tested. Coupling 1 is like
the networks above, on which our test errs in {of(small, "unlike", OURS, "missed"):.0f} and
{of(large, "unlike", OURS, "missed"):.0f} %, and the widened one in {of(small, "unlike", WIDENED, "missed"):.0f} and
{of(large, "unlike", WIDENED, "missed"):.0f} %. False positives, and power at a difference of 0.02, in %.

{_drawn(again)}

## Limits

One kind of images, tiny networks, trained for {TRAINED_FOR}. How much folds depend on each other is a property of the
data and of the arms, and may be another with larger networks and more images. Standard errors of rates are among data
sets: a few per cent with a hundred of them.

[All numbers](fold_trainings.csv), [components](fold_trainings_components.csv), [draws](fold_trainings_drawn.csv). To
re-run the tests:
`python -m benchmarks.fold_calibration`; the trainings: `python -m benchmarks.fold_trainings` (an hour of one core).
""")


def _filled(text: str) -> str:
    """The text with its paragraphs and list items filled to 120 columns; tables stay."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith(("#", "|", "!")):
            blocks.append(block)
            continue
        items = [" ".join(item.split()) for item in re.split(r"\n(?=- )", block.strip())]
        indents = ["  " if item.startswith("- ") else "" for item in items]
        filled = (
            textwrap.fill(item, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
            for item, indent in zip(items, indents, strict=True)
        )
        blocks.append("\n".join(filled))
    return "\n\n".join(blocks).rstrip() + "\n"


def _split_sd(parts: pd.DataFrame, size: int) -> float:
    """SD among data sets of the difference on one split with 12 runs an arm, from all folds.

    A fold's mean of 3 runs of `sme` and 6 of the baseline varies by seeds more than that of 12 and 12.
    """
    here = parts[parts["size"] == size].set_index("of")
    seed = {name: float(here["seed"][name]) for name in ("sme", "baseline")}
    fold = float(here["own"]["difference"] / here["correlation"]["difference"])
    return float(np.sqrt(fold - seed["sme"] * (1 / 3 - 1 / 12) - seed["baseline"] * (1 / 6 - 1 / 12)))


def _sd(variance: float) -> str:
    return f"{np.sqrt(variance):.4f}" if variance > 0 else "0"


def _truth(found: pd.DataFrame, size: int) -> str:
    row = found[(found["size"] == size) & (found["arms"] == "unlike") & (found["method"] == OURS)].iloc[0]
    return f"{row['truth']:.4f}, standard error {row['truth_se']:.4f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def _rates(found: pd.DataFrame, size: int) -> str:
    here = found[found["size"] == size]
    equal, unlike = (here[here["arms"] == kind].set_index("method") for kind in ("equal", "unlike"))
    rows = []
    for name, row in unlike.iterrows():
        rows.append([
            str(name), f"{row['runs']:.0f}", f"{row['images']:.0f}",
            f"{equal.loc[name, 'missed']:.1f} ± {equal.loc[name, 'missed_se']:.1f}",
            f"{row['missed']:.1f} ± {row['missed_se']:.1f}", f"{row['different']:.0f}",
            *("" if np.isnan(row[part]) else f"{row[part]:.4f}" for part in ("sd", "se", "half_width")),
        ])  # fmt: skip
    head = ["method", "runs an arm", "images tested", "missed, equal arms", "missed, unlike arms", "called different"]
    return _table([*head, "SD", "SE", "half of the interval"], rows)


def _components(parts: pd.DataFrame) -> str:
    rows = []
    for _, row in parts.iterrows():
        own = f"{_sd(row['own'])} (variance {row['own']:.1e} ± {row['own_se']:.0e})"
        rows.append([
            f"{row['size']:.0f}", str(row["of"]), _sd(row["seed"]), _sd(row["shared"]), _sd(row["specific"]), own,
        ])  # fmt: skip
    return _table(["images", "of", "seed", "training set, shared", "training set, of a fold", "folds together"], rows)


def _drawn(again: pd.DataFrame) -> str:
    rows, heads = [], []
    for (folds, method), own in again.groupby(["folds", "method"], sort=False):
        heads = [f"coupling {c:g}" if c else f"SD {sd:g}" for c, sd in own[["coupling", "training_set_sd"]].to_numpy()]
        cells = [f"{size:.1f} / {power:.0f}" for size, power in own[["false_positives", "power"]].to_numpy()]
        rows.append(["5 folds" if folds > 1 else "single split", str(method), *cells])
    return _table(["design", "method", *heads], rows)
