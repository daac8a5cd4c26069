"""The declaration of a study, made when it was started: its runs, and how they are compared."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, get_args

import pandas as pd

from metaseg.config import ConfigError
from metaseg.schema import MARGIN, Average, Claim, Empty, Seeds, study_file
from metaseg.store.storage import Storage

LARGEST = 2**53
"""Largest seed or count: floating-point numbers represent every integer up to here."""

HALF = re.compile(rb"\\u[dD][89a-fA-F]")
"""An unpaired surrogate: valid in JSON, but it can't be encoded as UTF-8."""


class ResultsError(ValueError):
    """Results that can't be used. The message names the file and what is wrong with it.

    Example:
        >>> from analysis import read_results
        >>> read_results("nothing-here", "cells")
        Traceback (most recent call last):
            ...
        analysis.results.declaration.ResultsError: unknown study 'cells' in ...
    """


@dataclass(frozen=True)
class Run:
    """A run that a study asks for, finished or not."""

    run_id: str
    arm: str
    seed: int
    part: str = ""
    """The part of the data that the run is trained and tested on, where its arm consists of several networks."""
    fold: str = ""
    """Name of the fold that the run is tested on; empty in a study with one split."""

    def __str__(self) -> str:
        parts = "".join(f" {name} {value}" for name, value in (("part", self.part), ("fold", self.fold)) if value)
        return f"{self.arm} seed {self.seed}{parts} ({self.run_id})"


@dataclass(frozen=True)
class Comparison:
    """A comparison of an arm with a reference, declared before the study started.

    Example:
        >>> from analysis import Comparison
        >>> Comparison("sme", "baseline")
        Comparison(arm='sme', reference='baseline', claim='differs')
    """

    arm: str
    reference: str
    claim: Claim = "differs"


@dataclass(frozen=True)
class Study:
    """The declaration of a study, made when it was started."""

    name: str
    dataset: str
    baseline: str
    arms: tuple[str, ...]
    """Arms in the order of display."""
    runs: tuple[Run, ...]
    command: str
    about: str = ""
    """One sentence on the data, which says SIMULATED if they are; empty if the study has none."""
    average: Average = "images"
    comparisons: tuple[Comparison, ...] = ()
    """Comparisons that were declared beforehand; all others are exploratory."""
    empty: Empty = "one"
    margin: float = MARGIN
    """Equivalence margin: arms whose scores differ by less count as equal."""
    endpoint: str | None = None
    """Class that the study is about; with several classes, their macro average by default."""
    seeds: Seeds = "nested"
    """`crossed` where runs of equal seed were declared to be pairs, which differ by the arm alone."""
    sequential: Mapping[str, Any] | None = None
    """Its rule, if seeds are added until comparisons are decided: `analysis.results.looks.Rule` reads it."""
    looked_at: tuple[int, ...] = ()
    """Numbers of seeds at which runs were reported on before more were added without a rule, or before the rule."""
    untold: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Values of test images that training lacks, for which networks are given zeros: by metadata column and fold."""
    networks: Mapping[str, str] = field(default_factory=dict)
    """Networks of arms that aren't metaseg's U-Net, in words, by arm."""

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of its folds, in order; empty where it has one split."""
        names = {run.fold for run in self.runs} - {""}
        return tuple(sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name)))


def study_names(storage: Storage) -> list[str]:
    """Names of the store's studies, sorted; raises `ResultsError` where there is none."""
    files = storage.names("studies")
    names = sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))
    if not names:
        raise ResultsError(f"{storage.locate('studies')}: no study there")
    return names


def readable_studies(storage: Storage, warn: Callable[[str], None]) -> list[str]:
    """Names of the store's studies, as `readable`."""
    return readable(storage, {name: study_file(name) for name in study_names(storage)}, ("arms", "runs"), warn)


