"""Command-line options of every study, made from typed configuration: a field is an option, its docstring the help.

This module imports nothing slow, so that help and wrong options are answered at once.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from metaseg.cli.option_file import read_file, several_values, with_file
from metaseg.command_line import misused, tell_version
from metaseg.config import (
    ArchitectureConfig,
    ConfigError,
    DataConfig,
    EngineConfig,
    LossConfig,
    NetworkConfig,
    ScheduleConfig,
)
from metaseg.packages import install
from metaseg.schema import ExtraScore
from metaseg.store.address import shown
from metaseg.tracking.names import TrackerName

_NO_PREFIX = tyro.conf.arg(name="")
NetworkOptions = Annotated[NetworkConfig, _NO_PREFIX]
ArchitectureOptions = Annotated[ArchitectureConfig, _NO_PREFIX]
ScheduleOptions = Annotated[ScheduleConfig, _NO_PREFIX]
LossOptions = Annotated[LossConfig, _NO_PREFIX]
DataOptions = Annotated[DataConfig, _NO_PREFIX]
EngineOptions = Annotated[EngineConfig, _NO_PREFIX]
"""Groups of settings whose options carry no prefix: `--epochs` instead of `--schedule.epochs`."""


Preset = Literal["quick", "small", "paper"]

REQUIRED: Any = tyro.MISSING
"""Value, in a preset, of an option that must be given."""


def default_storage() -> str:
    """`METASEG_STORE`, else `~/metaseg-store`: the same place wherever a command runs, also under `ray job submit`."""
    return os.environ.get("METASEG_STORE", "~/metaseg-store")


def _default_shown(default: str) -> str:
    return f"(default: {shown(default)})"


_STORAGE = tyro.conf.arg(help_behavior_hint=_default_shown)
"""METASEG_STORE may hold secrets, which help mustn't show."""

_EXTRA_SCORES = tyro.conf.arg(
    help="Score test images by these too after training (`metaseg score` does it later): surface-dice within 2 pixels, "
    f"hd95, objects. The first two need {install('scores')}."
)


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options that every study has."""

    preset: Preset = "quick"
    """Defaults of the other options: quick (minutes on two CPU cores), small (for one GPU) or paper (as published)."""

    config: Path | None = None
    """TOML or YAML file of options, such as a report's config.toml: their names without dashes, epochs = 30. Options
    on the command line override the file, which overrides the preset."""

    arms: tuple[str, ...] = ("baseline", "me", "sme", "sme-dummy", "film")
    """Arms to train. The arm that the others are compared with must be among them."""

    seeds: int = 3
    """Number of seeds per arm: 0, 1, 2 ... With --until-decided, those of the first look."""

    until_decided: bool = False
    """Look at the results after --seeds seeds, and add seeds only to comparisons that are still open, until each is
    decided (helps, hurts, equal), further seeds are futile, or it has --max-seeds. p-values allow for all looks."""

    max_seeds: int = 20
    """Most seeds per arm with --until-decided; after the first look, others are at 3, 5, 8, 12, 20, 30 ... seeds."""

    crossed_seeds: bool = False
    """Let runs of equal seed start from the same weights outside blocks, and test them as pairs. They see the same
    crops in the same order anyway."""

    equal_steps: bool = False
    """Train networks that see a part of the images, such as one cell line's, for as many more epochs as let them see as
    many crops as the network on most images: else they differ in the length of their training too."""

    metadata_dropout: float | None = None
    """Probability with which arms called robust are told in training, epoch by epoch, that a sample's metadata aren't
    known (default: the arm's, 0.2)."""

    storage: Annotated[str, _STORAGE] = field(default_factory=default_storage)
    """Folder or bucket (s3://..., gs://...) where runs are kept. A finished run is never trained again."""

    dry_run: bool = False
    """List the runs, their ids and which are done, with parameters, memory and time estimated from a few real steps.
    Trains nothing."""

    extra_scores: Annotated[tuple[ExtraScore, ...], _EXTRA_SCORES] = ()

    track: tuple[TrackerName, ...] = ()
    """Show training in these too: tensorboard, mlflow, wandb, trackio, as their own environment variables say
    (MLFLOW_TRACKING_URI, WANDB_MODE ...), by default in the store's folder tracking/. `metaseg track` does it later."""

    architecture: ArchitectureOptions = field(default_factory=ArchitectureConfig)
    network: NetworkOptions = field(default_factory=NetworkConfig)
    schedule: ScheduleOptions = field(default_factory=ScheduleConfig)
    loss: LossOptions = field(default_factory=LossConfig)

    early_stopping: int | None = None
    """End a run's training when so many validations in a row had no better F1 than before. The learning rate's course
    stays that of all --epochs."""

    data: DataOptions = field(default_factory=DataConfig)
    engine: EngineOptions = field(default_factory=EngineConfig)


Options = TypeVar("Options", bound=StudyOptions)


def parse(presets: Mapping[Preset, Options], description: str | None) -> Options:
    """Options of a page: those of the command line, else of the file that `--config` names, else of the preset.

    A wrong option or setting ends the process with a message and code 2, `--version` and `--help` with code 0.
    """
    if "--version" in sys.argv[1:]:
        tell_version("metaseg")
    given = [argument.partition("=")[0].replace("_", "-") for argument in sys.argv[1:]]
    for name in several_values(type(next(iter(presets.values())))):
        if given.count(name) > 1:  # tyro would forget all but the last
            misused(f"{name} is given twice; expected once, with all its values after it")
    try:
        default = _default(presets)
        about = f"{(description or '').rstrip()}\n\n`--version` prints the version."
        return tyro.cli(type(default), default=default, description=about)
    except ConfigError as error:
        misused(str(error))


def _default(presets: Mapping[Preset, Options]) -> Options:
    """Values of options that the command line doesn't give: the preset's, or the file's."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", choices=presets)
    first.add_argument("--config", type=Path)
    try:
        chosen = first.parse_known_args()[0]
    except argparse.ArgumentError:
        chosen = argparse.Namespace(preset=None, config=None)  # tyro says what is wrong
    content = {} if chosen.config is None else read_file(chosen.config)
    preset: Preset = chosen.preset or content.get("preset", "quick")
    if not isinstance(preset, str) or preset not in presets:
        raise ConfigError(f"{chosen.config}: preset is {preset!r}; expected one of {', '.join(presets)}")
    default = replace(presets[preset], preset=preset)
    if not content:
        return default
    return with_file(default, {**content, "preset": preset}, chosen.config)
