"""Pruners: who ends trials that do badly. `build_pruner` makes one; `PRUNERS` lists them by name.

Trials are compared at shares of their schedules. A trial reports its validation F1 at a step, `PrunerSettings.step`:
the epoch where it is planned for `last_epoch` epochs, as all are where epochs aren't searched; else the epoch that a
trial of `last_epoch` epochs has when it is as far in its schedule. At equal epochs, a trial with the shorter schedule
would have brought its learning rate down further, and win for that alone.

A rung is judged at the first validation at or after it. So rungs are multiples of `validate_every`: all trials of equal
length reach them at the same epoch.

The last epoch is reported too, but whether to end the trial then needn't be asked: it has ended.
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
    """What a pruner is built from."""

    last_epoch: int
    """Epochs of the longest trials."""

    name: str = "asha"
    """Of the pruner (`PRUNERS`)."""

    first_epoch: int = 1
    """No trial ends before this epoch, of `last_epoch`."""

    reduction_factor: int = 3
    """One of so many trials goes on from a rung, and the next rung is so many times as many epochs away."""

    startup_trials: int = 0
    """The first trials, by number, that asha and hyperband never end, although the others are compared with them;
    the median pruner waits until so many are complete."""

    validate_every: int = 1
    """Epochs between validations."""

    objectives: int = 1
    """How many there are."""

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
        """The first epoch, of `last_epoch`, at which trials are compared."""
        return math.ceil(self.first_epoch / self.validate_every) * self.validate_every

    def step(self, epoch: int, epochs: int) -> int:
        """What a trial of `epochs` epochs that has finished `epoch` reports its score at: from 1 to `last_epoch`."""
        return math.ceil(epoch * self.last_epoch / epochs)


def build_pruner(settings: PrunerSettings) -> BasePruner:
    """The pruner that settings describe; they have been checked."""
    return PRUNERS[settings.name](settings)


class StartupPruner(BasePruner):
    """Lets the first trials run to their end, judged as all: later trials are compared with them.

    Without it, asha ends about half of the first trials by comparing two.

    It also hides hyperband from Optuna, whose samplers would else see only the trials of a trial's own bracket.
    """

    def __init__(self, pruner: BasePruner, trials: int) -> None:
        self._pruner = pruner
        self._trials = trials

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial is to end."""
        ends = self._pruner.prune(study, trial)
        return ends and trial.number >= self._trials


def _none(settings: PrunerSettings) -> BasePruner:
    """No trial ends early."""
    return NopPruner()


def _asha(settings: PrunerSettings) -> BasePruner:
    """Asynchronous successive halving (Li et al. 2020): at each rung, a trial goes on that is among the best so far."""
    halving = SuccessiveHalvingPruner(min_resource=settings.first_rung, reduction_factor=settings.reduction_factor)
    return StartupPruner(halving, settings.startup_trials)


def _hyperband(settings: PrunerSettings) -> BasePruner:
    """Successive halving in brackets that begin at later and later rungs (Li et al. 2018): for scores that cross late.

    A trial's bracket is a function of the study's name and the trial's number.
    """
    hyperband = HyperbandPruner(
        min_resource=settings.first_rung,
        max_resource=max(settings.first_rung, settings.last_epoch),
        reduction_factor=settings.reduction_factor,
    )
    return StartupPruner(hyperband, settings.startup_trials)


def _median(settings: PrunerSettings) -> BasePruner:
    """Ends a trial whose best score is below the median of complete trials' at the same step (Golovin et al. 2017).

    A step counts that as many complete trials have reported at as `startup_trials`.
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