def readable(storage: Storage, files: Mapping[str, str], keys: Sequence[str], warn: Callable[[str], None]) -> list[str]:
    """Names of the files that are records, valid or not; `warn` is called with one line for each of the others.

    Args:
        storage: of the files.
        files: by name.
        keys: what each record has.
        warn: told of what can't be read: others may have left it.

    Raises:
        ResultsError: there is no record.
    """
    found, problems = [], []
    for name, file in files.items():
        path = storage.locate(file)
        try:
            record = read_json(storage.read(file), path)
            if lacking := [key for key in keys if key not in record]:
                raise ResultsError(f"{path}: not a record: no {lacking[0]!r}")
            found.append(name)
        except (ConfigError, OSError, ResultsError) as error:
            problems.append(str(error))
    if not found:
        raise ResultsError(problems[0])
    for problem in problems:
        warn(problem)
    return found


def read_study(storage: Storage, name: str) -> Study:
    """Read what a study declared; raises `ResultsError` for an unknown or malformed one."""
    names = study_names(storage)
    if name not in names:
        raise ResultsError(f"unknown study {name!r} in {storage.where}; known: {', '.join(names)}")
    file = study_file(name)
    path = storage.locate(file)
    record = read_json(storage.read(file), path)
    try:
        runs = tuple(
            Run(run["run_id"], run["arm"], run["seed"], run.get("part") or "", _fold(run))
            for run in _objects(record["runs"])
        )
        arms, baseline = tuple(record["arms"]), record["baseline"]
        declared = record.get("comparisons", [{"arm": arm, "reference": baseline} for arm in arms if arm != baseline])
        study = Study(
            name=name,
            dataset=record["dataset"],
            baseline=baseline,
            arms=arms,
            runs=runs,
            command=record["command"],
            about=record.get("about") or "",
            average=record.get("average", "images"),
            comparisons=tuple(Comparison(**comparison) for comparison in _objects(declared)),
            empty=record.get("empty", "one"),
            margin=record.get("margin", MARGIN),
            endpoint=record.get("endpoint"),
            seeds=record.get("seeds", "nested"),
            sequential=record.get("sequential"),
            looked_at=tuple(record.get("looked_at", ())),
            untold=record.get("untold", {}),
            networks=record.get("networks", {}),
        )
    except (KeyError, TypeError) as error:
        raise ResultsError(f"{path}: not a study's record: {error!r}") from error
    check_study(study, path)
    return study


def _fold(run: Mapping[str, Any]) -> Any:
    """Entry of the record, which may not be text yet; empty where there is none."""
    return "" if run.get("fold") is None else run["fold"]


def _objects(value: object) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise TypeError(f"{value!r:.60} isn't a list of objects")
    return value


def check_study(study: Study, path: str) -> None:
    """Raises `ResultsError` for anything in a study's record that can't be meant; `path` is the record's."""
    texts = [study.name, study.dataset, study.baseline, study.command, study.about, *study.arms]
    texts += [text for run in study.runs for text in (run.run_id, run.arm, run.part, run.fold)]
    texts += [text for each in study.comparisons for text in (each.arm, each.reference)]
    if wrong := [text for text in [*texts, study.endpoint or ""] if not isinstance(text, str)]:
        raise ResultsError(f"{path}: a name is {wrong[0]!r:.60}; expected text")
    if seeds := [run.seed for run in study.runs if type(run.seed) is not int or abs(run.seed) > LARGEST]:
        raise ResultsError(f"{path}: a seed is {seeds[0]!r:.60}; expected a whole number")
    for key, value, known in (
        ("average", study.average, Average),
        ("empty", study.empty, Empty),
        ("seeds", study.seeds, Seeds),
    ):
        if value not in get_args(known):
            raise ResultsError(f"{path}: {key} is {value!r:.60}; expected one of {', '.join(get_args(known))}")
    if len(set(study.arms)) < len(study.arms):
        raise ResultsError(f"{path}: arms are {', '.join(study.arms)}; expected each once")
    if study.sequential is not None and not isinstance(study.sequential, dict):
        raise ResultsError(f"{path}: sequential is {study.sequential!r:.60}; expected an object")
    if not all(type(seeds) is int for seeds in study.looked_at):
        raise ResultsError(f"{path}: looked_at is {list(study.looked_at)!r:.60}; expected whole numbers")
    if not isinstance(study.untold, dict) or not all(isinstance(each, dict) for each in study.untold.values()):
        raise ResultsError(f"{path}: untold is {study.untold!r:.60}; expected objects by column, of values by fold")
    if not isinstance(study.networks, dict) or not all(isinstance(each, str) for each in study.networks.values()):
        raise ResultsError(f"{path}: networks is {study.networks!r:.60}; expected texts by arm")
    _check_comparisons(study, path)
    check_runs(study, path)


