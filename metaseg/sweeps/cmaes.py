"""Covariance matrix adaptation evolution strategy (CMA-ES; Hansen 2016, arXiv:1604.00772), by the package `cmaes`.

Optuna's own sampler pickles its state into the study, which would be unpickled from a store that isn't trusted. Here
the state is rebuilt from the trials themselves.
"""

import hashlib
from collections import defaultdict
from typing import Any

import numpy as np
from cmaes import CMA  # type: ignore[import-untyped]
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metaseg.config import ConfigError
from metaseg.sweeps.dimensions import Float, Integer
from metaseg.sweeps.space import Space

_SIGMA = 1 / 6  # of the unit cube that the space is mapped to: three standard deviations reach its sides


class CmaEs:
    """Proposes from a normal distribution over the space, which moves towards the best trials of each generation.

    Only the ranks of a generation's trials count: feasible ones before those that break a constraint, then complete
    ones before pruned ones, which rank by their number of epochs. Failed trials and start-up trials are left out.

    Raises:
        ConfigError: a dimension isn't a range, or not all trials have it; or no dimension varies.
    """

    def __init__(self, space: Space) -> None:
        self._ranges: list[Float | Integer] = []
        for group, dimensions in enumerate(space.groups()):
            for dimension in dimensions:
                if dimension.distribution.single():
                    continue
                if not isinstance(dimension, Float | Integer):
                    raise ConfigError(
                        f"sampler is 'cmaes', but dimension {dimension.name!r} has values; expected ranges"
                    )
                if group:
                    raise ConfigError(
                        f"sampler is 'cmaes', but dimension {dimension.name!r} depends on another; expected ranges "
                        "that all trials have"
                    )
                self._ranges.append(dimension)
        if not self._ranges:
            raise ConfigError("sampler is 'cmaes', but the space has no range of numbers")
        # Generations of another space are in other coordinates.
        self._key = f"cmaes:{hashlib.sha256(repr(self._ranges).encode()).hexdigest()[:8]}"

    def propose(self, study: Study, trial: FrozenTrial, seed: int) -> dict[str, Any]:
        """Values for a trial, which is marked as a member of the current generation."""
        dimensions = len(self._ranges)
        strategy = CMA(
            mean=np.full(dimensions, 0.5),
            sigma=_SIGMA,
            bounds=np.array([[0.0, 1.0]] * dimensions),
            n_max_resampling=10 * dimensions,
            seed=seed,
        )
        generations = self._generations(study)
        while len(told := generations[strategy.generation][: strategy.population_size]) == strategy.population_size:
            ranked = sorted(told, key=lambda other: _badness(other, study))
            strategy.tell([(self._shares(other), float(rank)) for rank, other in enumerate(ranked)])
        study._storage.set_trial_system_attr(trial._trial_id, self._key, strategy.generation)
        shares = strategy.ask()
        return {range_.name: range_.at(float(share)) for range_, share in zip(self._ranges, shares, strict=True)}

    def _generations(self, study: Study) -> dict[int, list[FrozenTrial]]:
        """Finished trials by the generation in which they were proposed, in the order in which they finished."""
        generations: dict[int, list[FrozenTrial]] = defaultdict(list)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        for trial in sorted(trials, key=lambda one: (one.datetime_complete or one.datetime_start, one.number)):
            if self._key in trial.system_attrs:
                generations[trial.system_attrs[self._key]].append(trial)
        return generations

    def _shares(self, trial: FrozenTrial) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        return np.array([range_.share(trial.params[range_.name]) for range_ in self._ranges])


def _badness(trial: FrozenTrial, study: Study) -> tuple[float, bool, int, float]:
    """Sort key that orders trials from best to worst."""
    sign = -1 if study.direction is StudyDirection.MAXIMIZE else 1
    violation = sum(value for value in trial.constraints.values() if value > 0)
    if trial.state is TrialState.COMPLETE:
        assert trial.value is not None
        return violation, False, 0, sign * trial.value
    step = trial.last_step
    return violation, True, -(step or 0), 0.0 if step is None else sign * trial.intermediate_values[step]
