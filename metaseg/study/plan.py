"""A study: arms, seeds and one dataset become runs, each fully resolved before anything is trained."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from metaseg.config import (
    ArchitectureConfig,
    ConfigError,
    EngineConfig,
    Init,
    LossConfig,
    NetworkConfig,
    RunConfig,
    ScheduleConfig,
    Scoring,
    Subset,
)
from metaseg.data.dataset import Dataset
from metaseg.networks.block_name import own_sources
from metaseg.networks.block_source import Code
from metaseg.schema import BASELINE, Claim
from metaseg.store.runs import Store
from metaseg.study.arm_data import check_arm, parts_of, training_lengths
from metaseg.study.arm_network import check_architecture, check_distinct, in_words, resolve
from metaseg.study.arms import ARMS, Arm, find_arm
from metaseg.study.display import StudyDisplay
from metaseg.study.earlier_reports import looked_at
from metaseg.study.run_id import run_id
from metaseg.training.losses import check_loss


@dataclass(frozen=True)
class PlannedRun:
    """A run in its place in a study."""

    arm: Arm
    config: RunConfig
    part: str = ""
    """Subgroup of this network, if its arm is several networks."""
    workers: tuple[int, ...] | None = None
    """Number of workers of this run, or the least and the most, if it differs from the others'."""

    def workers_of(self, engine: EngineConfig) -> tuple[int, ...]:
        """Number of workers of the run, or the least and the most."""
        return self.workers or engine.workers_per_run

    @cached_property
    def run_id(self) -> str:
        """Hash of the resolved configuration; the arm's name is no part of it."""
        return run_id(self.config)

    @property
    def label(self) -> str:
        """Name of the run in messages."""
        label = f"{self.arm.name} {self.part} seed {self.config.seed}".replace("  ", " ")
        return label if self.config.fold is None else f"{label} fold {self.config.fold}"


@dataclass(frozen=True)
class Comparison:
    """A question that a study asks of two arms before it starts."""

    arm: str
    reference: str
    claim: Claim