def _check_comparisons(study: Study, path: str) -> None:
    """Each is of two arms of the study, is there once and claims something known; the margin is a number above 0."""
    for comparison in study.comparisons:
        for arm in (comparison.arm, comparison.reference):
            if arm not in study.arms:
                raise ResultsError(f"{path}: compares arm {arm!r}, which isn't among {', '.join(study.arms)}")
        if comparison.claim not in get_args(Claim):
            raise ResultsError(f"{path}: claim is {comparison.claim!r}; expected one of {', '.join(get_args(Claim))}")
    pairs = [(comparison.arm, comparison.reference) for comparison in study.comparisons]
    if len(set(pairs)) < len(pairs):
        raise ResultsError(f"{path}: compares two arms twice; expected each comparison once")
    if type(study.margin) not in (int, float) or not 0 < study.margin < float("inf"):
        raise ResultsError(f"{path}: margin is {study.margin!r}; expected a number above 0")


def check_runs(study: Study, path: str) -> None:
    """Each run is there once, belongs to an arm, and is a folder's name; an arm has parts, a study folds, or none."""
    columns = ["run_id", "arm", "seed", "part", "fold"]
    table = pd.DataFrame([(run.run_id, run.arm, run.seed, run.part, run.fold) for run in study.runs], columns=columns)
    for key in (["run_id"], ["arm", "seed", "part", "fold"]):
        repeated = table[table.duplicated(key)]
        if len(repeated):
            raise ResultsError(f"{path}: run {study.runs[repeated.index[0]]} is listed twice")
    if unknown := sorted({run.arm for run in study.runs} - set(study.arms)):
        raise ResultsError(f"{path}: runs of arm {unknown[0]!r}, which isn't among its arms {', '.join(study.arms)}")
    if outside := [run for run in study.runs if not is_name(run.run_id)]:
        raise ResultsError(f"{path}: run id {outside[0].run_id!r} isn't the name of a folder")
    for arm, parts in table.groupby("arm", sort=False)["part"]:
        if 0 < (parts == "").sum() < len(parts):
            first = study.runs[parts.index[parts == ""][0]]
            raise ResultsError(f"{path}: run {first} has no part; expected one, as other runs of arm {arm!r} have")
    if 0 < (table["fold"] == "").sum() < len(table):
        first = study.runs[table.index[table["fold"] == ""][0]]
        raise ResultsError(f"{path}: run {first} has no fold; expected one, as other runs have")


def is_name(text: str) -> bool:
    """Tell whether the text is a valid name of a file or folder that doesn't lead out of its parent."""
    return PurePosixPath(text).name == text and text not in ("", ".", "..") and "\0" not in text


def load_json(content: bytes, path: str) -> Any:
    """Any JSON value; raises `ResultsError` that names `path` where it is none, or can't be written again."""
    try:
        value = json.loads(content)
        if HALF.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: not JSON: {error}") from error
    return value


def read_json(content: bytes, path: str) -> dict[str, Any]:
    """A JSON object; raises `ResultsError` that names `path` for anything else."""
    value = load_json(content, path)
    if not isinstance(value, dict):
        raise ResultsError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
