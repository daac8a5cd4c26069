"""Collect studies from stores into a results dataset: runs that are there already aren't read again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from analysis.results.dataset import RECORD, Record, Source, records
from analysis.results.declaration import ResultsError, Run, Study, read_study, study_names
from analysis.results.incremental import NewRuns, file_name, read_new
from analysis.results.row_files import decode, decode_with_metadata, encode
from analysis.results.store_rows import Evaluated, check_comparable
from metaseg.schema import AS_TRAINED, DONE, ROW
from metaseg.store.storage import Storage


@dataclass(frozen=True)
class Gathered:
    """What collecting a study of one dataset came to."""

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
        """Of all its runs."""
        return sum(part.rows for part in self.record.parts.values())


def gather(out: Storage, stores: Sequence[Storage], study: str) -> list[Gathered]:
    """Bring a study in a results dataset up to date with stores, and what other stores have declared before.

    Files of runs come first, then the record that lists them; then files that no record lists are removed. A death at
    any moment leaves what there was or what there is to be.

    Args:
        out: the dataset.
        stores: where the study is; those that don't have it are passed over.
        study: its name.

    Returns:
        One for each dataset that the stores have the study of.

    Raises:
        ResultsError: as `analysis.results.store_rows.collect`; a run that has other results in another store; stores
            that declare different baselines, averages or runs. Then nothing is written.
    """
    having = [store for store in stores if study in study_names(store)]
    if not having:
        raise ResultsError(f"unknown study {study!r}; none of {', '.join(store.where for store in stores)} has it")
    known = [_present(out, record) for record in records(out, study)]
    new = NewRuns()
    updated: dict[str, Record] = {}
    for store in having:
        declared, done = read_study(store, study), store.subfolders_with("runs", DONE)
        finished = [run for run in declared.runs if run.run_id in done]
        if not finished:
            raise ResultsError(f"study {study!r} in {store.where}: none of its {len(declared.runs)} runs is finished")
        fingerprint = read_new(store, finished, [*known, *updated.values()], new)
        there = next(
            (each for each in [*updated.values(), *known] if each.fingerprint == fingerprint),
            Record(study, declared.dataset, fingerprint, "", "f1", (), {}),
        )
        parts = {**there.parts} | {run.run_id: new.parts[run.run_id] for run in finished if run.run_id in new.parts}
        updated[there.folder] = replace(there, sources=_declare(there, declared, store.where), parts=parts)
    before = {record.folder: record for record in known}
    return [_write(out, before.get(folder), record, new) for folder, record in updated.items()]


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
    declared = record.declared()
    runs = [run for run in declared.runs if run.run_id in record.parts]
    columns = [new.subgroup_columns.get(run.run_id) for run in runs]
    column = record.subgroup_column or next((name for name in columns if name), "subgroup")
    parts = {run.run_id: record.parts[run.run_id] for run in runs}
    record = replace(record, parts=parts, subgroup_column=column)
    files = {part.file: new.files[part.file] for part in parts.values() if part.file in new.files}
    if before != record:
        _check(record, runs, lambda file: files[file] if file in files else out.read(f"{record.folder}/{file}"))
        record = _without_others(out, before, record, files)
        publish(out, record, files)
    added = tuple(run for run in runs if run.run_id in new.parts)
    unchanged = tuple(run for run in runs if run.run_id not in new.parts)
    missing = tuple(run for run in declared.runs if run.run_id not in parts)
    return Gathered(record, out.locate(record.folder), added, unchanged, missing)


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


def publish(out: Storage, record: Record, files: Mapping[str, bytes]) -> None:
    """Write a record's new files, then the record; remove files that it doesn't list."""
    folder = record.folder
    for file, content in files.items():
        out.write(f"{folder}/{file}", content)
    out.write(f"{folder}/{RECORD}", record.to_json())
    listed = {part.file for part in record.parts.values()}
    for name in out.names(folder):
        if name.endswith(".parquet") and name not in listed:
            out.delete(f"{folder}/{name}")


def _check(record: Record, runs: Sequence[Run], content: Callable[[str], bytes]) -> None:
    """As `check_comparable`; of runs that were evaluated on the same images, one is read."""
    whole: dict[str, Run] = {}
    for run in runs:
        if not run.part:
            whole.setdefault(record.parts[run.run_id].images_sha256, run)
    parts = [run for run in runs if run.part]
    if len(whole) < 2 and not parts:
        return
    evaluated: list[Evaluated] = []
    names = {record.parts[run.run_id].file for run in [*whole.values(), *parts]}
    tables = {file: decode(content(file), file) for file in names}
    for run in [*whole.values(), *parts]:
        file = record.parts[run.run_id].file
        table = tables[file]
        wanted = pc.and_(pc.equal(table["run_id"], run.run_id), pc.equal(table["evaluation"], AS_TRAINED))
        rows = table.filter(wanted).select([*ROW, "group"])
        text = pa.schema((name, pa.string()) for name in rows.column_names)
        evaluated.append((run, record.fingerprint, rows.cast(text).to_pandas()))
    check_comparable(evaluated)
