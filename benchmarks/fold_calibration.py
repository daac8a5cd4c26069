"""Size of tests of cross-validated arms for new training sets, new images and new seeds.

    python -m benchmarks.fold_calibration      # about two minutes of one core

It reads the scores of networks that were trained on hundreds of simulated data sets (`fold_trainings`), and writes
`docs/results/calibration/fold_trainings{.csv,_components.csv,_drawn.csv,.md,.png}`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import fold_tests as tests
from benchmarks.fold_figures import draw
from benchmarks.fold_page import (
    CORRECTED,
    NAIVE,
    ONE_SEED,
    OURS,
    SPLIT,
    SPLIT_WIDENED,
    WIDENED,
    WILCOXON,
    page,
)
from benchmarks.fold_scores import Runs, load, parted
from benchmarks.fold_tests import Floats, Study, Tested, drawn, parts_of

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
SIZES, FOLDS = (40, 120), 4
"""Images of a data set, and its folds."""
SHARES = (0.25, 0.5)
"""Variances of a training set's effect, as a part of the variance among seeds, that tests are corrected for."""
DRAWS, EFFECT = 20_000, 0.02

Pair = tuple[Runs, Runs]
Ways = Iterator[tuple[Floats, Floats]]
Test = Callable[[Floats, Floats], Tested]


@dataclass(frozen=True)
class Method:
    """A test of two arms that is tried on all data sets."""

    name: str
    runs: int
    """Runs of each arm, and below the images that these are tested on."""
    images: int
    tested: Callable[[Pair], list[Tested]]
    """One for each way of choosing seeds; empty where `p` is no t test."""
    p: Callable[[Pair, float], list[Floats]]
    """Two-sided, of the hypothesis that the difference is some value: `(data sets,)` for each way."""


def t_test(name: str, runs: int, images: int, tested: Callable[[Pair], list[Tested]]) -> Method:
    """A method that is a t test."""
    return Method(name, runs, images, tested, lambda pair, truth: [each.p(truth) for each in tested(pair)])


def _folds(seeds: int) -> Callable[[Pair], Ways]:
    """Scores of both arms in folds, for each choice of so many of an arm's seeds."""

    def ways(pair: Pair) -> Ways:
        for chosen in combinations(range(pair[0].folds.shape[1]), seeds):
            yield pair[0].folds[:, chosen], pair[1].folds[:, chosen]

    return ways


def _split(pair: Pair) -> Ways:
    yield pair[0].split, pair[1].split


def _first_seeds(pair: Pair) -> Ways:
    """The single split with as many seeds as folds have."""
    seeds = pair[0].folds.shape[1]
    yield pair[0].split[:, :seeds], pair[1].split[:, :seeds]


def _each(test: Test, ways: Callable[[Pair], Ways]) -> Callable[[Pair], list[Tested]]:
    return lambda pair: [test(*way) for way in ways(pair)]


def _halves(pair: Pair) -> Floats:
    return pair[0].halves - pair[1].halves


def _ps(ways: Callable[[Pair], Ways]) -> Callable[[Pair, float], list[Floats]]:
    return lambda pair, truth: [tests.wilcoxon(*way, truth) for way in ways(pair)]


