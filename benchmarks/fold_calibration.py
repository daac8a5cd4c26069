"""How tests of cross-validated arms keep their size for new training sets, new images and new seeds.

    python -m benchmarks.fold_calibration      # about two minutes of one core

It reads the scores of networks that were trained on hundreds of simulated data sets (`fold_trainings`), and writes
`docs/results/calibration/{folds.csv,folds_drawn.csv,folds.md,folds.png}`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import fold_draws as tests
from benchmarks.fold_draws import Floats, Study, Tested, drawn, parts_of
from benchmarks.fold_scores import Runs, load, parted

OUT = Path(__file__).parents[1] / "docs" / "results" / "calibration"
OURS, ONE_SEED, SPLIT = "folds, ours", "folds, ours, one seed", "single split, ours"
SHARES = (0.25, 0.5, 1.0)
"""Variances of a training set's effect, as a part of the variance among seeds, that tests are corrected for."""
DRAWS, EFFECT = 20_000, 0.02

Pair = tuple[Runs, Runs]
Ways = Iterator[tuple[Floats, Floats]]


@dataclass(frozen=True)
class Method:
    """A test of two arms that is tried on all data sets."""

    name: str
    runs: int
    """Of each arm, and below the images that these are tested on."""
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


def _each(test: Callable[[Floats, Floats], Tested], ways: Callable[[Pair], Ways]) -> Callable[[Pair], list[Tested]]:
    return lambda pair: [test(*way) for way in ways(pair)]


def _halves(pair: Pair) -> Floats:
    return pair[0].halves - pair[1].halves


def _ps(ways: Callable[[Pair], Ways]) -> Callable[[Pair, float], list[Floats]]:
    return lambda pair, truth: [tests.wilcoxon(*way, truth) for way in ways(pair)]


def methods() -> list[Method]:
    """Those of folds, of a single split with as many runs, and of halves."""

    def none(_: Pair) -> list[Tested]:
        return []

    found = [
        t_test(OURS, 12, 40, _each(tests.ours, _folds(3))),
        t_test("folds, ours, two seeds", 8, 40, _each(tests.ours, _folds(2))),
        t_test(ONE_SEED, 4, 40, _each(tests.ours, _folds(1))),
        t_test(SPLIT, 12, 10, _each(tests.ours, _split)),
        t_test("single split, ours, three seeds", 3, 10, _each(tests.ours, _first_seeds)),
        t_test("naive t over folds", 12, 40, _each(tests.naive_t, _folds(3))),
        t_test("naive t over folds, one seed", 4, 40, _each(tests.naive_t, _folds(1))),
        t_test("Nadeau-Bengio", 12, 40, _each(tests.nadeau_bengio, _folds(3))),
        t_test("Nadeau-Bengio, one seed", 4, 40, _each(tests.nadeau_bengio, _folds(1))),
        t_test("5x2cv t", 10, 40, lambda pair: [tests.dietterich(_halves(pair))]),
        Method("5x2cv F", 10, 40, none, lambda pair, truth: [tests.alpaydin(_halves(pair), truth)]),
        Method("Wilcoxon over images", 12, 40, none, _ps(_folds(3))),
        Method("Wilcoxon over images, one seed", 4, 40, none, _ps(_folds(1))),
        Method("single split, Wilcoxon", 12, 10, none, _ps(_split)),
    ]
    for share in SHARES:
        found.append(t_test(f"folds, ours + {share:g} seed variance", 12, 40, _each(_shared(share), _folds(3))))
    found.append(t_test("folds, ours + fold excess", 12, 40, _each(_excess, _folds(3))))
    found.append(t_test("folds, ours or naive t", 12, 40, _each(tests.at_least_among_folds, _folds(3))))
    for share in SHARES:
        found.append(t_test(f"single split, ours + {share:g} seed variance", 12, 10, _each(_shared(share), _split)))
    return found


def _shared(share: float) -> Callable[[Floats, Floats], Tested]:
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
    return float(np.mean([pair[0].folds.mean() - pair[1].folds.mean() for pair in pairs]))


