"""A sweep: a search over settings inside one arm on one dataset, and Optuna's study of it in the store."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import distribution_to_json

from metaseg.config import (
    Architecture,
    ArchitectureConfig,
    ConfigError,
    LossConfig,
    NetworkConfig,
    RunConfig,
    ScheduleConfig,
)
from metaseg.data.dataset import Dataset
from metaseg.schema import Direction
from metaseg.store.names import check_name
from metaseg.study.arm_data import check_arm
from metaseg.study.arm_network import check_architecture, resolve
from metaseg.study.arms import Arm
from metaseg.sweeps.objectives import Constraint, find_objective
from metaseg.sweeps.search import SearchConfig
from metaseg.sweeps.space import Space
from metaseg.training.losses import check_loss

FACTS = "facts"
"""The attribute of Optuna's trial that holds its outcome (`metaseg.sweeps.trial.Facts`)."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def readable(value: Any) -> str:
    """Format the value of a setting for a line of text."""
    return f"{value:.3g}" if isinstance(value, float) else "+".join(value) if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class Sweep:
    """A search: its space, the arm and dataset that it searches in, and how it searches."""

    name: str
    dataset: Dataset
    """With folds, as one of them sees it: its test images take no part in the search."""
    arm: Arm
    network: NetworkConfig
    """Network settings of all trials, where the space doesn't vary them."""
    schedule: ScheduleConfig
    """Schedule of all trials, where the space doesn't vary it."""
    space: Space
    search: SearchConfig
    architecture: ArchitectureConfig = ArchitectureConfig()
    """The network that blocks are put in, where the arm doesn't name its own."""
    loss: LossConfig = LossConfig()
    """Loss of all trials."""
    early_stopping: int | None = None
    """Validations without a better F1 after which a trial's training ends; it is complete then."""

    def __post_init__(self) -> None:
        check_name("sweep", self.name)
        if self.arm.stratified:
            raise ConfigError(f"arm {self.arm.name!r} is several networks; expected one whose settings can be searched")
        check_arm(self.arm, self.dataset.of_fold(self.dataset.fold))
        check_loss(self.loss, len(self.dataset.classes))
        self.space.check(self.network, self.schedule)
        _ = self.chosen
        for one in self.search.objectives:
            find_objective(one)
        for constraint in self.search.constraints:
            Constraint.parse(constraint)

    @property
    def label(self) -> str:
        """The arm, and the fold whose networks are tuned, if any."""
        return self.arm.name if self.dataset.fold is None else f"{self.arm.name} fold {self.dataset.fold}"

    def config(self, params: Mapping[str, Any]) -> RunConfig:
        """The run that a trial's parameters stand for."""
        network, schedule = self.space.settings(params, self.network, self.schedule)
        arm, seed = self.arm, self.search.tuning_seed
        return resolve(
            RunConfig(
                arm.block_name,
                arm.metadata_mode,
                seed,
                self.dataset.fingerprint,
                arm.placed(network),
                schedule,
                arm.subset,
                self.dataset.fold,
                architecture=self.chosen,
                loss=self.loss,
                early_stopping=self.early_stopping,
            )
        )

    @cached_property
    def chosen(self) -> Architecture | None:
        """The network of all trials; None for metaseg's own U-Net."""
        return check_architecture(self.arm, self.architecture, self.dataset)

    @cached_property
    def constraints(self) -> tuple[Constraint, ...]:
        """The search's constraints, parsed."""
        return tuple(map(Constraint.parse, self.search.constraints))

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """Names of the quantities to measure for each trial besides its validation F1."""
        constrained = (constraint.quantity for constraint in self.constraints)
        return tuple(dict.fromkeys(name for name in (*self.search.objectives, *constrained) if name != "val_f1"))

    @cached_property
    def directions(self) -> list[Direction]:
        """Directions of the objectives."""
        return [find_objective(name).direction for name in self.search.objectives]

    def record(self, command: Sequence[str]) -> dict[str, Any]:
        """The sweep's record in the store, for `analysis` and for continuing it."""
        search = self.search
        conditions = {dimension.name: dimension.when for dimension in self.space.dimensions if dimension.when}
        return {
            "name": self.name,
            "dataset": self.dataset.name,
            "about": self.dataset.about,
            "fingerprint": self.dataset.fingerprint,
            **({"fold": self.dataset.fold} if self.dataset.fold else {}),
            "arm": self.arm.name,
            "arm_settings": self.arm.record(),
            "space": {name: distribution_to_json(kind) for name, kind in self.space.distributions().items()},
            "conditions": {name: [other, list(values)] for name, (other, values) in conditions.items()},
            "objectives": [
                {"name": name, "direction": direction}
                for name, direction in zip(search.objectives, self.directions, strict=True)
            ],
            "constraints": list(search.constraints),
            "sampler": search.sampler,
            "pruner": search.pruner,
            "seed": search.search_seed,
            "tuning_seed": search.tuning_seed,
            "trials_planned": search.trials,
            **({} if self.chosen is None else {"architecture": asdict(self.chosen)}),
            "network": asdict(self.network),
            "schedule": asdict(self.schedule),
            **({} if self.loss == LossConfig() else {"loss": asdict(self.loss)}),
            **({} if self.early_stopping is None else {"early_stopping": self.early_stopping}),
            "command": shlex.join(command),
        }
