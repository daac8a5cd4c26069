"""Sweeps replayed against a recorded grid: nothing is trained, each proposal's curve is looked up."""

import heapq
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution, json_to_distribution
from optuna.trial import TrialState

from metaseg.config import ConfigError
from metaseg.store.runs import Store
from metaseg.sweeps.continuation import load_record, study_name
from metaseg.sweeps.dimensions import Choice, Dimension, Float, Integer, Stored
from metaseg.sweeps.journal import open_journal
from metaseg.sweeps.pruners import PrunerSettings, build_pruner
from metaseg.sweeps.samplers import SamplerSettings, build_sampler
from metaseg.sweeps.settings import read_value
from metaseg.sweeps.space import Space
from metaseg.sweeps.sweep import FACTS

WORKERS = 2
"""Number of workers that train trials at the same time."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Point:
    """Result of training one point of a grid: its validated epochs, ascending, up to its last epoch."""

    curve: tuple[tuple[int, float], ...]
    """Epochs and their validation F1."""
    images: int
    """Training images per epoch."""
    seconds: float
    """Duration of an epoch, including validation."""

    @property
    def best(self) -> float:
        """Validation F1 of the best epoch: what the trial is worth."""
        return max(score for _, score in self.curve)

    @property
    def epochs(self) -> int:
        """All of them."""
        return self.curve[-1][0]

    def image_epochs(self, stage: int) -> int:
        """Image-epochs of training from one validation, or from the start, to the next."""
        return self.images * (self.curve[stage][0] - (self.curve[stage - 1][0] if stage else 0))


@dataclass(frozen=True)
class Grid:
    """All points of a space, trained once each."""

    name: str
    space: Space
    validate_every: int
    points: dict[frozenset[tuple[str, Stored]], Point]
    """Points by their settings, as Optuna stores them."""

    @cached_property
    def compute(self) -> int:
        """Image-epochs of the whole grid."""
        return sum(point.images * point.epochs for point in self.points.values())

    @cached_property
    def best(self) -> float:
        """The best point's validation F1."""
        return max(point.best for point in self.points.values())

    @cached_property
    def values(self) -> dict[str, np.ndarray]:
        """The grid's values of each range, ascending."""
        found: dict[str, set[float]] = {
            dimension.name: set() for dimension in self.space.dimensions if not isinstance(dimension, Choice)
        }
        for settings in self.points:
            for name, value in settings:
                if name in found:
                    found[name].add(float(value))
        return {name: np.array(sorted(values)) for name, values in found.items()}

    def nearest(self, params: Mapping[str, Stored]) -> frozenset[tuple[str, Stored]]:
        """The settings of the grid that are nearest to a trial's, in logarithms where orders of magnitude count.

        Raises:
            ConfigError: the grid hasn't trained them.
        """
        settings = frozenset((name, self._snapped(name, value)) for name, value in params.items())
        if settings not in self.points:
            raise ConfigError(f"grid {self.name!r} has no point {dict(settings)}; expected a grid that is complete")
        return settings

    def within(self, margin: float) -> list[frozenset[tuple[str, Stored]]]:
        """Settings whose score is at most `margin` below the best, which is one of them."""
        return [settings for settings, point in self.points.items() if point.best >= self.best - margin]

    def _snapped(self, name: str, value: Stored) -> Stored:
        if name not in self.values:
            return value
        log = next(one.log for one in self.space.dimensions if one.name == name and isinstance(one, Float | Integer))
        values = self.values[name]
        apart = np.abs(np.log(values / float(value)) if log else values - float(value))
        return float(values[int(np.argmin(apart))])


def make_grid(
    name: str, space: Space, validate_every: int, points: Iterable[tuple[Mapping[str, Stored], Point]]
) -> Grid:
    """A grid of settings and what training them gave.

    Raises:
        ConfigError: combinations are missing.
    """
    ranges = {one.name for one in space.dimensions if not isinstance(one, Choice)}
    trained = {
        frozenset((key, float(value) if key in ranges else value) for key, value in params.items()): point
        for params, point in points
    }
    grid = Grid(name, space, validate_every, trained)
    most = max((len(values) for values in grid.values.values()), default=1)
    wanted = len(space.grid(most))
    if len(trained) != wanted:
        raise ConfigError(f"grid {name!r} has {len(trained)} points; expected {wanted}, all combinations")
    return grid


