"""Options of a search. Importing this module is cheap, so that a page can parse its options before anything else."""

from dataclasses import dataclass

from metaseg.config import check_settings


@dataclass(frozen=True)
class SearchConfig:
    """Settings of a search."""

    trials: int = 24
    """Number of trials in each arm. A larger number later continues the same sweep."""

    sampler: str = "tpe"
    """Sampler that proposes settings: tpe (multivariate, aware of running trials), gp, cmaes, random, grid or qmc."""

    startup: int = 8
    """Number of first trials, spread evenly (quasi-Monte Carlo), before the sampler proposes."""

    pruner: str = "asha"
    """Pruner that ends trials that do badly, by epoch: asha, hyperband, median or none."""

    objectives: tuple[str, ...] = ("val_f1",)
    """Objectives: val_f1, and besides it parameters, flops or seconds_an_image, which gives a Pareto front."""

    constraints: tuple[str, ...] = ()
    """Limits on the network's cost: parameters<=500000, flops<=1e9, seconds_an_image<=0.05."""

    max_epochs: int | None = None
    """Start no more trials in an arm once this many epochs have been trained in it."""

    search_seed: int = 0
    """Seed of the sampler."""

    tuning_seed: int = 1000
    """Seed of the trials' weights and crops. No study uses it, so that tuned settings are tested with fresh seeds."""

    def __post_init__(self) -> None:
        check_settings(
            self,
            (
                ("trials", self.trials >= 1, "at least 1"),
                ("startup", self.startup >= 0, "at least 0"),
                ("max_epochs", self.max_epochs is None or self.max_epochs >= 1, "at least 1"),
                ("objectives", "val_f1" in self.objectives, "val_f1 among them"),
                ("objectives", len(set(self.objectives)) == len(self.objectives), "each only once"),
            ),
        )
