"""Dimensions of a search space: a range or some values of one setting, and in which trials it is searched."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from metaseg.config import ConfigError

Value = str | int | float | tuple[str, ...]
"""What a setting can be."""

Stored = str | int | float
"""What Optuna keeps of a value: several strings are one, joined by +."""

Condition = tuple[str, tuple[Value, ...]]
"""An earlier dimension's name, and its values for which this dimension is searched."""


def stored(value: Value | list[str]) -> Stored:
    """What Optuna keeps of a value; JSON's lists are tuples."""
    return "+".join(value) if isinstance(value, tuple | list) else value


class Dimension(ABC):
    """One setting that is searched: the base of `Float`, `Integer` and `Choice`.

    As a string it is what a command line gives (`Space.changed`), without its condition.
    """

    name: str
    when: Condition | None

    @property
    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """As Optuna describes it."""

    @property
    @abstractmethod
    def ends(self) -> tuple[Value, ...]:
        """Lowest and highest value, or all values."""

    @abstractmethod
    def suggest(self, trial: BaseTrial) -> Stored:
        """The trial's value."""

    @abstractmethod
    def at(self, share: float) -> Stored:
        """The value below which `share`, from 0 to 1, of the dimension lies: uniform shares give uniform values."""

    @abstractmethod
    def grid(self, points: int | None) -> list[Stored]:
        """At most `points` values over the whole range, ascending; all of those that can be counted where it is None.

        Raises:
            ConfigError: there is no end to them, and `points` is None.
        """

    def exists(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial with these values of earlier dimensions, as Optuna keeps them, has this one."""
        return self.when is None or params.get(self.when[0]) in [stored(value) for value in self.when[1]]

    def stored(self, value: Any) -> Stored:
        """What Optuna keeps of a value of this dimension's setting."""
        return stored(value)


@dataclass(frozen=True)
class Float(Dimension):
    """A setting that is any number from `low` to `high`."""

    name: str
    low: float
    high: float
    log: bool = False
    """Whether orders of magnitude count: from 1e-4 to 1e-3 is as far as from 1e-3 to 1e-2."""
    when: Condition | None = None

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log)

    def __str__(self) -> str:
        return f"{self.name}={self.low}..{self.high}{':log' if self.log else ''}"

    @property
    def distribution(self) -> FloatDistribution:
        """As Optuna describes it."""
        return FloatDistribution(self.low, self.high, log=self.log)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Lowest and highest value."""
        return self.low, self.high

    def suggest(self, trial: BaseTrial) -> float:
        """The trial's value."""
        return trial.suggest_float(self.name, self.low, self.high, log=self.log)

    def at(self, share: float) -> float:
        """The value below which `share` of the range lies."""
        if self.log:
            value = math.exp(_between(math.log(self.low), math.log(self.high), share))
        else:
            value = _between(self.low, self.high, share)
        return float(min(max(value, self.low), self.high))

    def share(self, value: float) -> float:
        """The share of the range that lies below a value: the reverse of `at`."""
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def grid(self, points: int | None) -> list[Stored]:
        """`points` values, evenly spaced (geometrically where orders of magnitude count); one is the middle."""
        if self.low == self.high:
            return [float(self.low)]
        if points is None:
            raise ConfigError(f"dimension {self.name!r} is a range; expected how many points of it a grid has")
        return [self.at(share) for share in _shares(points)]

    def stored(self, value: Any) -> Stored:
        """What Optuna keeps of a value."""
        return float(value)


