"""Hyperparameter importance: the effect of each searched setting on the validation score, from a sweep's trials."""

import math
import warnings
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from analysis.stats.multiple_testing import Floats
from analysis.sweeps.expected_best import trial_scores
from analysis.sweeps.trials import SCORE, Objective, Sweep, memory_study, to_optuna

FEWEST_TRIALS = 10
"""Fewest trials for which importance is computed."""

TREES = 32
"""Trees of fANOVA's random forest."""

FEWEST_BEST = 5
"""Fewest trials that count as the best, as PED-ANOVA's authors advise."""


def importance(
    trials: pd.DataFrame, sweep: Sweep, generator: np.random.Generator, permutations: int = 100
) -> pd.DataFrame:
    """Importance of the settings for the validation score, highest first.

    PED-ANOVA (Watanabe et al. 2023, IJCAI) asks how differently a setting is distributed among the best tenth of
    trials (five at least) and among all. A setting of no importance gets some, too, by chance: `chance` is the 95th
    percentile of its importance when scores are exchanged among trials at random.

    fANOVA (Hutter et al. 2014, ICML) is the part of the variance over the whole space that a random forest ascribes
    to a setting alone, scaled to sum to 1, over logarithms of logarithmic settings; only where scikit-learn is there.

    A pruned trial counts with its best validation so far, else what made trials bad would be hidden.

    Args:
        trials: of `analysis.sweeps.trials.read_trials`.
        sweep: whose they are.
        generator: of the exchanged scores.
        permutations: how often they are exchanged.

    Returns:
        A row a setting: setting, ped_anova (sums to 1), chance (on its scale), fanova (NaN where it has none: settings
        that don't exist in all trials), trials (that have the setting). Empty with fewer than `FEWEST_TRIALS`.
    """
    scored = trials[trials["state"].isin(["complete", "pruned"]) & trials[SCORE].notna()]
    scored = scored.assign(state="complete", **{SCORE: trial_scores(scored)})
    study = to_optuna(scored, replace(sweep, objectives=(Objective(SCORE, "maximize"),)))
    found = study.get_trials(deepcopy=False)
    values = np.array([trial.value for trial in found], float)
    if len(found) < FEWEST_TRIALS or np.ptp(values) == 0:
        return pd.DataFrame(columns=["setting", "ped_anova", "chance", "fanova", "trials"])
    own = _ped_anova(study, values)
    exchanged = pd.DataFrame([_ped_anova(study, generator.permutation(values)) for _ in range(permutations)])
    total = sum(own.values()) or 1.0
    forest: dict[str, float] = {}
    if find_spec("sklearn"):
        forest = get_param_importances(_linear(study), evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0))
    rows = [
        {
            "setting": setting,
            "ped_anova": value / total,
            "chance": float(exchanged[setting].quantile(0.95)) / total,
            "fanova": float(forest.get(setting, np.nan)),
            "trials": sum(setting in trial.params for trial in found),
        }
        for setting, value in own.items()
    ]
    return pd.DataFrame(rows).sort_values("ped_anova", ascending=False, ignore_index=True)


def _linear(study: optuna.Study) -> optuna.Study:
    """The study with the logarithms of logarithmic settings: Optuna's forest weighs values evenly, not their logs."""
    linear = memory_study(["maximize"])
    for trial in study.get_trials(deepcopy=False):
        params, kinds = dict(trial.params), dict(trial.distributions)
        for name, kind in trial.distributions.items():
            if isinstance(kind, FloatDistribution | IntDistribution) and kind.log:
                kinds[name] = FloatDistribution(math.log(kind.low), math.log(kind.high))
                params[name] = min(max(math.log(params[name]), math.log(kind.low)), math.log(kind.high))
        linear.add_trial(create_trial(value=trial.value, params=params, distributions=kinds))
    return linear


def _ped_anova(study: optuna.Study, values: Floats) -> dict[str, float]:
    """PED-ANOVA for scores given by a trial's number, not scaled."""

    def lower_is_better(trial: FrozenTrial) -> float:
        return -float(values[trial.number])

    share = min(max(0.1, FEWEST_BEST / len(values)), 0.5)
    with warnings.catch_warnings():
        # Two that are always given: that `normalize` may go, and that lower targets are taken for better.
        warnings.simplefilter("ignore")
        return get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(target_quantile=share),
            target=lower_is_better,
            normalize=False,
        )
