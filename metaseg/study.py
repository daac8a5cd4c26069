"""A study: arms, seeds and one dataset become runs, each fully resolved before anything is trained."""

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from metaseg.blocks import block_class
from metaseg.config import ConfigError, EngineConfig, MetadataMode, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.dataset import Dataset
from metaseg.run import run_id
from metaseg.store import Store

BASELINE = "baseline"


@dataclass(frozen=True)
class Arm:
    """One column of an ablation: a block and how it sees metadata."""

    name: str
    block: str
    metadata_mode: MetadataMode


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm(BASELINE, "se", "absent"),
        Arm("none", "none", "absent"),
        Arm("me", "me", "true"),
        Arm("me-dummy", "me", "zeros"),
        Arm("me-shuffled", "me", "shuffled"),
        Arm("sme", "sme", "true"),
        Arm("sme-dummy", "sme", "zeros"),
        Arm("sme-shuffled", "sme", "shuffled"),
        Arm("film", "film", "true"),
        Arm("film-dummy", "film", "zeros"),
        Arm("film-shuffled", "film", "shuffled"),
        Arm("film-ivadomed", "film-ivadomed", "true"),
        Arm("film-ivadomed-dummy", "film-ivadomed", "zeros"),
    )
}


def find_arm(name: str) -> Arm:
    """Look an arm up by name; raises `ConfigError` that lists the known ones and the closest."""
    if name not in ARMS:
        close = difflib.get_close_matches(name, ARMS, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise ConfigError(f"unknown arm {name!r}{hint}; known: {', '.join(ARMS)}")
    return ARMS[name]


@dataclass(frozen=True)
class PlannedRun:
    """A run in its place in a study."""

    arm: Arm
    config: RunConfig
    workers: tuple[int, ...] | None = None
    """How many workers this run has, or the least and the most, where it isn't as many as the others."""

    def workers_of(self, engine: EngineConfig) -> tuple[int, ...]:
        """How many workers the run has, or the least and the most."""
        return self.workers or engine.workers_per_run

    @cached_property
    def run_id(self) -> str:
        """Hash of the resolved configuration; the arm's name is no part of it."""
        return run_id(self.config)

    @property
    def label(self) -> str:
        """How messages call the run."""
        return f"{self.arm.name} seed {self.config.seed}"


@dataclass(frozen=True)
class Study:
    """A named set of runs; each arm is compared with the arm called `baseline`."""

    name: str
    dataset: Dataset
    arms: tuple[Arm, ...]
    runs: tuple[PlannedRun, ...]

    def missing(self, store: Store) -> tuple[PlannedRun, ...]:
        """The runs that the store doesn't have."""
        done = store.done()
        return tuple(run for run in self.runs if run.run_id not in done)

    def record(self, command: Sequence[str]) -> dict[str, Any]:
        """What the store keeps of the study, for `analysis` to read."""
        return {
            "name": self.name,
            "dataset": self.dataset.name,
            "baseline": BASELINE,
            "arms": [arm.name for arm in self.arms],
            "runs": [{"run_id": run.run_id, "arm": run.arm.name, "seed": run.config.seed} for run in self.runs],
            "command": shlex.join(command),
        }


def plan(
    name: str,
    dataset: Dataset,
    arms: Sequence[str],
    seeds: int,
    network: NetworkConfig,
    schedule: ScheduleConfig,
) -> Study:
    """Resolve a study: every arm with seeds 0 to `seeds` - 1, one seed of all arms after the other.

    Raises:
        ConfigError: an unknown or repeated arm, no baseline to compare with, no seed, or an arm that needs metadata
            where the dataset has none.
    """
    chosen = tuple(find_arm(arm) for arm in arms)
    if len(set(chosen)) < len(chosen):
        raise ConfigError(f"arms are {', '.join(arms)}; expected each only once")
    if BASELINE not in arms:
        raise ConfigError(
            f"arms are {', '.join(arms)}; expected {BASELINE!r} among them: it is what the others are compared with"
        )
    if seeds < 1:
        raise ConfigError(f"seeds is {seeds}; expected at least 1")
    blind = [arm.name for arm in chosen if block_class(arm.block).needs_metadata]
    if blind and not dataset.metadata:
        raise ConfigError(f"arms {', '.join(blind)} need metadata, but dataset {dataset.name!r} has no metadata column")
    runs = tuple(
        PlannedRun(arm, RunConfig(arm.block, arm.metadata_mode, seed, dataset.fingerprint, network, schedule))
        for seed in range(seeds)
        for arm in chosen
    )
    return Study(name, dataset, chosen, runs)