@dataclass(frozen=True)
class Integer(Dimension):
    """A setting that is a whole number from `low` to `high`."""

    name: str
    low: int
    high: int
    log: bool = False
    """Whether orders of magnitude count."""
    step: int = 1
    """Between neighbours; the highest is so many steps above the lowest."""
    when: Condition | None = None

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log)
        if self.step < 1 or (self.high - self.low) % self.step:
            raise ConfigError(
                f"dimension {self.name!r} goes from {self.low} to {self.high} by steps of {self.step}; expected steps "
                "of at least 1 that lead from one to the other"
            )
        if self.log and self.step > 1:
            raise ConfigError(f"dimension {self.name!r} has log and steps of {self.step}; expected one of the two")

    def __str__(self) -> str:
        apart = f":step={self.step}" if self.step > 1 else ""
        return f"{self.name}={self.low}..{self.high}{':log' if self.log else apart}"

    @property
    def distribution(self) -> IntDistribution:
        """As Optuna describes it."""
        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Lowest and highest value."""
        return self.low, self.high

    def suggest(self, trial: BaseTrial) -> int:
        """The trial's value."""
        return trial.suggest_int(self.name, self.low, self.high, log=self.log, step=self.step)

    def at(self, share: float) -> int:
        """The value below or at which `share` of the range lies; each has as much of it (log: as its logarithm has)."""
        if self.log:
            value = round(math.exp(_between(*self._log_ends, share)))
        else:
            value = self.low + self.step * math.floor(share * self._count)
        return min(max(value, self.low), self.high)

    def share(self, value: int) -> float:
        """The middle of a value's share of the range: `at` gives the value back."""
        if self.log:
            low, high = self._log_ends
            return (math.log(value) - low) / (high - low)
        return ((value - self.low) / self.step + 0.5) / self._count

    def grid(self, points: int | None) -> list[Stored]:
        """At most `points` values, evenly spaced (geometrically where orders of magnitude count); None: all."""
        if points is None or (points >= self._count and not self.log):
            return list(range(self.low, self.high + 1, self.step))
        smooth = Float(self.name, self.low, self.high, self.log).grid(points)
        steps = {round((float(value) - self.low) / self.step) for value in smooth}
        return [self.low + self.step * step for step in sorted(steps)]

    def stored(self, value: Any) -> Stored:
        """What Optuna keeps of a value."""
        return int(value)

    @property
    def _count(self) -> int:
        return (self.high - self.low) // self.step + 1

    @property
    def _log_ends(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)


@dataclass(frozen=True)
class Choice(Dimension):
    """A setting that is one of some values, without order."""

    name: str
    values: tuple[Value, ...]
    when: Condition | None = None

    def __post_init__(self) -> None:
        if not self.values:
            raise ConfigError(f"dimension {self.name!r} has no values; expected at least one")
        if len(set(self.values)) < len(self.values):
            raise ConfigError(f"dimension {self.name!r} has values {self.values}; expected each only once")

    def __str__(self) -> str:
        return f"{self.name}={','.join(str(value) for value in self._stored)}"

    @property
    def distribution(self) -> CategoricalDistribution:
        """As Optuna describes it."""
        return CategoricalDistribution(self._stored)

    @property
    def ends(self) -> tuple[Value, ...]:
        """All values."""
        return self.values

    def suggest(self, trial: BaseTrial) -> Stored:
        """The trial's value."""
        return cast(Stored, trial.suggest_categorical(self.name, self._stored))

    def at(self, share: float) -> Stored:
        """One of the values, each for as much of 0 to 1."""
        return self._stored[min(math.floor(share * len(self.values)), len(self.values) - 1)]

    def grid(self, points: int | None) -> list[Stored]:
        """All values: they have no order in which some could be left out."""
        return list(self._stored)

    @property
    def _stored(self) -> tuple[Stored, ...]:
        return tuple(stored(value) for value in self.values)


def _check_range(name: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ConfigError(
            f"dimension {name!r} goes from {low} to {high}; expected numbers, the first at most the second"
        )
    if log and low <= 0:
        raise ConfigError(f"dimension {name!r} goes from {low} to {high} by orders of magnitude; expected both above 0")


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share


def _shares(points: int) -> list[float]:
    """So many numbers from 0 to 1, evenly spaced; one is the middle."""
    if points < 1:
        raise ConfigError(f"points of a grid are {points}; expected at least 1")
    return [0.5] if points == 1 else [i / (points - 1) for i in range(points)]
