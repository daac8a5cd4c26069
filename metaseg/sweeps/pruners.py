"""Pruners end trials that do badly. `build_pruner` makes one; `PRUNERS` lists them by name.

Trials are compared at equal fractions of their schedules. A trial reports its validation F1 at a step,
`PrunerSettings.step`: for a trial of `last_epoch` epochs this is the epoch, for a shorter one the epoch at which a
trial of `last_epoch` epochs is equally far in its schedule. At equal epochs, a trial with a shorter schedule would have
lowered its learning rate further, and would win for that reason alone.

A rung is judged at the first validation at or after it. Rungs are therefore multiples of `validate_every`, so that all
trials of equal length reach them at the same epoch.

The last epoch is reported too, but no pruner is asked, since the trial has ended then.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from optuna import Study
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from metaseg.config import ConfigError, check_settings


@dataclass(frozen=True)
class PrunerSettings:
    """Settings of a pruner."""

    last_epoch: int
    """Number of epochs of the longest trials."""

    name: str = "asha"
    """Name of the pruner (`PRUNERS`)."""

    first_epoch: int = 1
    """First epoch, out of `last_epoch`, at which a trial may be ended."""

    reduction_factor: int = 3
    """Reduction factor of successive halving: one in so many trials passes a rung, and each rung is this factor times
    as many epochs as the one before."""

    startup_trials: int = 0
    """Number of first trials that asha and hyperband never end, although later ones are compared with them; the median
    pruner waits until this many are complete."""

    validate_every: int = 1
    """Number of epochs between validations."""

    objectives: int = 1
    """Number of objectives."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            (
                ("name", self.name in PRUNERS, f"one of {', '.join(PRUNERS)}"),
                ("last_epoch", self.last_epoch >= 1, "at least 1"),
                ("first_epoch", 1 <= self.first_epoch <= self.last_epoch, f"1 to last_epoch ({self.last_epoch})"),
                ("reduction_factor", self.reduction_factor >= 2, "at least 2"),
                ("startup_trials", self.startup_trials >= 0, "at least 0"),
                ("validate_every", self.validate_every >= 1, "at least 1"),
            ),
        )
        if self.objectives > 1 and self.name != "none":
            raise ConfigError(
                f"pruner is {self.name!r} with {self.objectives} objectives; expected 'none' (--pruner none): pruners "
                "compare trials by one"
            )

    @property
    def first_rung(self) -> int:
        """The first epoch, out of `last_epoch`, at which trials are compared."""
        return math.ceil(self.first_epoch / self.validate_every) * self.validate_every

    def step(self, epoch: int, epochs: int) -> int:
        """The step, from 1 to `last_epoch`, at which a trial of `epochs` epochs reports its score of `epoch`."""
        return math.ceil(epoch * self.last_epoch / epochs)


def build_pruner(settings: PrunerSettings) -> BasePruner:
    """Build the pruner that the settings describe."""
    return PRUNERS[settings.name](settings)


class StartupPruner(BasePruner):
    """Lets the first trials run to their end; later trials are still compared with them.

    Without it, asha would end about half of the first trials by comparing two.

    It also hides hyperband from Optuna, whose samplers would otherwise see only the trials of a trial's own bracket.
    """

    def __init__(self, pruner: BasePruner, trials: int) -> None:
        self._pruner = pruner
        self._trials = trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Return True if the trial is to end."""
        ends = self._pruner.prune(study, trial)
        return ends and trial.number >= self._trials


def _none(settings: PrunerSettings) -> BasePruner:
    """No trial ends early."""
    return NopPruner()


def _asha(settings: PrunerSettings) -> BasePruner:
    """Asynchronous successive halving (Li et al. 2020): at each rung, only trials among the best so far go on."""
    halving = SuccessiveHalvingPruner(min_resource=settings.first_rung, reduction_factor=settings.reduction_factor)
    return StartupPruner(halving, settings.startup_trials)


def _hyperband(settings: PrunerSettings) -> BasePruner:
    """Hyperband (Li et al. 2018): successive halving in brackets that begin at later and later rungs.

    It suits trials whose scores overtake each other late.
    A trial's bracket is a function of the study's name and the trial's number.
    """
    hyperband = HyperbandPruner(
        min_resource=settings.first_rung,
        max_resource=max(settings.first_rung, settings.last_epoch),
        reduction_factor=settings.reduction_factor,
    )
    return StartupPruner(hyperband, settings.startup_trials)


def _median(settings: PrunerSettings) -> BasePruner:
    """End a trial whose best score is below the median of complete trials at the same step (Golovin et al. 2017).

    Only steps at which at least `startup_trials` complete trials have reported count.
    """
    return MedianPruner(
        n_startup_trials=settings.startup_trials,
        n_warmup_steps=settings.first_rung,
        n_min_trials=max(1, settings.startup_trials),
    )


PRUNERS: dict[str, Callable[[PrunerSettings], BasePruner]] = {
    "none": _none,
    "asha": _asha,
    "hyperband": _hyperband,
    "median": _median,
}
