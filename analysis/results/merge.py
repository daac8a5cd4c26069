"""Collect studies from stores into a results dataset."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from analysis.results.dataset import RECORD, Record, Source, records, to_results
from analysis.results.declaration import ResultsError, Run, Study, read_study, study_names
from analysis.results.incremental import NewRuns, file_name, read_new
from analysis.results.row_files import decode, decode_with_metadata, encode
from analysis.results.store_rows import Collected, Evaluated, check_comparable
from metaseg.schema import AS_TRAINED, DONE, IMAGES, RESULTS, ROW
from metaseg.store.storage import Storage

ROWS_FILE = re.compile(r"[0-9a-f]{16}\.parquet")
"""Names of files of rows (`analysis.results.incremental.file_name`); others in a folder aren't ours."""


@dataclass(frozen=True)
class Gathered:
    """Outcome of collecting a study on one dataset."""

    record: Record
    where: str
    """The folder: an absolute path or a URL."""
    added: tuple[Run, ...]
    """Runs that were read."""
    unchanged: tuple[Run, ...]
    """Runs that were there already."""
    missing: tuple[Run, ...]
    """Runs that aren't finished."""

    @property
    def rows(self) -> int:
        """Number of rows of all its runs."""
        return sum(part.rows for part in self.record.parts.values())


def gather(out: Storage, stores: Sequence[Storage], study: str) -> list[Gathered]:
    """Bring a study in a results dataset up to date with stores, and what other stores have declared before.

    Runs that are there already aren't read again.

    Files of runs come first, then the record that lists them; then files that no record lists are removed. A death at
    any moment leaves what there was or what there is to be.

    Args:
        out: the dataset.
        stores: where the study is; those that don't have it are passed over.
        study: its name.

    Returns:
        One for each dataset that the stores have the study of.

    Raises:
        ResultsError: as `collect`; a run that has other results in another store; stores
            that declare different baselines, averages or runs. Then nothing is written.
    """
    having = [store for store in stores if study in study_names(store)]
    if not having:
        raise ResultsError(f"unknown study {study!r}; none of {', '.join(store.where for store in stores)} has it")
    known = [_present(out, record) for record in records(out, study)]
    new = NewRuns()
    updated: dict[str, Record] = {}
    for store in having:
        scored = set(store.names("scores"))
        record = _with_store(store, study, [*known, *updated.values()], new, scored)
        updated[record.folder] = record
    before = {record.folder: record for record in known}
    return [_write(out, before.get(folder), record, new) for folder, record in updated.items()]


def collect(store: Storage, study: str) -> Collected:
    """Collect a store's study into the results dataset that the store keeps itself, and read it from there.

    All finished runs are read and checked anew, and what was in `results/study=<study>` is replaced: the same runs give
    the same bytes. Extra scores are left where they are (`analysis.scores.extra_scores.with_scores` reads them).

    Args:
        store: which has the study; `results` is written in it.
        study: its name.

    Raises:
        ResultsError: an unknown or malformed study; no finished run; a file that is missing, corrupt or malformed; a
            row that is there twice; runs that were made of different datasets, or evaluated on different images where
            their arms have no parts; parts that share an image or go beyond the images of other arms.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> from analysis import collect
        >>> from metaseg import NetworkConfig, ScheduleConfig, Store, plan
        >>> from metaseg import DataConfig, SyntheticConfig, make_seven_cells, prepare
        >>> from metaseg.study.execution import execute
        >>> cells = make_seven_cells(Path("cells"), SyntheticConfig(size=64, images_per_line=3, wells_per_line=3))
        >>> dataset = prepare(cells, DataConfig(), Path("cache"))
        >>> store, network = Store.at("store-of-one-run"), NetworkConfig(width=2, depth=1)
        >>> study = plan("cells", dataset, ["baseline"], 1, network, ScheduleConfig(epochs=1, crop=32))
        >>> study.declare(store)
        >>> execute(study.runs[0].config, dataset, store, torch.device("cpu"))
        >>> results = collect(store.storage, "cells")
        >>> len(results.images), results.missing
        (7, ())
    """
    record, files = _collected(store, study)
    publish(store, record, files, RESULTS)
    _remove_others(store, record)
    return to_results(record, store.locate(f"{RESULTS}/{record.folder}"), files.__getitem__)


