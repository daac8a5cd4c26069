"""Samplers propose the settings of a trial. `build_sampler` makes one; `SAMPLERS` lists them by name.

Each proposal is a function of the sampler's seed, the trial's number and the trials so far. A sampler has no state, so
that a sweep whose driver was killed goes on as if nothing had happened. (Optuna's own samplers, seeded alike after a
restart, repeat their first proposals.) Proposals are made in the sweep's declared space, not in one inferred from past
trials, so that dimensions that only some trials have are known from the first trial on.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from metaseg.config import ConfigError, check_settings
from metaseg.sweeps.cmaes import CmaEs
from metaseg.sweeps.dimensions import Dimension
from metaseg.sweeps.space import Space

Propose = Callable[[Study, FrozenTrial], dict[str, Any]]
"""Function that proposes values of all dimensions, as Optuna stores them; the space picks those that the trial has."""


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of a sampler."""

    space: Space
    """The space that is searched."""

    name: str = "tpe"
    """Name of the sampler (`SAMPLERS`)."""

    seed: int = 0
    """Seed of all its random numbers."""

    startup: int = 8
    """Number of start-up trials, which are spread over the space instead of being proposed by tpe, gp or cmaes. Trials
    count however they end; the other samplers have no start-up."""

    startup_by: Literal["qmc", "random"] = "qmc"
    """Sampler of the start-up trials."""

    grid_points: int = 4
    """Most values of a range in the grid."""

    objectives: int = 1
    """Number of objectives."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            (
                ("name", self.name in SAMPLERS, f"one of {', '.join(SAMPLERS)}"),
                ("seed", self.seed >= 0, "at least 0"),
                ("startup", self.startup >= 0, "at least 0"),
                ("startup_by", self.startup_by in ("qmc", "random"), "qmc or random"),
                ("grid_points", self.grid_points >= 1, "at least 1"),
                ("objectives", self.objectives >= 1, "at least 1"),
            ),
        )


def build_sampler(settings: SamplerSettings) -> BaseSampler:
    """Build the sampler that the settings describe.

    Constraints are stored with the trials (`optuna.Trial.set_constraint`): tpe, gp and cmaes take them into account;
    random, grid and qmc learn nothing from trials.

    Raises:
        ConfigError: the sampler can't search this space, or with this number of objectives.
    """
    return SpaceSampler(settings.space, SAMPLERS[settings.name](settings))


class SpaceSampler(BaseSampler):
    """Proposes all of a trial's values at once."""

    def __init__(self, space: Space, propose: Propose) -> None:
        self._distributions = space.distributions()
        self._propose = propose

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space, whichever dimensions past trials had."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values of all dimensions."""
        return self._propose(study, trial)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Raise `ConfigError`: a parameter that wasn't proposed isn't in the space."""
        raise ConfigError(
            f"parameter {param_name!r} was asked for in {param_distribution}; expected a dimension of the search space"
        )


def _random(settings: SamplerSettings) -> Propose:
    """Uniform random values, independent between trials."""

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any]:
        shares = np.random.default_rng([settings.seed, trial.number]).random(len(settings.space.dimensions))
        return _at(settings.space, shares.tolist())

    return propose


def _qmc(settings: SamplerSettings) -> Propose:
    """Quasi-Monte Carlo: the points of a scrambled Sobol' sequence with a coordinate per dimension (Owen 1998)."""

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any]:
        from scipy.stats.qmc import Sobol  # slow to import

        sequence = Sobol(len(settings.space.dimensions), scramble=True, seed=np.random.default_rng(settings.seed))
        if trial.number:
            sequence.fast_forward(trial.number)
        return _at(settings.space, sequence.random(1)[0].tolist())

    return propose


