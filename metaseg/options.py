"""Command-line options of every study, made from typed configuration: a field is an option, its docstring the help."""

import os
import sys
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import tyro

from metaseg.config import ConfigError, DataConfig, EngineConfig, NetworkConfig, ScheduleConfig

_NO_PREFIX = tyro.conf.arg(name="")
NetworkOptions = Annotated[NetworkConfig, _NO_PREFIX]
ScheduleOptions = Annotated[ScheduleConfig, _NO_PREFIX]
DataOptions = Annotated[DataConfig, _NO_PREFIX]
EngineOptions = Annotated[EngineConfig, _NO_PREFIX]
"""Groups of settings whose options carry no prefix: `--epochs` instead of `--schedule.epochs`."""


def default_storage() -> str:
    """`METASEG_STORE`, else `~/metaseg-store`: one place wherever a command runs, also under `ray job submit`."""
    return os.environ.get("METASEG_STORE", "~/metaseg-store")


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """Options that every study has."""

    arms: tuple[str, ...] = ("baseline", "me", "sme", "sme-dummy", "film")
    """Arms to train; baseline must be one of them."""

    seeds: int = 3
    """How many seeds an arm is trained with: 0, 1, 2 ..."""

    storage: str = field(default_factory=default_storage)
    """Folder or bucket (s3://..., gs://...) where runs are kept. A run that is there already is never trained again."""

    dry_run: bool = False
    """List the runs, their ids and which are done; train nothing."""

    network: NetworkOptions = field(default_factory=NetworkConfig)
    schedule: ScheduleOptions = field(default_factory=ScheduleConfig)
    data: DataOptions = field(default_factory=DataConfig)
    engine: EngineOptions = field(default_factory=EngineConfig)


Options = TypeVar("Options", bound=StudyOptions)


def parse(page: type[Options], description: str | None) -> Options:
    """A page's options from the command line; a setting that can't be ends the process with a line and code 2."""
    try:
        return tyro.cli(page, description=description)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