def methods(images: int) -> list[Method]:
    """Those of folds, of a single split with as many runs, and of halves, for data sets of so many images."""

    def none(_: Pair) -> list[Tested]:
        return []

    def of_folds(name: str, test: Test, seeds: int = 3) -> Method:
        return t_test(name, FOLDS * seeds, images, _each(test, _folds(seeds)))

    def of_split(name: str, test: Test, ways: Callable[[Pair], Ways] = _split, runs: int = 12) -> Method:
        return t_test(name, runs, images // FOLDS, _each(test, ways))

    found = [
        of_folds(OURS, tests.ours),
        of_folds("folds, ours, two seeds", tests.ours, 2),
        of_folds(ONE_SEED, tests.ours, 1),
        of_split(SPLIT, tests.ours),
        of_split("single split, ours, three seeds", tests.ours, _first_seeds, 3),
        of_folds(NAIVE, tests.naive_t),
        of_folds("naive t over folds, one seed", tests.naive_t, 1),
        of_folds(CORRECTED, tests.nadeau_bengio),
        of_folds("Nadeau-Bengio, one seed", tests.nadeau_bengio, 1),
        Method(WILCOXON, 12, images, none, _ps(_folds(3))),
        Method("Wilcoxon over images, one seed", 4, images, none, _ps(_folds(1))),
        Method("single split, Wilcoxon", 12, images // FOLDS, none, _ps(_split)),
        of_folds(WIDENED, _widened),
        of_split(SPLIT_WIDENED, _widened),
    ]
    for share in SHARES:
        found.append(of_folds(f"folds, ours + {share:g} seed variance", _shared(share)))
    found.append(of_folds("folds, ours + fold excess", _excess))
    found.append(of_folds("folds, ours or naive t", tests.at_least_among_folds))
    if images == SIZES[0]:
        found.append(t_test("5x2cv t", 10, images, lambda pair: [tests.dietterich(_halves(pair))]))
        found.append(Method("5x2cv F", 10, images, none, lambda pair, truth: [tests.alpaydin(_halves(pair), truth)]))
    return found


def _widened(arm: Floats, reference: Floats) -> Tested:
    return tests.widened(arm, reference, 1 / (FOLDS - 1))


def _shared(share: float) -> Test:
    return lambda arm, reference: tests.with_training_sets(parts_of(arm, reference), share)


def _excess(arm: Floats, reference: Floats) -> Tested:
    return tests.with_fold_excess(parts_of(arm, reference))


def comparisons(runs: dict[str, Runs]) -> dict[str, list[Pair]]:
    """Equal arms, and arms that differ, in all ways of parting the seeds of the baseline and its copy."""
    ways = list(parted(runs["baseline"], runs["copy"]))
    return {"equal": ways, "unlike": [(runs["sme"], each) for way in ways for each in way]}


def true_difference(pairs: list[Pair], method: Method) -> float:
    """Mean over all data sets of what a method estimates, from all runs in folds; halves train on fewer images."""
    if method.name.startswith("5x2cv"):
        return float(np.mean([_halves(pair) for pair in pairs]))
    return float(_by_set(pairs).mean())


def _by_set(pairs: list[Pair]) -> Floats:
    """`(data sets,)` difference of the arms, from all runs in folds."""
    return np.asarray(np.mean([(arm.folds - other.folds).mean(axis=(1, 2, 3)) for arm, other in pairs], axis=0))


def rates(pairs: list[Pair], method: Method, equal: bool) -> dict[str, float]:
    """Summarise a method on a comparison: % of data sets with standard errors, interval widths and SDs.

    Args:
        pairs: of arms.
        method: that tests them.
        equal: whether the true difference is known to be 0.
    """
    truth = 0.0 if equal else true_difference(pairs, method)
    missed = np.array([p < 0.05 for pair in pairs for p in method.p(pair, truth)], float).mean(axis=0)
    found = np.array([p < 0.05 for pair in pairs for p in method.p(pair, 0.0)], float).mean(axis=0)
    row = {"missed": 100 * missed.mean(), "missed_se": 100 * _error(missed), "different": 100 * found.mean()}
    row |= {"truth": truth, "truth_se": 0.0 if equal else _error(_by_set(pairs))}
    tried = [each for pair in pairs for each in method.tested(pair)]
    if tried:
        row["sd"] = float(np.mean([each.estimate.std(ddof=1) for each in tried]))
        row["se"] = float(np.sqrt(np.mean([each.se**2 for each in tried])))
        row["half_width"] = float(np.median([each.half_width() for each in tried]))
    return row


def _error(by_set: Floats) -> float:
    """Standard error of a mean over data sets."""
    return float(by_set.std(ddof=1) / np.sqrt(len(by_set)))


def table(runs: dict[int, dict[str, Runs]]) -> pd.DataFrame:
    """A row a size of data sets, comparison and method."""
    rows = []
    for size, arms in runs.items():
        for kind, pairs in comparisons(arms).items():
            for method in methods(size):
                about = {"size": size, "arms": kind, "method": method.name, "runs": method.runs}
                rows.append(about | {"images": method.images} | rates(pairs, method, kind == "equal"))
    return pd.DataFrame(rows)


def components(new: Floats, own: Floats, left: float) -> dict[str, float]:
    """Compute the variance due to training sets, by analysis of variance of networks' means on new images.

    Args:
        new: `(data sets, folds)` means over seeds on images that are new to all.
        own: `(data sets, folds)` the same on the fold's own images.
        left: variance that seeds leave in `new`.

    Returns:
        Variances: `specific` to a fold and `shared` by a data set's folds, on new images; and `own`, the covariance of
        two folds on their own images, which has `shared` in it and what images do by being tested here and trained on
        there. And `correlation`, this covariance as a part of a fold's variance.
    """
    among = float(new.var(axis=1, ddof=1).mean())
    covariance = np.cov(own.T)
    count = len(covariance)
    together = float(covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    return {
        "specific": among - left,
        "shared": float(new.mean(axis=1).var(ddof=1)) - among / count,
        "own": together,
        "correlation": together / float(np.trace(covariance) / count),
    }


def training_sets(runs: dict[str, Runs], resamples: int = 400) -> pd.DataFrame:
    """`components` of arms and of their difference, with standard errors by a bootstrap of data sets.

    Returns:
        A row each: of, seed (variance of one run; of a difference, the sum of both arms'), the components, share
        (specific + shared, as a part of seed), and their standard errors.
    """
    rng = np.random.default_rng(1)
    both = runs["baseline"], runs["copy"]
    new = {"baseline": np.concatenate([each.new for each in both], axis=1), "sme": runs["sme"].new}
    own = {"baseline": np.concatenate([each.folds for each in both], axis=1), "sme": runs["sme"].folds}
    seed = {name: values.var(axis=1, ddof=1).mean(axis=1) for name, values in new.items()}
    on_new = {name: values.mean(axis=1) for name, values in new.items()}
    on_own = {name: values.mean(axis=(1, 3)) for name, values in own.items()}
    left = {name: seed[name] / new[name].shape[1] for name in new}
    for each in (seed, left):
        each["difference"] = each["sme"] + each["baseline"]
    for each in (on_new, on_own):
        each["difference"] = each["sme"] - each["baseline"]

    def all_of(sets: np.ndarray) -> dict[str, dict[str, float]]:
        found = {}
        for name in on_new:
            parts = components(on_new[name][sets], on_own[name][sets], float(left[name][sets].mean()))
            variance = float(seed[name][sets].mean())
            found[name] = {"seed": variance} | parts | {"share": (parts["specific"] + parts["shared"]) / variance}
        return found

    count = len(seed["sme"])
    whole, again = all_of(np.arange(count)), [all_of(rng.integers(count, size=count)) for _ in range(resamples)]
    rows = []
    for name, parts in whole.items():
        errors = {f"{part}_se": float(np.std([each[name][part] for each in again])) for part in parts}
        rows.append({"of": name, **parts, **errors})
    return pd.DataFrame(rows)


def drawn_methods(folds: int) -> dict[str, Test]:
    """Tests that are tried on draws of five folds, or of a single split of which a fifth is tested."""
    found: dict[str, Test] = {"ours": tests.ours, "ours widened": lambda arm, other: tests.widened(arm, other, 1 / 4)}
    found |= {f"ours + {share:g} seed variance": _shared(share) for share in SHARES}
    if folds > 1:
        found |= {"naive t": tests.naive_t, "Nadeau-Bengio": tests.nadeau_bengio}
        found |= {"ours or naive t": tests.at_least_among_folds, "ours + fold excess": _excess}
    return found


def drawn_table(rng: np.random.Generator, draws: int = DRAWS) -> pd.DataFrame:
    """Errors and power by a training set's effect, and by coupling, for 10 runs an arm and 100 images, in %."""
    rows = []
    for training_set_sd, coupling in ((0.0, 0.0), (0.002, 0.0), (0.004, 0.0), (0.006, 0.0), (0.0, 0.5), (0.0, 1.0)):
        for folds, seeds in ((5, 2), (1, 10)):
            study = Study(100, folds, seeds, training_set_sd, coupling=coupling)
            found: dict[str, list[tuple[float, float]]] = {}
            for _ in range(draws // 1000):
                scores = drawn(rng, study, 1000)
                for name, test in drawn_methods(study.folds).items():
                    tested = test(*scores)
                    # Scores are normal: a difference of EFFECT moves the estimate alone.
                    positives = tested.p() < 0.05, tested.p(-EFFECT) < 0.05
                    found.setdefault(name, []).append((float(positives[0].mean()), float(positives[1].mean())))
            about = {"folds": study.folds, "seeds": study.seeds, "training_set_sd": training_set_sd}
            about["coupling"] = coupling
            for name, shares in found.items():
                size, power = 100 * np.mean(shares, axis=0)
                rows.append(about | {"method": name, "false_positives": size, "power": power})
    return pd.DataFrame(rows)


def main() -> None:
    """Test, and write all files."""
    runs = load()
    found, again = table(runs), drawn_table(np.random.default_rng(2026))
    parts = pd.concat([training_sets(arms).assign(size=size) for size, arms in runs.items()], ignore_index=True)
    OUT.mkdir(parents=True, exist_ok=True)
    found.round(6).to_csv(OUT / "fold_trainings.csv", index=False)
    parts.to_csv(OUT / "fold_trainings_components.csv", index=False, float_format="%.4g")
    again.round(4).to_csv(OUT / "fold_trainings_drawn.csv", index=False)
    sets = {size: len(arms["sme"].folds) for size, arms in runs.items()}
    (OUT / "fold_trainings.md").write_text(page(found, parts, again, sets))
    (OUT / "fold_trainings.png").write_bytes(draw(found, again))


if __name__ == "__main__":
    main()