@dataclass(frozen=True, repr=False)
class Study(StudyDisplay):
    """A named set of runs, with the comparisons that are declared before training.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare, plan
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> study = plan("cells", dataset, ["baseline", "sme", "sme-dummy"], seeds=3)
        >>> [f"{each.arm} {each.claim}: {each.reference}" for each in study.comparisons]
        ['sme differs: baseline', 'sme-dummy equal: baseline', 'sme differs: sme-dummy']
    """

    name: str
    dataset: Dataset
    arms: tuple[Arm, ...]
    runs: tuple[PlannedRun, ...]
    baseline: str = BASELINE
    """Name of the arm that the others are compared with."""
    scoring: Scoring = Scoring()
    sweeps: Mapping[str, str] = field(default_factory=dict)
    """Names of the sweeps in which arms were tuned, by arm; with folds, by arm and fold ("sme fold 0")."""
    crossed: bool = False
    """True if runs of equal seed are pairs: they share initial weights outside blocks, order and crops."""
    sequential: Mapping[str, Any] | None = None
    """The rule by which seeds are added until comparisons are decided, as the record has it; None: all runs at once."""

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Declared beforehand: each arm against the baseline, and one that sees true metadata against its dummy too.

        Arms that receive no true metadata are expected to equal the baseline, if their blocks are in the same network.
        """
        untold = ("zeros", "shuffled")
        baseline = next(arm for arm in self.arms if arm.name == self.baseline)
        alike = [arm.name for arm in self.arms if arm.metadata_mode in untold and arm.network == baseline.network]
        with_baseline = (
            Comparison(arm.name, self.baseline, "equal" if arm.name in alike else "differs")
            for arm in self.arms
            if arm.name != self.baseline
        )
        dummies = {arm.design: arm.name for arm in self.arms if arm.metadata_mode == "zeros"}
        with_dummy = (
            Comparison(arm.name, dummies[arm.design], "differs")
            for arm in self.arms
            if arm.metadata_mode == "true" and dummies.get(arm.design, self.baseline) != self.baseline
        )
        return (*with_baseline, *with_dummy)

    @property
    def networks(self) -> dict[str, str]:
        """Networks of arms that aren't metaseg's U-Net, in words, by arm."""
        of = {run.arm.name: run.config.architecture for run in self.runs}
        return {arm: in_words(architecture) for arm, architecture in of.items() if architecture}

    def sample_count(self, run: PlannedRun) -> int:
        """Number of training samples of a run; an estimate if the dataset is only a part, for planning."""
        return round(len(self.dataset_of(run).indices("train", run.config.subset)) / self.dataset.share)

    def dataset_of(self, run: PlannedRun) -> Dataset:
        """The dataset as the run's fold sees it."""
        return self.dataset.of_fold(run.config.fold)

    def missing(self, store: Store) -> tuple[PlannedRun, ...]:
        """The runs that the store doesn't have."""
        done = store.done()
        return tuple(run for run in self.runs if run.run_id not in done)

    @property
    def own_code(self) -> tuple[Code, ...]:
        """Classes and functions from outside metaseg that make blocks and networks of the study."""
        return tuple(source.block for source in own_sources(name for run in self.runs for name in run.config.names))

    def record(self, command: Sequence[str]) -> dict[str, Any]:
        """The study's record in the store, which `analysis` reads."""
        return {
            "name": self.name,
            "dataset": self.dataset.name,
            "about": self.dataset.about,
            "baseline": self.baseline,
            **asdict(self.scoring),
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "arms": [arm.name for arm in self.arms],
            **({"folds": asdict(folds)} if (folds := self.dataset.folds) else {}),
            **({"untold": untold} if (untold := self.dataset.untold) else {}),
            "runs": [
                {"run_id": run.run_id, "arm": run.arm.name, "seed": run.config.seed, "part": run.part}
                | ({} if run.config.fold is None else {"fold": run.config.fold})
                for run in self.runs
            ],
            **({"networks": networks} if (networks := self.networks) else {}),
            **({"sweeps": dict(self.sweeps)} if self.sweeps else {}),
            **({"seeds": "crossed"} if self.crossed else {}),
            **({"sequential": dict(self.sequential)} if self.sequential else {}),
            "command": shlex.join(command),
        }

    def declare(self, store: Store, command: Sequence[str] = (), options: str = "") -> None:
        """Write to the store what is compared, before anything is trained; `analysis` reads it.

        Args:
            store: where the runs will be.
            command: the command line that started the study, if any; the report shows it.
            options: the resolved options as TOML, if any; the report has them as `config.toml`.
        """
        record = self.record(command)
        runs = {run.run_id: run.arm.name for run in self.runs}
        if seen := looked_at(store, self.name, runs, bool(self.sequential)):
            record["looked_at"] = seen
        store.write_study(self.name, {**record, "config": options} if options else record)