def read_grid(store: Store, name: str) -> Grid:
    """The grid that a sweep with the sampler `grid` has trained.

    Raises:
        ConfigError: there is no such sweep, or not all combinations are complete.
    """
    record = load_record(store, name)
    if record is None:
        raise ConfigError(f"the store {store.where} has no sweep {name!r}")
    study = optuna.load_study(study_name=study_name(record), storage=open_journal(store.storage, name))
    points: list[tuple[Mapping[str, Stored], Point]] = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        facts: dict[str, Any] = trial.user_attrs[FACTS]
        curve = tuple((epoch, score) for epoch, score in facts["curve"])
        epochs = facts["epochs"]
        points.append((trial.params, Point(curve, facts["image_epochs"] // epochs, facts["seconds"] / epochs)))
    return make_grid(name, _space(record), record["schedule"]["validate_every"], points)


def _space(record: Mapping[str, Any]) -> Space:
    """The space that a sweep's record describes."""
    dimensions: list[Dimension] = []
    for name, text in record["space"].items():
        kind: BaseDistribution = json_to_distribution(text)
        other, values = record["conditions"].get(name, (None, ()))
        when = None if other is None else (other, tuple(read_value(other, value) for value in values))
        if isinstance(kind, FloatDistribution):
            dimensions.append(Float(name, kind.low, kind.high, kind.log, when))
        elif isinstance(kind, IntDistribution):
            dimensions.append(Integer(name, kind.low, kind.high, kind.log, kind.step, when))
        else:
            choices = json.loads(text)["attributes"]["choices"]
            dimensions.append(Choice(name, tuple(read_value(name, value) for value in choices), when))
    return Space(tuple(dimensions))


@dataclass(frozen=True)
class Method:
    """A way to search."""

    sampler: str
    pruner: str = "none"
    startup: int = 8


@dataclass(frozen=True)
class Replayed:
    """Result of a replayed sweep."""

    steps: tuple[tuple[float, float], ...]
    """Compute, as a share of the grid's, and the best complete trial's validation F1 from then on; all workers' compute
    counts, also what they are at."""
    trials: int
    pruned: int
    repeats: int
    """Trials of a point that another trial has had."""

    def needed(self, score: float) -> float:
        """Compute, as a share of the grid's, to find a score; infinite where it isn't found."""
        return next((spent for spent, best in self.steps if best >= score), math.inf)


def replay(grid: Grid, method: Method, seed: int, workers: int = WORKERS) -> Replayed:
    """A sweep until it has found the grid's best point, or can't go on with as much compute as the grid has cost.

    As in `metaseg.engine.tuning`: each validation is reported and judged as it is finished, by the clock of the
    recorded seconds, and a worker whose trial has ended begins another, proposed beside those that still run. Every
    trial is paid for, also one of a point that has been tried. A trial counts once it is complete.

    Args:
        grid: what is looked up.
        method: how proposals are made and trials ended.
        seed: of the sampler.
        workers: trials at the same time.
    """
    last = max(point.epochs for point in grid.points.values())
    pruner = PrunerSettings(
        last,
        method.pruner,
        validate_every=grid.validate_every,
    )
    sampler = SamplerSettings(
        grid.space,
        method.sampler,
        seed,
        method.startup,
        grid_points=max((len(values) for values in grid.values.values()), default=1),
    )
    study = optuna.create_study(
        study_name=f"{grid.name}-{seed}",  # hyperband's brackets depend on it
        direction="maximize",
        sampler=build_sampler(sampler),
        pruner=build_pruner(pruner),
    )
    used = promised = 0
    seen: list[frozenset[tuple[str, Stored]]] = []
    steps: list[tuple[float, float]] = []
    pruned = 0
    running: list[tuple[float, int, int, optuna.Trial, Point]] = []

    def train(now: float, stage: int, trial: optuna.Trial, point: Point) -> None:
        """Begin to train up to the next validation."""
        nonlocal used
        cost = point.image_epochs(stage)
        used += cost
        heapq.heappush(running, (now + point.seconds * cost / point.images, trial.number, stage, trial, point))

    def begin(now: float) -> None:
        """Propose a trial and begin it, if it can be finished with the compute that others leave."""
        nonlocal promised
        if promised >= grid.compute:
            return
        trial = study.ask()
        settings = grid.nearest(grid.space.suggest(trial))
        point = grid.points[settings]
        if promised + point.images * point.epochs <= grid.compute:
            promised += point.images * point.epochs
            seen.append(settings)
            train(now, 0, trial, point)

    for _ in range(workers):
        begin(0.0)
    while running and (not steps or steps[-1][1] < grid.best):
        now, _, stage, trial, point = heapq.heappop(running)
        epoch, score = point.curve[stage]
        trial.report(score, pruner.step(epoch, point.epochs))
        ends = trial.should_prune()
        if epoch == point.epochs:
            study.tell(trial, point.best)
            if not steps or point.best > steps[-1][1]:
                steps.append((used / grid.compute, point.best))
        elif ends:
            study.tell(trial, state=TrialState.PRUNED)
            pruned += 1
            promised -= point.images * (point.epochs - epoch)
        else:
            train(now, stage + 1, trial, point)
            continue
        begin(now)
    return Replayed(tuple(steps), len(seen), pruned, len(seen) - len(set(seen)))