def peek(store: Storage, study: str) -> Collected:
    """Collect a study's finished runs without writing anything; otherwise as `collect`."""
    record, files = _collected(store, study)
    return to_results(record, store.locate(f"{RESULTS}/{record.folder}"), files.__getitem__)


def _collected(store: Storage, study: str) -> tuple[Record, dict[str, bytes]]:
    new = NewRuns()
    record, runs, files = _completed(_with_store(store, study, [], new, ()), new)
    _check(record, runs, files.__getitem__)
    return record, files


def _remove_others(store: Storage, record: Record) -> None:
    """Remove earlier results of this store's study: of another dataset, or in one file as earlier versions wrote them.

    Whoever reads the folder as it comes would count them, too. Results that other stores have a part in stay, as do
    files that aren't ours.
    """
    parent, _, own = f"{RESULTS}/{record.folder}".rpartition("/")
    for name in store.names(parent):
        if name == IMAGES:
            store.delete(f"{parent}/{name}")
        elif name != own and (content := store.read_or_none(f"{parent}/{name}/{RECORD}")) is not None:
            try:
                other = Record.from_json(content, store.locate(f"{parent}/{name}/{RECORD}"))
            except ResultsError:
                continue
            if {source.where for source in other.sources} == {store.where}:
                for file in (RECORD, *{part.file for part in other.parts.values()}):
                    store.delete(f"{parent}/{name}/{file}")
                if not store.names(f"{parent}/{name}"):
                    store.delete_folder(f"{parent}/{name}")


def _with_store(store: Storage, study: str, known: Sequence[Record], new: NewRuns, scored: Collection[str]) -> Record:
    """The record of the dataset that a store's runs were made on, with them added; of `known` ones the last counts."""
    declared, done = read_study(store, study), store.subfolders_with("runs", DONE)
    finished = [run for run in declared.runs if run.run_id in done]
    if not finished:
        raise ResultsError(f"study {study!r} in {store.where}: none of its {len(declared.runs)} runs is finished")
    fingerprint = read_new(store, finished, known, new, scored)
    there = next(
        (each for each in reversed(known) if each.fingerprint == fingerprint),
        Record(study, declared.dataset, fingerprint, "", "f1", (), {}),
    )
    parts = {**there.parts} | {run.run_id: new.parts[run.run_id] for run in finished if run.run_id in new.parts}
    return replace(there, sources=_declare(there, declared, store.where), parts=parts)


def _present(out: Storage, record: Record) -> Record:
    """The record without runs whose files are gone: they are read again."""
    names = set(out.names(record.folder))
    return replace(record, parts={run: part for run, part in record.parts.items() if part.file in names})


def _declare(record: Record, study: Study, where: str) -> tuple[Source, ...]:
    """The record's sources, with what a store declares now in the place of what it did."""
    sources = {each.where: each for each in record.sources} | {where: Source(where, study)}
    return tuple(sources.values())


def _write(out: Storage, before: Record | None, record: Record, new: NewRuns) -> Gathered:
    """Check the record's runs against each other; write what is new, and then the record."""
    record, runs, files = _completed(record, new)
    if before != record:
        _check(record, runs, lambda file: files[file] if file in files else out.read(f"{record.folder}/{file}"))
        record = _without_others(out, before, record, files)
        publish(out, record, files)
    added = tuple(run for run in runs if run.run_id in new.parts)
    unchanged = tuple(run for run in runs if run.run_id not in new.parts)
    missing = tuple(run for run in record.declared().runs if run.run_id not in record.parts)
    return Gathered(record, out.locate(record.folder), added, unchanged, missing)


