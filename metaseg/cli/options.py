"""Command-line options of every study, made from typed configuration: a field is an option, its docstring the help."""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

import tyro

from metaseg.config import ConfigError, DataConfig, EngineConfig, ExtraScore, NetworkConfig, ScheduleConfig
from metaseg.store.address import shown
from metaseg.terminal import revealed

_NO_PREFIX = tyro.conf.arg(name="")
NetworkOptions = Annotated[NetworkConfig, _NO_PREFIX]
ScheduleOptions = Annotated[ScheduleConfig, _NO_PREFIX]
DataOptions = Annotated[DataConfig, _NO_PREFIX]
EngineOptions = Annotated[EngineConfig, _NO_PREFIX]
"""Groups of settings whose options carry no prefix: `--epochs` instead of `--schedule.epochs`."""


Preset = Literal["quick", "small", "paper"]

REQUIRED: Any = tyro.MISSING
"""The value, in a preset, of an option that has to be given."""


def default_storage() -> str:
    """`METASEG_STORE`, else `~/metaseg-store`: one place wherever a command runs, also under `ray job submit`."""
    return os.environ.get("METASEG_STORE", "~/metaseg-store")


def _default_shown(default: str) -> str:
    return f"(default: {shown(default)})"


_STORAGE = tyro.conf.arg(help_behavior_hint=_default_shown)
"""METASEG_STORE may hold what help isn't to show."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options that every study has."""

    preset: Preset = "quick"
    """What the other options are unless they are given: quick (minutes on two CPU cores), small (for one GPU) or
    paper (the paper's own)."""

    arms: tuple[str, ...] = ("baseline", "me", "sme", "sme-dummy", "film")
    """Arms to train; the one that the others are compared with must be among them."""

    seeds: int = 3
    """How many seeds an arm is trained with: 0, 1, 2 ..."""

    storage: Annotated[str, _STORAGE] = field(default_factory=default_storage)
    """Folder or bucket (s3://..., gs://...) where runs are kept. A run that is there already is never trained again."""

    dry_run: bool = False
    """List the runs, their ids and which are done, with parameters, memory and time estimated from a few real steps;
    train nothing."""

    extra_scores: tuple[ExtraScore, ...] = ()
    """Score test images by these too when all is trained (metaseg score does it later): surface-dice within 2 pixels,
    hd95, objects. The first two need pip install 'metaseg[scores]'."""

    network: NetworkOptions = field(default_factory=NetworkConfig)
    schedule: ScheduleOptions = field(default_factory=ScheduleConfig)
    data: DataOptions = field(default_factory=DataConfig)
    engine: EngineOptions = field(default_factory=EngineConfig)


Options = TypeVar("Options", bound=StudyOptions)


def several_values(options: type[StudyOptions]) -> list[str]:
    """Names, as on the command line, of a page's own options that take several values."""
    kinds = get_type_hints(options)
    return [f"--{name.replace('_', '-')}" for name, kind in kinds.items() if get_origin(kind) is tuple]


def parse(presets: Mapping[Preset, Options], description: str | None) -> Options:
    """A page's options: the command line's, and for the rest those of the preset that it names.

    A setting that can't be ends the process with a line and code 2.
    """
    given = [argument.partition("=")[0].replace("_", "-") for argument in sys.argv[1:]]
    for name in several_values(type(next(iter(presets.values())))):  # tyro would forget all but the last
        if given.count(name) > 1:
            print(f"error: {name} is given twice; expected once, with all its values after it", file=sys.stderr)
            raise SystemExit(2)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", choices=presets, default="quick")
    try:
        preset: Preset = first.parse_known_args()[0].preset
    except argparse.ArgumentError:
        preset = "quick"  # tyro says what is wrong
    default = replace(presets[preset], preset=preset)
    try:
        return tyro.cli(type(default), default=default, description=description)
    except ConfigError as error:
        print(revealed(f"error: {error}"), file=sys.stderr)
        raise SystemExit(2) from None
