"""The results dataset: `study=NAME/dataset=DATA/*.parquet`, each folder with a record of what the study declared.

See docs/reference/results.md for the schema. A folder's record, `_study.json`, is written last and lists the files that
count: whoever reads through it sees one state of the study, whole, whatever is being collected meanwhile.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd

from analysis.results.declaration import (
    Comparison,
    ResultsError,
    Run,
    Study,
    check_runs,
    check_study,
    is_name,
    read_json,
)
from analysis.results.row_files import read_rows
from analysis.results.store_rows import Collected
from metaseg.schema import RESULTS_VERSION
from metaseg.store.storage import Storage, open_storage

RECORD = "_study.json"
"""Readers of Parquet datasets skip names that begin with an underscore."""

AGREED = ["baseline", "average", "empty", "margin", "endpoint", "seeds", "sequential"]
"""Keys that all sources of a study must declare alike."""


@dataclass(frozen=True)
class Source:
    """A study as declared by one store, or by one table from elsewhere."""

    where: str
    study: Study


@dataclass(frozen=True)
class Part:
    """A collected run."""

    file: str
    """File name in the record's folder; the file may hold other runs, too."""
    where: str
    """The store that it was read from."""
    sha256: str
    """Checksum of the file that it was read from: as long as it stays the same, the run isn't read again."""
    images_sha256: str
    """Checksum of the images, subgroups, classes and groups that it was evaluated on; their order doesn't matter."""
    rows: int
    scores_sha256: str = ""
    """Checksum of its file of extra scores, where it has one."""


