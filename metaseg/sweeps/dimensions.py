"""Dimensions of a search space: a range or some values of one setting, and the trials that search it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial

from metaseg.config import ConfigError

Value = str | int | float | tuple[str, ...]
"""A setting's value."""

Stored = str | int | float
"""A value as Optuna stores it: several strings are joined by +."""

Condition = tuple[str, tuple[Value, ...]]
"""An earlier dimension's name, and its values for which this dimension is searched."""


def stored(value: Value | list[str]) -> Stored:
    """Convert a value to the form that Optuna stores; lists, as JSON has them, count as tuples."""
    return "+".join(value) if isinstance(value, tuple | list) else value


class Dimension(ABC):
    """A setting that is searched: the base of `Float`, `Integer` and `Choice`.

    Its string is its form on a command line (`Space.changed`), without its condition.
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
        """The value below which a fraction `share`, from 0 to 1, of the dimension lies: a quantile function."""

    @abstractmethod
    def grid(self, points: int | None) -> list[Stored]:
        """At most `points` values over the whole range, ascending; all values if `points` is None.

        Raises:
            ConfigError: the range has infinitely many values, and `points` is None.
        """

    def exists(self, params: Mapping[str, Any]) -> bool:
        """Return True if a trial with these values of earlier dimensions, as Optuna stores them, has this one."""
        return self.when is None or params.get(self.when[0]) in [stored(value) for value in self.when[1]]

    def stored(self, value: Any) -> Stored:
        """Convert a value of this dimension's setting to the form that Optuna stores."""
        return stored(value)


@dataclass(frozen=True)
class Float(Dimension):
    """A setting that can be any number from `low` to `high`."""

    name: str
    low: float
    high: float
    log: bool = False
    """True for a logarithmic scale: from 1e-4 to 1e-3 is as far as from 1e-3 to 1e-2."""
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
        """The value below which a fraction `share` of the range lies."""
        if self.log:
            value = math.exp(_between(math.log(self.low), math.log(self.high), share))
        else:
            value = _between(self.low, self.high, share)
        return float(min(max(value, self.low), self.high))

    def share(self, value: float) -> float:
        """The fraction of the range that lies below a value: the inverse of `at`."""
        if self.low == self.high:
            return 0.5
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def grid(self, points: int | None) -> list[Stored]:
        """`points` values, evenly spaced (on the logarithmic scale if `log`); a single one is the middle."""
        if self.low == self.high:
            return [float(self.low)]
        if points is None:
            raise ConfigError(f"dimension {self.name!r} is a range of any numbers; expected a number of grid points")
        return [self.at(share) for share in _shares(points)]

    def stored(self, value: Any) -> Stored:
        """Convert a value to the form that Optuna stores."""
        return float(value)


@dataclass(frozen=True)
class Integer(Dimension):
    """A setting that can be a whole number from `low` to `high`."""

    name: str
    low: int
    high: int
    log: bool = False
    """True for a logarithmic scale."""
    step: int = 1
    """Difference between neighbouring values; `high` is a whole number of steps above `low`."""
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
        """The value at a fraction `share` of the range, in which each value has an equal part (on its scale)."""
        if self.log:
            value = round(math.exp(_between(*self._log_ends, share)))
        else:
            value = self.low + self.step * math.floor(share * self._count)
        return min(max(value, self.low), self.high)

    def share(self, value: int) -> float:
        """The middle of a value's part of the range: `at` gives the value back."""
        if self.log:
            low, high = self._log_ends
            return (math.log(value) - low) / (high - low)
        return ((value - self.low) / self.step + 0.5) / self._count

    def grid(self, points: int | None) -> list[Stored]:
        """At most `points` values, evenly spaced (on the logarithmic scale if `log`); all if `points` is None."""
        if points is None or (points >= self._count and not self.log):
            return list(range(self.low, self.high + 1, self.step))
        smooth = Float(self.name, self.low, self.high, self.log).grid(points)
        steps = {round((float(value) - self.low) / self.step) for value in smooth}
        return [self.low + self.step * step for step in sorted(steps)]

    def stored(self, value: Any) -> Stored:
        """Convert a value to the form that Optuna stores."""
        return int(value)

    @property
    def _count(self) -> int:
        return (self.high - self.low) // self.step + 1

    @property
    def _log_ends(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)


@dataclass(frozen=True)
class Choice(Dimension):
    """A setting that can be one of some values, without order."""

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
        """The value at a fraction `share`; each value has an equal part of 0 to 1."""
        return self._stored[min(math.floor(share * len(self.values)), len(self.values) - 1)]

    def grid(self, points: int | None) -> list[Stored]:
        """All values, since they have no order by which some could be left out."""
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
    """Evenly spaced numbers from 0 to 1; a single one is the middle."""
    if points < 1:
        raise ConfigError(f"the number of grid points is {points}; expected at least 1")
    return [0.5] if points == 1 else [i / (points - 1) for i in range(points)]