def _completed(record: Record, new: NewRuns) -> tuple[Record, list[Run], dict[str, bytes]]:
    """The record restricted to declared runs, these runs, and those of their files that are new."""
    runs = [run for run in record.declared().runs if run.run_id in record.parts]
    columns = [new.subgroup_columns.get(run.run_id) for run in runs]
    column = record.subgroup_column or next((name for name in columns if name), "subgroup")
    parts = {run.run_id: record.parts[run.run_id] for run in runs}
    files = {part.file: new.files[part.file] for part in parts.values() if part.file in new.files}
    return replace(record, parts=parts, subgroup_column=column), runs, files


def _without_others(out: Storage, before: Record | None, record: Record, files: dict[str, bytes]) -> Record:
    """The record, with those files replaced that hold runs beside its own: runs that changed, or aren't wanted now."""
    parts = dict(record.parts)
    held = [(run_id, part.file) for run_id, part in (before.parts if before else {}).items()]
    for file in {file for run_id, file in held if run_id not in parts or parts[run_id].file != file}:
        kept = {run_id: part for run_id, part in parts.items() if part.file == file}
        if not kept:
            continue
        table, about = decode_with_metadata(out.read(f"{record.folder}/{file}"), out.locate(f"{record.folder}/{file}"))
        name = file_name({run_id: part.sha256 for run_id, part in kept.items()})
        rows = table.filter(pc.is_in(table["run_id"].cast(pa.string()), pa.array(list(kept))))
        files[name] = encode(rows, {run_id: about[run_id] for run_id in kept})
        parts |= {run_id: replace(part, file=name) for run_id, part in kept.items()}
    return replace(record, parts=parts)


def publish(out: Storage, record: Record, files: Mapping[str, bytes], within: str = "") -> None:
    """Write a record's new files, then the record; remove files of rows that it doesn't list.

    Whoever publishes the same folder at the same time may remove this record's files before it is there: those are
    written again, so that the last record finds what it lists.

    Args:
        out: what to write to.
        record: of one folder of the dataset.
        files: content by name.
        within: folder that the dataset is in, where that isn't `out` itself.
    """
    folder = f"{within}/{record.folder}" if within else record.folder
    for file, content in files.items():
        out.write(f"{folder}/{file}", content)
    out.write(f"{folder}/{RECORD}", record.to_json())
    listed = {part.file for part in record.parts.values()}
    names = set(out.names(folder))
    for name in names - listed:
        if ROWS_FILE.fullmatch(name):
            out.delete(f"{folder}/{name}")
    for file in (listed & files.keys()) - names:
        out.write(f"{folder}/{file}", files[file])


def _check(record: Record, runs: Sequence[Run], content: Callable[[str], bytes]) -> None:
    """Call `check_comparable`, reading only one of the runs of a fold that were evaluated on the same images."""
    whole: dict[tuple[str, str], Run] = {}
    for run in runs:
        if not run.part:
            whole.setdefault((run.fold, record.parts[run.run_id].images_sha256), run)
    parts = [run for run in runs if run.part]
    if len(whole) < 2 and not parts:
        return
    evaluated: list[Evaluated] = []
    names = {record.parts[run.run_id].file for run in [*whole.values(), *parts]}
    tables = {file: decode(content(file), file, ["run_id", "evaluation", *ROW, "group"]) for file in names}
    for run in [*whole.values(), *parts]:
        file = record.parts[run.run_id].file
        table = tables[file]
        wanted = pc.and_(pc.equal(table["run_id"], run.run_id), pc.equal(table["evaluation"], AS_TRAINED))
        rows = table.filter(wanted).select([*ROW, "group"])
        text = pa.schema((name, pa.string()) for name in rows.column_names)
        evaluated.append((run, record.fingerprint, rows.cast(text).to_pandas()))
    check_comparable(evaluated)
