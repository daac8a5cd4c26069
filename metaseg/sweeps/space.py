"""A search space: the settings that a sweep varies, checked before anything is trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial

from metaseg.config import BLOCK_SETTINGS, ArchitectureConfig, ConfigError, NetworkConfig, ScheduleConfig
from metaseg.sweeps.dimensions import Choice, Condition, Dimension, Stored
from metaseg.sweeps.settings import (
    NETWORK_SETTINGS,
    SCHEDULE_SETTINGS,
    check_dimension,
    check_value,
    parse_dimension,
    read_value,
)

if TYPE_CHECKING:  # it imports torch
    from metaseg.study.arms import Arm


@dataclass(frozen=True)
class Space:
    """A search space: dimensions named as fields of `NetworkConfig` or `ScheduleConfig`.

    Values are kept as Optuna keeps them (`params`): those of a setting that is several strings as one, joined by +.
    A dimension that a trial doesn't have leaves its setting as the sweep's own configuration says.

    No combination of values may be refused by the configurations' own checks. Two settings depend on each other:
    `lr_min` is at most `lr_max`. So where both are searched, the highest `lr_min` is at most the lowest `lr_max`.

    Raises:
        ConfigError: no dimension, a name that is no setting or comes twice, values that the setting can't have, a
            condition on a dimension that doesn't come before, ranges of `lr_min` and `lr_max` that overlap.
    """

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise ConfigError("the space has no dimension; expected at least one setting to search")
        before: set[str] = set()
        for dimension in self.dimensions:
            check_dimension(dimension)
            if dimension.name in before:
                raise ConfigError(f"dimension {dimension.name!r} is there twice; expected once")
            if dimension.when is not None:
                other, values = dimension.when
                if other not in before:
                    raise ConfigError(
                        f"dimension {dimension.name!r} depends on {other!r}; expected an earlier dimension: "
                        f"{', '.join(sorted(before)) or 'there is none'}"
                    )
                for value in values:
                    check_value(other, value, f"dimension {dimension.name!r} depends on {other!r}, whose condition")
            before.add(dimension.name)
        lowest, highest = self._find("lr_min"), self._find("lr_max")
        if lowest and highest:
            _check_rates(_end(lowest, max), "lr_min is searched up to", _end(highest, min), "lr_max down to")

    def suggest(self, trial: BaseTrial) -> dict[str, Stored]:
        """The trial's values; those that depend on others only where they exist.

        A trial whose process died between two of them gets the others, when it is opened again.
        """
        params: dict[str, Stored] = {}
        for dimension in self.dimensions:
            if dimension.exists(params):
                params[dimension.name] = dimension.suggest(trial)
        return params

    def settings(
        self, params: Mapping[str, Any], network: NetworkConfig, schedule: ScheduleConfig
    ) -> tuple[NetworkConfig, ScheduleConfig]:
        """The configurations with a trial's values in place of their own.

        Raises:
            ConfigError: a name that is no dimension, or a value that can't be.
        """
        for name in params:
            if self._find(name) is None:
                known = ", ".join(dimension.name for dimension in self.dimensions)
                raise ConfigError(f"parameter {name!r} is no dimension of the space; known: {known}")
        values = {name: read_value(name, value) for name, value in params.items()}
        return (
            replace(network, **{name: value for name, value in values.items() if name in NETWORK_SETTINGS}),
            replace(schedule, **{name: value for name, value in values.items() if name in SCHEDULE_SETTINGS}),
        )

    def check(self, network: NetworkConfig, schedule: ScheduleConfig) -> None:
        """Raise a `ConfigError` where a trial could have settings that can't be, beside those that aren't searched."""
        lowest, highest = self._find("lr_min"), self._find("lr_max")
        if lowest and (highest is None or highest.when):
            _check_rates(_end(lowest, max), "lr_min is searched up to", schedule.lr_max, "lr_max, where it isn't, is")
        if highest and (lowest is None or lowest.when):
            _check_rates(
                schedule.lr_min, "lr_min, where it isn't searched, is", _end(highest, min), "lr_max is down to"
            )

    def changed(self, overrides: Sequence[str]) -> "Space":
        """The space with dimensions as a command line says; their place and condition stay, new ones come last.

        - `lr_max=1e-4..1e-2`: a range; `:log` after it for orders of magnitude, `:linear` for none, else as it was;
          `:step=N` for whole numbers N apart.
        - `shape=cosine,constant`: some values, and `shape=cosine` one; `positions=encoder+decoder,bottleneck`: a value
          that is several strings joins them by +.

        Raises:
            ConfigError: what can't be read, a setting given twice, or a space that can't be.
        """
        dimensions = {dimension.name: dimension for dimension in self.dimensions}
        given: set[str] = set()
        for override in overrides:
            name, equals, text = override.partition("=")
            if not equals or not text:
                raise ConfigError(f"space has {override!r}; expected NAME=LOW..HIGH or NAME=VALUE,VALUE")
            if name in given:
                raise ConfigError(f"dimension {name!r} is given twice; expected once")
            given.add(name)
            dimensions[name] = parse_dimension(name, text, dimensions.get(name))
        return Space(tuple(dimensions.values()))

    def for_arm(self, arm: "Arm", architecture: ArchitectureConfig = ArchitectureConfig()) -> "Space":
        """The space without dimensions that have no effect in the arm, and without those that depend on them.

        These are the fields that the arm's block declares `unused`, the embedding where blocks see no metadata,
        positions where the arm has its own, and settings of metaseg's own networks where the arm's is another.

        Raises:
            ConfigError: none is left.
        """
        block = arm.block_name.block
        dropped = set(block.unused)
        if not block.needs_metadata or arm.metadata_mode in ("absent", "heads"):
            dropped.add("embedding")
        if arm.positions is not None:
            dropped.add("positions")
        from metaseg.networks.build import is_from_elsewhere  # naming the block has imported torch by now

        if is_from_elsewhere(arm.architecture(architecture)):
            dropped |= set(NETWORK_SETTINGS) - set(BLOCK_SETTINGS)
        kept: list[Dimension] = []
        for dimension in self.dimensions:
            if dimension.name in dropped or (dimension.when and dimension.when[0] in dropped):
                dropped.add(dimension.name)
            else:
                kept.append(dimension)
        if not kept:
            names = ", ".join(dimension.name for dimension in self.dimensions)
            raise ConfigError(f"nothing of the space means anything to arm {arm.name!r}: {names}")
        return Space(tuple(kept))

    def grid(self, points: int | None) -> list[dict[str, Stored]]:
        """All combinations, the last dimension fastest; numbers by at most `points` values, None: all whole numbers.

        Raises:
            ConfigError: a range that isn't of whole numbers, and `points` is None.
        """
        rows: list[dict[str, Stored]] = [{}]
        for dimension in self.dimensions:
            values = dimension.grid(points)
            rows = [
                changed
                for row in rows
                for changed in (
                    [{**row, dimension.name: value} for value in values] if dimension.exists(row) else [row]
                )
            ]
        return rows

    def distributions(self) -> dict[str, BaseDistribution]:
        """Each dimension as Optuna describes it."""
        return {dimension.name: dimension.distribution for dimension in self.dimensions}

    def groups(self) -> tuple[tuple[Dimension, ...], ...]:
        """Dimensions that the same trials have; first those of all trials, which may be none."""
        together: dict[frozenset[Condition], list[Dimension]] = {frozenset(): []}
        needs: dict[str, frozenset[Condition]] = {}
        for dimension in self.dimensions:
            if dimension.when is None:
                needs[dimension.name] = frozenset()
            else:
                other = self._find(dimension.when[0])
                assert other is not None
                counted = isinstance(other, Choice) or other.distribution.single()
                having = [dimension.exists({other.name: value}) for value in other.grid(None)] if counted else []
                if other.name not in needs or (having and not any(having)):
                    continue  # no trial has it
                needs[dimension.name] = needs[other.name] | (
                    {dimension.when} if not having or not all(having) else set()
                )
            together.setdefault(needs[dimension.name], []).append(dimension)
        return tuple(tuple(group) for group in together.values())

    def _find(self, name: str) -> Dimension | None:
        return next((dimension for dimension in self.dimensions if dimension.name == name), None)


def _end(dimension: Dimension, which: Callable[[Iterable[float]], float]) -> float:
    return which(float(value) for value in dimension.ends if not isinstance(value, tuple))


def _check_rates(low: float, whose_low: str, high: float, whose_high: str) -> None:
    if low > high:
        raise ConfigError(f"{whose_low} {low} and {whose_high} {high}; expected lr_min at most lr_max in every trial")
