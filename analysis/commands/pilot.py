"""A study as a pilot for others: what its runs tell of scores and of cost."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.commands.options import Plan as Options
from analysis.report.declared import names_of
from analysis.report.study import scored_by
from analysis.results.dataset import read_results, result_studies
from analysis.results.declaration import ResultsError, readable_studies
from analysis.results.merge import collect
from analysis.results.run_costs import run_costs, sample_counts
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import image_scores
from analysis.scores.score_matrix import ScoreMatrix, score_matrices
from analysis.stats.advice import Plan
from analysis.stats.comparisons import leading_class
from analysis.stats.mrmc import Components, Difference, difference
from analysis.stats.planning import Cost
from metaseg.schema import OVERALL
from metaseg.store.storage import Storage


@dataclass(frozen=True)
class Found:
    """Knowledge that a study is planned from, and where it comes from."""

    plan: Plan
    margin: float
    about: tuple[str, ...]
    """Sentences on where it is from."""


def pilot_of(storage: Storage, options: Options, warn: Callable[[str], None]) -> Found:
    """Read a study of a store, or of collected results, as a pilot.

    Args:
        storage: the store.
        options: which study, comparison and score; and numbers to take instead of the pilot's.
        warn: told of records that can't be read.

    Raises:
        ResultsError: several studies or none, an arm that isn't there, fewer than two seeds an arm.
    """
    there = result_studies(storage)
    names = [options.study] if options.study else there or readable_studies(storage, warn)
    if len(names) > 1:
        raise ResultsError(f"{storage.where} has studies {', '.join(names)}; expected one (--study)")
    collected = read_results(storage, names[0]) if there else collect(storage, names[0])
    collected, _ = scored_by(collected, storage, options.metric)
    study, words = collected.study, names_of(collected)
    matrix = _overall(collected)
    found, of = _compared(matrix, collected, options.compare)
    costs = run_costs(storage, collected)
    total, tested = _images(storage, collected, costs, options.images)
    folds = found.folds
    one_split = matrix.size / folds if folds > 1 else matrix.size
    units = None if total is None else matrix.size * total / tested
    about = [
        f"Pilot: study {study.name} on {study.dataset}, {found.arm} against {found.reference}: "
        f"{min(found.seeds)} seeds an arm{f' in {folds} folds' if folds > 1 else ''}, {tested} {words.tested}"
        + (f" that count as {matrix.size:.0f} {words.units}" if round(matrix.size) != tested else "")
        + (f" of {total}." if total and total != tested else "."),
        _seed_range(found),
    ]
    if of > 1:
        about.insert(1, f"Of {of} comparisons it varies most; --compare ARM:REF chooses another.")
    if units is None:
        about.append(f"How many {words.images} there are in all isn't known here; --images N plans folds, too.")
    cost = _cost(costs, 1 / folds if folds > 1 else tested / (total or tested / 0.2), options.minutes)
    plan = Plan(
        _by_arm(found), float(options.tested or one_split), units, options.folds, options.arms or len(study.arms),
        cost, words.units, study.seeds == "crossed",
    )  # fmt: skip
    return Found(plan, options.margin or study.margin, tuple(about))


def _overall(collected: Collected) -> ScoreMatrix:
    study = collected.study
    scores = image_scores(collected.images, study.arms, collected.metric, study.empty, study.folds)
    leading = leading_class(scores["class"].unique(), study.endpoint)
    for name, subgroup, matrix in score_matrices(scores, study.average):
        if (name, subgroup) == (leading, OVERALL) or (name == leading and len(scores["subgroup"].unique()) == 1):
            return matrix
    raise ResultsError(f"study {study.name!r}: no run covers all images; expected finished runs of two arms")


def _compared(matrix: ScoreMatrix, collected: Collected, compare: str | None) -> tuple[Difference, int]:
    """The comparison that is asked for, or the declared one that varies most; and of how many."""
    study = collected.study
    if compare:
        arm, _, reference = compare.partition(":")
        pairs = [(arm, reference)]
        if unknown := [name for name in pairs[0] if name not in matrix.arms]:
            raise ResultsError(f"arm {unknown[0]!r} has no runs; the pilot has {', '.join(matrix.arms)}")
    else:
        declared = [each for each in study.comparisons if {each.arm, each.reference} <= set(matrix.arms)]
        differing = [each for each in declared if each.claim == "differs" and each.reference == study.baseline]
        pairs = [(each.arm, each.reference) for each in differing or declared]
    found = [difference(matrix, *pair, study.seeds) for pair in pairs]
    known = [each for each in found if each.components is not None]
    if not known:
        raise ResultsError(
            f"study {study.name!r}: no comparison has two arms with 2 seeds or more and enough images; expected a "
            "pilot with them, or standard deviations (--seed-sd, --arm-image-sd, --residual-sd)"
        )
    return max(known, key=lambda each: each.se), len(known)


def _by_arm(found: Difference) -> tuple[Components, Components]:
    """The components with each arm's own variance among seeds."""
    parts = found.components
    assert parts is not None
    shares = np.array(found.seed_variances) * found.seeds
    shares = shares / shares.mean() if shares.sum() > 0 else np.ones(2)
    # Of the variances of runs' means, both arms' errors being taken for alike.
    error = parts.error / found.units * found.folds
    seeds = [max(share * (max(parts.seed, 0.0) + error) - error, 0.0) for share in shares.tolist()]
    return (
        Components(seeds[0], parts.unit, parts.arm_unit, parts.error),
        Components(seeds[1], parts.unit, parts.arm_unit, parts.error),
    )


def _seed_range(found: Difference) -> str:
    freedom = found.folds * (sum(found.seeds) - 2)
    low, high = (float(np.sqrt(freedom / stats.chi2.isf(tail, freedom))) for tail in (0.025, 0.975))
    return (
        f"So few seeds tell their standard deviation roughly: the true one may be {low:.1f} to {high:.1f} times what "
        "they show (95 %)."
    )


def _images(storage: Storage, collected: Collected, costs: pd.DataFrame, given: int | None) -> tuple[int | None, int]:
    """Images in all, None where it isn't known; and those that the pilot tested."""
    tested = int(collected.images[["image", "subgroup"]].drop_duplicates().shape[0])
    if given is not None:
        return given, tested
    if "fold" in collected.images and (collected.images["fold"] != "").any():
        return tested, tested
    counts = [sample_counts(storage, fingerprint) for fingerprint in set(costs["fingerprint"]) if fingerprint]
    known = [each for each in counts if each is not None and each[1]]
    return (round(tested * known[0][0] / known[0][1]) if known else None), tested


def _cost(costs: pd.DataFrame, tested: float, minutes: float | None) -> Cost | None:
    """Mean cost of the pilot's runs, each arm counting the same."""
    if minutes is not None:
        return Cost(60 * minutes, tested, device="")
    if costs.empty:
        return None
    spent = (costs["seconds"] * costs["workers"]).groupby(costs["arm"]).mean().mean()
    return Cost(float(spent), tested, device=", ".join(sorted(set(costs["device"]))))