def rates(pairs: list[Pair], method: Method, equal: bool) -> dict[str, float]:
    """What a method makes of a comparison, in % of data sets, with standard errors; interval widths and SDs.

    Args:
        pairs: of arms.
        method: that tests them.
        equal: whether the true difference is known to be 0.
    """
    truth = 0.0 if equal else true_difference(pairs, method)
    missed = np.array([p < 0.05 for pair in pairs for p in method.p(pair, truth)], float).mean(axis=0)
    found = np.array([p < 0.05 for pair in pairs for p in method.p(pair, 0.0)], float).mean(axis=0)
    row = {"missed": 100 * missed.mean(), "missed_se": 100 * _error(missed), "different": 100 * found.mean()}
    tried = [each for pair in pairs for each in method.tested(pair)]
    if tried:
        row["sd"] = float(np.mean([each.estimate.std(ddof=1) for each in tried]))
        row["se"] = float(np.sqrt(np.mean([each.se**2 for each in tried])))
        from_t = [tests.stats.t.ppf(0.975, each.df) * each.se for each in tried]
        row["half_width"] = float(np.median(from_t))
    return row


def _error(by_set: Floats) -> float:
    """Standard error of a mean over data sets."""
    return float(by_set.std(ddof=1) / np.sqrt(len(by_set)))


def table(runs: dict[str, Runs]) -> pd.DataFrame:
    """A row a comparison and method."""
    rows = []
    for kind, pairs in comparisons(runs).items():
        for method in methods():
            about = {"arms": kind, "method": method.name, "runs": method.runs, "images": method.images}
            rows.append(about | rates(pairs, method, kind == "equal"))
    return pd.DataFrame(rows)


def components(new: Floats, own: Floats, left: float) -> dict[str, float]:
    """What training sets do to a score, by analysis of variance of networks' means on new images.

    Args:
        new: `(data sets, folds)` means over seeds on images that are new to all.
        own: `(data sets, folds)` the same on the fold's own images.
        left: variance that seeds leave in `new`.

    Returns:
        Variances: `specific` to a fold and `shared` by a data set's folds, on new images; and `own`, the covariance of
        two folds on their own images, which has `shared` in it and what images do by being tested here and trained on
        there.
    """
    among = float(new.var(axis=1, ddof=1).mean())
    covariance = np.cov(own.T)
    count = len(covariance)
    return {
        "specific": among - left,
        "shared": float(new.mean(axis=1).var(ddof=1)) - among / count,
        "own": float(covariance.sum() - np.trace(covariance)) / (count * (count - 1)),
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
        rows.append({"of": name} | parts | errors)
    return pd.DataFrame(rows)


def drawn_methods() -> dict[str, Callable[[Floats, Floats], Tested]]:
    """Tests over folds that are tried on draws."""
    found: dict[str, Callable[[Floats, Floats], Tested]] = {"ours": tests.ours, "naive t": tests.naive_t}
    found |= {"Nadeau-Bengio": tests.nadeau_bengio, "ours or naive t": tests.at_least_among_folds}
    found |= {"ours + fold excess": _excess}
    return found | {f"ours + {share:g} seed variance": _shared(share) for share in SHARES}


def drawn_table(rng: np.random.Generator, draws: int = DRAWS) -> pd.DataFrame:
    """Errors and power by the SD of a training set's effect, for 10 runs an arm and 100 images, in %."""
    rows = []
    for training_set_sd in (0.0, 0.002, 0.004, 0.006):
        folds = Study(100, 5, 2, training_set_sd)
        for study in (folds, replace(folds, folds=1, seeds=10)):
            found: dict[str, list[list[float]]] = {}
            for _ in range(draws // 1000):
                scores = drawn(rng, study, 1000)
                for name, test in drawn_methods().items():
                    if study.folds == 1 and ("seed variance" not in name and name != "ours"):
                        continue
                    tested = test(*scores)
                    shifted = tested.p(-EFFECT)  # scores are normal: a difference of EFFECT moves the estimate alone
                    share = [float((tested.p() < 0.05).mean()), float((shifted < 0.05).mean())]
                    found.setdefault(name, []).append(share)
            about = {"folds": study.folds, "seeds": study.seeds, "training_set_sd": training_set_sd}
            for name, shares in found.items():
                size, power = 100 * np.mean(shares, axis=0)
                rows.append(about | {"method": name, "false_positives": size, "power": power})
    return pd.DataFrame(rows)


def main() -> None:
    """Test, and write all files."""
    from benchmarks.fold_page import page  # noqa: PLC0415
    from benchmarks.fold_figures import draw

    runs = load()
    found, parts, again = table(runs), training_sets(runs), drawn_table(np.random.default_rng(2026))
    OUT.mkdir(parents=True, exist_ok=True)
    found.round(6).to_csv(OUT / "folds.csv", index=False)
    again.round(4).to_csv(OUT / "folds_drawn.csv", index=False)
    (OUT / "folds.md").write_text(page(found, parts, again, runs))
    (OUT / "folds.png").write_bytes(draw(found, parts))


if __name__ == "__main__":
    main()