def _grid(settings: SamplerSettings) -> Propose:
    """All combinations in an order shuffled by the seed; one that failed is retried after all others."""
    grid = settings.space.grid(settings.grid_points)
    rows = [grid[int(i)] for i in np.random.default_rng(settings.seed).permutation(len(grid))]

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any]:
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        tried = {frozenset(other.params.items()) for other in others if other.state is not TrialState.FAIL}
        failures = Counter(frozenset(other.params.items()) for other in others if other.state is TrialState.FAIL)
        left = [row for row in rows if frozenset(row.items()) not in tried]
        if not left:
            raise ConfigError(
                f"trial {trial.number} has no untried settings left; expected at most {len(rows)} trials in this grid"
            )
        return left[int(np.argmin([failures[frozenset(row.items())] for row in left]))]

    return propose


def _tpe(settings: SamplerSettings) -> Propose:
    """Multivariate tree-structured Parzen estimators (Bergstra et al. 2011; Falkner et al. 2018), one per group.

    A group holds the dimensions that the same trials have. Running trials count as bad ones ("constant liar"), so that
    parallel trials don't crowd together; pruned ones count by the number of their epochs.
    """
    groups = [group for dimensions in settings.space.groups() if (group := _distributions(dimensions))]

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any]:
        sampler = TPESampler(seed=_seed(settings, trial), n_startup_trials=0, multivariate=True, constant_liar=True)
        params: dict[str, Any] = {}
        for group in groups:
            params.update(sampler.sample_relative(study, trial, group))
        return params

    return _after_startup(settings, propose)


def _gp(settings: SamplerSettings) -> Propose:
    """Gaussian process with expected improvement, or expected hypervolume improvement for several objectives.

    It models the dimensions that all trials have, from at least two complete trials (so it learns little if most are
    pruned); the other dimensions are sampled as in the start-up.
    """
    modelled = _distributions(settings.space.groups()[0])
    if not modelled:
        raise ConfigError("sampler is 'gp', but the space has no dimension that all trials have and that varies")
    spread = _startup(settings)

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any]:
        params = spread(study, trial)
        if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < 2:
            return params
        sampler = GPSampler(seed=_seed(settings, trial), n_startup_trials=0)
        return {**params, **sampler.sample_relative(study, trial, modelled)}

    return _after_startup(settings, propose)


def _cmaes(settings: SamplerSettings) -> Propose:
    """Covariance matrix adaptation evolution strategy: for ranges that all trials have, and one objective."""
    if settings.objectives > 1:
        raise ConfigError(f"sampler is 'cmaes' with {settings.objectives} objectives; expected one")
    strategy = CmaEs(settings.space)

    def propose(study: Study, trial: FrozenTrial) -> dict[str, Any]:
        return strategy.propose(study, trial, _seed(settings, trial))

    return _after_startup(settings, propose)


SAMPLERS: dict[str, Callable[[SamplerSettings], Propose]] = {
    "tpe": _tpe,
    "gp": _gp,
    "cmaes": _cmaes,
    "random": _random,
    "grid": _grid,
    "qmc": _qmc,
}


def _startup(settings: SamplerSettings) -> Propose:
    return _qmc(settings) if settings.startup_by == "qmc" else _random(settings)


def _after_startup(settings: SamplerSettings, propose: Propose) -> Propose:
    startup = _startup(settings)
    return lambda study, trial: (startup if trial.number < settings.startup else propose)(study, trial)


def _at(space: Space, shares: list[float]) -> dict[str, Any]:
    """The point of the space at these fractions of its dimensions."""
    return {dimension.name: dimension.at(share) for dimension, share in zip(space.dimensions, shares, strict=True)}


def _distributions(dimensions: tuple[Dimension, ...]) -> dict[str, BaseDistribution]:
    """Distributions of the dimensions that vary; Optuna itself knows the value of the others."""
    return {one.name: one.distribution for one in dimensions if not one.distribution.single()}


def _seed(settings: SamplerSettings, trial: FrozenTrial) -> int:
    """A trial's own seed, below 2**32."""
    return int(np.random.SeedSequence([settings.seed, trial.number]).generate_state(1)[0])