def plan(
    name: str,
    dataset: Dataset,
    arms: Sequence[str],
    seeds: int,
    network: NetworkConfig = NetworkConfig(),
    schedule: ScheduleConfig = ScheduleConfig(),
    *,
    more_arms: Sequence[Arm] = (),
    baseline: str = BASELINE,
    scoring: Scoring = Scoring(),
    own_settings: Mapping[tuple[str, str | None], tuple[NetworkConfig, ScheduleConfig]] | None = None,
    sweeps: Mapping[str, str] | None = None,
    crossed: bool = False,
    architecture: ArchitectureConfig = ArchitectureConfig(),
    loss: LossConfig = LossConfig(),
    early_stopping: int | None = None,
    metadata_dropout: float | None = None,
    equal_steps: bool = False,
) -> Study:
    """Plan a study: resolve every arm with seeds 0 to `seeds` - 1 into runs, one seed of all arms after the other.

    Of a dataset with folds, each arm and seed has a run in each fold.

    Args:
        name: the study's name.
        dataset: samples that all runs are trained and tested on.
        arms: names of arms in `ARMS` or `more_arms`.
        seeds: number of runs of each arm.
        network: settings of the network, for arms without settings of their own.
        schedule: settings of training, likewise.
        more_arms: arms besides those in `ARMS`.
        baseline: name of the arm that the others are compared with.
        scoring: how scores are computed from counts of pixels.
        own_settings: network and schedule of an arm that has its own, by its name and the fold (None without folds).
        sweeps: names of the sweeps that found these settings, by arm, and by fold where there are folds.
        crossed: declare that runs of equal seed are pairs: they start from the same weights outside blocks and see the
            same crops in the same order, and are tested as pairs.
        architecture: the network that blocks are put in, for arms that don't name their own.
        loss: what training minimises, in all arms.
        early_stopping: number of validations without a better F1 after which a run's training ends; None: after all
            epochs.
        metadata_dropout: probability with which robust arms' metadata are withheld in training; by default each arm's.
        equal_steps: let runs that see a part of the training samples pass over them so often that they see about as
            many crops as a run on the most samples of their fold, validated as often.

    Raises:
        ConfigError: an arm is unknown or repeated, the baseline isn't among the arms, `seeds` is below 1, no arm has
            the `metadata_dropout` that is given, the dataset lacks the metadata or the subset that an arm needs, or the
            loss doesn't fit its classes or lacks a package.

    Example:
        >>> from pathlib import Path
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare, plan
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> study = plan("cells", dataset, ["baseline", "sme"], seeds=2)
        >>> [run.label for run in study.runs]
        ['baseline seed 0', 'sme seed 0', 'baseline seed 1', 'sme seed 1']
    """
    chosen = tuple(find_arm(arm, more_arms, metadata_dropout) for arm in arms)
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"arms are {', '.join(arms)}; expected each only once")
    if baseline not in arms:
        raise ConfigError(
            f"arms are {', '.join(arms)}; expected {baseline!r} among them: it is what the others are compared with"
        )
    if metadata_dropout is not None and not any(arm.metadata_dropout for arm in chosen):
        robust = ", ".join(name for name, arm in ARMS.items() if arm.metadata_dropout)
        raise ConfigError(f"metadata_dropout is {metadata_dropout}, which no arm here has; expected one of {robust}")
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; expected at least 1")
    check_loss(loss, len(dataset.classes))
    for view in dataset.views:
        for arm in chosen:
            check_arm(arm, view)

    init: Init = "shared" if crossed else "own"
    architectures = {arm.name: check_architecture(arm, architecture, dataset) for arm in chosen}

    parts = {(view.fold, arm.name): parts_of(arm, view) for view in dataset.views for arm in chosen}
    lengths = training_lengths(dataset, parts) if equal_steps else {}

    def config(arm: Arm, seed: int, subset: Subset | None, fold: str | None) -> RunConfig:
        own_network, own_schedule = (own_settings or {}).get((arm.name, fold), (network, schedule))
        return resolve(
            RunConfig(
                arm.block_name,
                arm.metadata_mode,
                seed,
                dataset.fingerprint,
                arm.placed(own_network),
                own_schedule.longer(lengths.get((fold, subset), 1.0)),
                subset,
                fold,
                init,
                architectures[arm.name],
                loss,
                early_stopping,
                arm.metadata_dropout,
            )
        )

    runs = tuple(
        PlannedRun(arm, config(arm, seed, subset, view.fold), part)
        for seed in range(seeds)
        for view in dataset.views
        for arm in chosen
        for part, subset in parts[view.fold, arm.name]
    )
    check_distinct({run.arm.name: run.run_id for run in runs})
    return Study(name, dataset, chosen, runs, baseline, scoring, sweeps or {}, crossed)
