"""Sentences of a sweep's report: the question, the best settings as options, and the bias of their score."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.sweeps.trials import SCORE, Sweep, best_trial, choice_label, settings_of
from analysis.wording import listed

NEAR = 0.005
"""Trials whose validation F1 is within this of the best can't be told from it."""

OBJECTIVES = {
    SCORE: "validation F1",
    "parameters": "parameters",
    "flops": "FLOPs an image",
    "seconds_an_image": "seconds an image",
}

CAPTION_IMPORTANCE = (
    "Importance is of this space and these trials: a wider range makes a setting more important, one that is fixed has "
    "none. PED-ANOVA asks what sets the best trials apart, fANOVA what moves scores anywhere in the space, also where "
    "all is bad. A bar that doesn't reach beyond chance says nothing. An adaptive sampler and a pruner look where it "
    "was good before, which both methods only partly allow for; pruned trials count with their best validation so far. "
    "Settings that exist only sometimes have no fANOVA."
)
CAPTION_EXPECTED = (
    "The expected best of n trials (Dodge et al. 2019, EMNLP) is the mean over all subsets of n trials: unbiased for "
    "independent trials (Tang et al. 2020, ACL). Dodge et al. (2021, Findings of EMNLP) found that it varies more, and "
    "leads to more wrong conclusions on which of two is better, than estimators that are too low: so it says what a "
    "longer search is worth, not which arm is better. The one with replacement is in the table beside it. Its interval "
    "is a bootstrap over trials. What the best of many more trials would be these trials don't say, so that beyond a "
    "fifth of their number there is a lower limit only."
)


def expected_caption(trials: pd.DataFrame) -> str:
    """Caption of the expected best, with the scores that trials without one of their own are given."""
    said = []
    if (trials["state"] == "pruned").any():
        said.append("pruned trials with their best validation so far")
    ended = trials[trials["state"] != "running"]
    if (ended["state"] == "failed").any():
        said.append("failed ones with 0")
    if (~ended["feasible"].astype(bool)).any():
        said.append("those that break a constraint with 0")
    counted = listed(said)
    return CAPTION_EXPECTED + (f" {counted[0].upper()}{counted[1:]} are counted." if said else "")


def search_sentences(sweep: Sweep, trials: pd.DataFrame) -> list[str]:
    """Sentences on the question, the data and the search."""
    wanted = listed(
        [f"{'the highest' if each.sign > 0 else 'the lowest'} {objective_name(each.name)}" for each in sweep.objectives]
    )
    kept = f" that keep to {listed(sweep.constraints)}" if sweep.constraints else ""
    return [
        f"Which of {len(sweep.space)} settings{kept} give {wanted} for arm {sweep.arm} on {sweep.dataset}?",
        f"{len(trials)} of {sweep.trials_planned} trials so far; sampler: {sweep.sampler} (seed {sweep.seed}), pruner: "
        f"{sweep.pruner}. All were trained with seed {sweep.tuning_seed} and scored on validation images; test images "
        "weren't touched.",
    ]


def result_sentences(sweep: Sweep, trials: pd.DataFrame) -> list[str]:
    """One sentence on the best trial."""
    best = best_trial(trials)
    complete = int((trials["state"] == "complete").sum())
    if best is None:
        return [f"None of {len(trials)} trials is complete and keeps the constraints: there are no best settings yet."]
    shown = listed([f"{name} {short(value)}" for name, value in settings_of(best, sweep).items()])
    near = trials[(trials["state"] == "complete") & trials["feasible"] & (trials[SCORE] >= best[SCORE] - NEAR)]
    others = len(near) - 1
    alike = "No other is" if others == 0 else f"{others} other{'s are' if others > 1 else ' is'}"
    trials_word = "trial" if complete == 1 else "trials"
    return [
        f"Best of {complete} complete {trials_word}: validation F1 {best[SCORE]:.4f} (trial {best['number']}), with "
        f"{shown}. {alike} within {NEAR:g} of it."
    ]


def belief_sentences(sweep: Sweep, trials: pd.DataFrame) -> list[str]:
    """Sentences on the optimism of the best score, and on the next steps."""
    scored = int((trials[SCORE].notna() & (trials["state"] != "running")).sum())
    words = [
        (
            f"The best score is too high to be expected again: it is the highest of {scored} on the same validation "
            f"images, each the best of its epochs, with one seed ({sweep.tuning_seed}). What is highest owes part of "
            "that to luck, and the more so the more trials there were. It can't be compared with a score on test "
            "images, nor with the best of a sweep of another length."
        )
        if scored > 1
        else "With one scored trial nothing was searched: its score is that of some settings, the best of its epochs.",
        "Next: train with these settings and fresh seeds, and score on the test images: give the options above to a "
        "page of studies/, with --seeds 5.",
        "An ablation is fair where every arm has settings of its own, found at equal budget: --tune-each-arm of a "
        "page does that, trains each arm's best with fresh seeds, and reports as any study.",
    ]
    best = best_trial(trials)
    if best is not None and (edges := at_edges(settings_of(best, sweep), sweep)):
        words.append(
            f"The best value of {listed(edges)} lies at the end of what was searched: better ones may lie beyond. The "
            "same command with a wider space goes on with this sweep."
        )
    return words


def at_edges(settings: Mapping[str, Any], sweep: Sweep) -> list[str]:
    """Names of the numbers that lie in the outer twentieth of their range; whole ones: at its ends."""
    found = []
    for name, value in settings.items():
        kind = sweep.space[name]
        if isinstance(kind, IntDistribution) and kind.low < kind.high:
            at_edge = value in (kind.low, kind.high)
        elif isinstance(kind, FloatDistribution) and kind.low < kind.high:
            if kind.log:
                room = (kind.high / kind.low) ** 0.05
                at_edge = value < kind.low * room or value > kind.high / room
            else:
                room = (kind.high - kind.low) * 0.05
                at_edge = value < kind.low + room or value > kind.high - room
        else:
            continue
        if at_edge:
            found.append(name)
    return found


def options_line(settings: Mapping[str, Any]) -> str:
    """Settings as options of a study's page; numbers are written out, so that they are the very same."""
    parts = []
    for name, value in settings.items():
        if value is None:
            continue
        several = (
            value if isinstance(value, list | tuple) else str(value).split("+") if name == "positions" else [value]
        )
        parts.append(f"--{name.replace('_', '-')} {' '.join(map(str, several))}")
    return " ".join(parts)


def range_of(kind: BaseDistribution) -> str:
    """Search range of a setting, as `0.0001..0.1 (log)` or `a, b`."""
    if isinstance(kind, CategoricalDistribution):
        return ", ".join(map(choice_label, kind.choices))
    assert isinstance(kind, FloatDistribution | IntDistribution)
    return f"{kind.low:g}..{kind.high:g}{' (log)' if kind.log else ''}"


def objective_name(name: str) -> str:
    """Name of an objective in a sentence."""
    return OBJECTIVES.get(name, name)


def short(value: Any) -> str:
    """A setting's value with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else choice_label(value)