@dataclass(frozen=True)
class Record:
    """The record of one folder of the dataset: everything in it besides rows."""

    study: str
    dataset: str
    """The study's name for it."""
    fingerprint: str
    """Fingerprint of the dataset's bytes; empty for tables from elsewhere."""
    subgroup_column: str
    metric: str
    """Name of the score where rows hold no counts; else f1."""
    sources: tuple[Source, ...]
    parts: Mapping[str, Part]
    """Collected runs by run id."""

    @property
    def folder(self) -> str:
        """Path of the folder in the dataset."""
        return folder(self.study, f"{self.dataset}-{self.fingerprint[:8]}" if self.fingerprint else self.dataset)

    def declared(self) -> Study:
        """The study as all sources declare it together.

        Raises:
            ResultsError: they disagree.
        """
        first, studies = self.sources[0], [source.study for source in self.sources]
        for other in self.sources[1:]:
            for key in AGREED:
                if (ours := getattr(first.study, key)) != (theirs := getattr(other.study, key)):
                    raise ResultsError(
                        f"study {self.study!r} has {key} {ours!r} in {first.where} and {theirs!r} in {other.where}; "
                        "expected one"
                    )
        study = replace(
            first.study,
            dataset=self.dataset,
            arms=_distinct(arm for each in studies for arm in each.arms),
            runs=_distinct(run for each in studies for run in each.runs),
            command="; ".join(_distinct(each.command for each in studies)),
            about=next((each.about for each in studies if each.about), ""),
            comparisons=_distinct(comparison for each in studies for comparison in each.comparisons),
        )
        check_runs(study, f"study {self.study!r} in {' and '.join(source.where for source in self.sources)}")
        return study

    def to_json(self) -> bytes:
        """Its file's content: the same record, the same bytes."""
        return (json.dumps({"schema": RESULTS_VERSION} | asdict(self), indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes, path: str) -> "Record":
        """Read `to_json`'s; raises `ResultsError` for a schema of another version, or what isn't a record."""
        value = read_json(content, path)
        if (version := value.pop("schema", None)) != RESULTS_VERSION:
            raise ResultsError(
                f"{path}: schema version {version!r}; this program reads {RESULTS_VERSION}: update it, or collect anew"
            )
        try:
            sources = [Source(source["where"], _study(source["study"])) for source in value["sources"]]
            parts = {run_id: Part(**part) for run_id, part in value["parts"].items()}
            record = cls(**value | {"sources": tuple(sources), "parts": parts})
        except (AttributeError, KeyError, TypeError) as error:
            raise ResultsError(f"{path}: not a record of results: {error!r}") from error
        record._check(path)
        return record

    def _check(self, path: str) -> None:
        """Refuse a record whose names aren't text or whose files aren't in its own folder."""
        texts = [self.study, self.dataset, self.fingerprint, self.subgroup_column, self.metric]
        texts += [source.where for source in self.sources]
        for part in self.parts.values():
            texts += [part.file, part.where, part.sha256, part.images_sha256, part.scores_sha256]
        if wrong := [text for text in texts if not isinstance(text, str)]:
            raise ResultsError(f"{path}: a name is {wrong[0]!r:.60}; expected text")
        if rows := [part.rows for part in self.parts.values() if type(part.rows) is not int or part.rows < 0]:
            raise ResultsError(f"{path}: a run has {rows[0]!r:.60} rows; expected a number")
        if wrong := [part.file for part in self.parts.values() if not is_name(part.file)]:
            raise ResultsError(f"{path}: lists {wrong[0]!r:.60}; expected the name of a file beside it")
        if not self.sources:
            raise ResultsError(f"{path}: no source; collect anew")
        for source in self.sources:
            check_study(source.study, path)


def _study(value: dict[str, Any]) -> Study:
    runs = tuple(Run(**run) for run in value["runs"])
    comparisons = tuple(Comparison(**comparison) for comparison in value["comparisons"])
    looked_at = tuple(value.get("looked_at", ()))
    made = {"arms": tuple(value["arms"]), "runs": runs, "comparisons": comparisons, "looked_at": looked_at}
    return Study(**value | made)


def folder(study: str, dataset: str) -> str:
    """The name of a study's folder for a dataset; what folders' names can't hold is escaped as in URLs."""
    return f"study={quote(study, safe=' ')}/dataset={quote(dataset, safe=' ')}"


def result_studies(out: Storage) -> list[str]:
    """Names of the studies that a results dataset holds, sorted; none where it isn't one."""
    names = [name.removeprefix("study=") for name in out.names("") if name.startswith("study=")]
    return sorted({unquote(name) for name in names if records(out, unquote(name))})


def records(out: Storage, study: str) -> list[Record]:
    """Records of a study, one for each dataset."""
    within = folder(study, "").partition("/")[0]
    found = []
    for name in out.names(within):
        content = out.read_or_none(f"{within}/{name}/{RECORD}")
        if content is not None:
            found.append(Record.from_json(content, out.locate(f"{within}/{name}/{RECORD}")))
    return found


def read_results(out: Storage | Path | str, study: str, dataset: str | None = None) -> Collected:
    """Read a study from a results dataset.

    Text columns are categorical. Columns score and metric are there, instead of tp, fp, fn and tn, where rows hold
    scores. Rows keep the order of the study's runs.

    Args:
        out: the dataset: a folder or a URL.
        study: its name.
        dataset: what the study calls its dataset, or the folder's name for it; needed where the study has several.

    Raises:
        ResultsError: an unknown study or dataset; a schema of another version; a file that is gone or malformed.

    Example:
        >>> from pathlib import Path
        >>> from analysis import example_scores, read_results
        >>> from analysis.results.external_study import Table, adopt
        >>> from metaseg.store.storage import open_storage
        >>> example_scores(seeds=2, images=12).to_csv("scores.csv", index=False)
        >>> collected = adopt(open_storage("results"), [Table(Path("scores.csv"))], "example", {})
        >>> results = read_results("results", "example")
        >>> results.study.arms, len(results.images)
        (('baseline', 'sme'), 48)
    """
    storage = out if isinstance(out, Storage) else open_storage(str(out))
    found = records(storage, study)
    if not found:
        known = ", ".join(result_studies(storage)) or "none; collect one: analysis collect STORE OUT"
        raise ResultsError(f"unknown study {study!r} in {storage.where}; known: {known}")
    if dataset is not None:
        found = [each for each in found if dataset in (each.dataset, each.folder.partition("/dataset=")[2])] or found
    if len(found) > 1:
        names = ", ".join(each.folder.partition("/dataset=")[2] for each in found)
        raise ResultsError(f"study {study!r} in {storage.where} has several datasets; expected one of {names}")
    (record,) = found
    return to_results(record, storage.locate(record.folder), lambda file: _content(storage, f"{record.folder}/{file}"))


def to_results(record: Record, where: str, content: Callable[[str], bytes]) -> Collected:
    """A study's results, from the record of a folder and its files.

    Args:
        record: the folder's.
        where: the folder: an absolute path or a URL.
        content: gives a file's content by its name in the folder; called in threads.

    Raises:
        ResultsError: no run has been collected; sources disagree; a malformed file.
    """
    declared = record.declared()
    collected = [run for run in declared.runs if run.run_id in record.parts]
    if not collected:
        raise ResultsError(f"study {record.study!r} in {where}: no run has been collected")
    files = _distinct(record.parts[run.run_id].file for run in collected)
    with ThreadPoolExecutor(4) as pool:
        contents = {f"{where}/{file}": found for file, found in zip(files, pool.map(content, files), strict=True)}
    rows = read_rows(contents, [run.run_id for run in collected])
    for name, value in (("dataset", declared.dataset), ("study", declared.name)):
        constant = pd.Categorical.from_codes(np.zeros(len(rows), np.int8), pd.Index([value]))
        rows.insert(0, name, pd.Series(constant))
    missing = tuple(run for run in declared.runs if run.run_id not in record.parts)
    return Collected(declared, where, rows, missing, record.subgroup_column, record.metric)


def _content(storage: Storage, file: str) -> bytes:
    content = storage.read_or_none(file)
    if content is None:
        raise ResultsError(f"{storage.locate(file)}: gone, though its record lists it; collect again")
    return content


def _distinct(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
