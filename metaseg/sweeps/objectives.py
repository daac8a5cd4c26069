"""Objectives and constraints of a sweep: validation F1, and the cost of a network."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metaseg.config import ConfigError, RunConfig
from metaseg.schema import VAL_F1, Direction

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from metaseg.data.dataset import Dataset

TIMED = 7
"""Number of timed segmentations of an image, of which the median counts."""


@dataclass(frozen=True)
class Objective:
    """A quantity of a trial, and the direction in which it is better."""

    name: str
    direction: Direction


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective
    for objective in (
        Objective(VAL_F1, "maximize"),
        Objective("parameters", "minimize"),
        Objective("flops", "minimize"),
        Objective("seconds_an_image", "minimize"),
    )
}


def find_objective(name: str) -> Objective:
    """Look an objective up by name; raises `ConfigError` that lists the known ones."""
    if name not in OBJECTIVES:
        raise ConfigError(f"unknown objective {name!r}; known: {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def objective_values(names: Sequence[str], reported: Mapping[str, float | None], trial: str) -> list[float]:
    """A trial's objectives in the order of `names`.

    Args:
        names: of the objectives.
        reported: the values that the trial reported, by name.
        trial: the trial's name in messages.

    Raises:
        ConfigError: an objective wasn't reported, or isn't a finite number.
    """
    return [_reported(name, reported, f"objective {name!r} of {trial}") for name in names]


@dataclass(frozen=True)
class Constraint:
    """A limit on a cost of the network."""

    quantity: str
    """Name of the limited quantity (`MEASURES`)."""

    limit: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Parse a constraint, `parameters<=500000`; raises `ConfigError` if it can't be read or limits no cost."""
        name, _, limit = (part.strip() for part in text.partition("<="))
        if name not in MEASURES:
            raise ConfigError(f"constraint is {text!r}; expected NAME<=NUMBER for one of {', '.join(MEASURES)}")
        try:
            constraint = cls(name, float(limit))
        except ValueError:
            raise ConfigError(f"constraint is {text!r}; expected a number after <=") from None
        if not 0 < constraint.limit < math.inf:
            raise ConfigError(f"constraint is {text!r}; expected a limit above 0")
        return constraint

    def __str__(self) -> str:
        return f"{self.quantity}<={self.limit:g}"

    def violation(self, reported: Mapping[str, float | None]) -> float:
        """Relative violation: the trial's value over the limit, minus 1; at most 0 if it is within the limit.

        It is relative so that violations of several constraints can be added up. The sign is Optuna's convention.

        Raises:
            ConfigError: the trial didn't report the quantity, or not as a finite number.
        """
        return _reported(self.quantity, reported, f"constrained quantity {self.quantity!r}") / self.limit - 1


def _reported(name: str, reported: Mapping[str, float | None], what: str) -> float:
    value = reported.get(name)
    if value is None:
        known = ", ".join(name for name, value in reported.items() if value is not None) or "nothing"
        raise ConfigError(f"{what} wasn't reported; expected it among the reported ones: {known}")
    if not math.isfinite(value):
        raise ConfigError(f"{what} is {value}; expected a finite number")
    return float(value)


def measure(name: str, config: RunConfig, dataset: "Dataset", device: "torch.device") -> float:
    """Measure a cost of a run's network, freshly initialised, for one image of the crop's size.

    Args:
        name: name of the quantity (`MEASURES`).
        config: the run's configuration.
        dataset: the dataset, for its channels, classes and size of metadata.
        device: the device that times are measured on, with one thread if it is a CPU.

    Raises:
        ConfigError: the name is unknown, or the network is impossible.
    """
    import torch

    from metaseg.device import one_thread
    from metaseg.training.fit import build_network, encode_metadata

    if name not in MEASURES:
        raise ConfigError(f"unknown quantity {name!r}; known: {', '.join(MEASURES)}")
    size = encode_metadata(config, dataset)[1].shape[1]
    model = build_network(config, dataset.channels, len(dataset.classes), size).to(device).eval()
    crop = config.schedule.crop
    image = torch.zeros(1, dataset.channels, crop, crop, device=device)
    with one_thread(device), torch.inference_mode():
        return MEASURES[name](model, image, torch.zeros(1, size, device=device))


def _parameters(model: "nn.Module", image: "Tensor", metadata: "Tensor") -> float:
    """Number of trained weights and biases."""
    return float(sum(parameter.numel() for parameter in model.parameters()))


def _flops(model: "nn.Module", image: "Tensor", metadata: "Tensor") -> float:
    """Floating-point operations of convolutions and matrix products; a multiplication with its addition counts two."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(image, metadata)
    return float(counter.get_total_flops())


def _seconds_an_image(model: "nn.Module", image: "Tensor", metadata: "Tensor") -> float:
    """Median time of a forward pass in seconds, after one that isn't counted."""
    import torch

    seconds = []
    for _ in range(1 + TIMED):
        began = time.perf_counter()
        model(image, metadata)
        if image.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


MEASURES: dict[str, Callable[["nn.Module", "Tensor", "Tensor"], float]] = {
    "parameters": _parameters,
    "flops": _flops,
    "seconds_an_image": _seconds_an_image,
}
"""Measurable costs of a network, each a function of network, `(1, channels, H, W)` image and `(1, M)` metadata."""
