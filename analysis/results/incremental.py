"""Finished runs of a store that a results dataset doesn't have yet: read, checked and encoded, several to a file."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.results.dataset import Part, Record
from analysis.results.declaration import ResultsError, Run
from analysis.results.extra_scores import read_scores
from analysis.results.parquet import joined
from analysis.results.row_files import FOLD, ROWS, SCHEMA, encode, ordered, repeated
from analysis.results.store_rows import TEXT, check_rows, checksums, read_run
from analysis.results.text_columns import RunText, read_images, run_text
from metaseg.schema import AS_TRAINED, COUNTS, IMAGES, ROW, run_folder, score_file
from metaseg.store.storage import Storage

WORKERS = 4
"""Runs that are read at once."""


@dataclass
class NewRuns:
    """Runs that were read."""

    parts: dict[str, Part] = field(default_factory=dict)
    """By run id, like the two mappings that follow."""
    fingerprints: dict[str, str] = field(default_factory=dict)
    subgroup_columns: dict[str, str | None] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    """Content of the files to write, by name."""
    text: RunText | None = None
    """Text columns of the last run that was read."""


@dataclass(frozen=True)
class _Read:
    """A run that was read."""

    run: Run
    sha256: str
    """Checksum of its file."""
    constants: dict[str, str | int]
    """Columns that have the same value in all rows."""
    table: pa.Table
    """The other columns."""
    images_sha256: str
    about: dict[str, Any]
    """Entry in the metadata of its new file."""
    scores_sha256: str
    """Checksum of its file of extra scores; empty if it has none."""
    subgroup_column: str | None


def read_new(
    store: Storage, finished: Sequence[Run], known: Sequence[Record], new: NewRuns, scored: Collection[str]
) -> str:
    """Add to `new` the finished runs that are new or have changed; return the fingerprint of all runs' dataset.

    Args:
        store: where the runs are.
        finished: runs that are done.
        known: records that have some of them already.
        new: is added to.
        scored: names of the store's files of extra scores whose columns the rows are to have.
    """
    found: dict[Run, str] = {}
    wanted: list[tuple[Run, dict[str, str], str]] = []
    with ThreadPoolExecutor(WORKERS) as pool:
        digests = pool.map(lambda run: _scores_sha256(store, run, scored), finished)
        sums = pool.map(lambda run: checksums(store, run), finished)
        for run, done, scores_sha256 in zip(finished, sums, digests, strict=True):
            there = [(each.parts[run.run_id], each.fingerprint) for each in known if run.run_id in each.parts]
            if run.run_id in new.parts:
                there = [(new.parts[run.run_id], new.fingerprints[run.run_id])]
            same = [fingerprint for part, fingerprint in there if part.sha256 == done[IMAGES]]
            other = [part for part, _ in there if part.where != store.where]
            # Of two stores that have scored a run, the first counts.
            here = [part for part, _ in there if part.where == store.where or not part.scores_sha256]
            newly_scored = scores_sha256 and any(part.scores_sha256 != scores_sha256 for part in here)
            if same and not newly_scored:
                found[run] = same[0]
            elif other and not same:
                raise ResultsError(
                    f"run {run} has other results in {store.where} than in {other[0].where}: its images.parquet "
                    "differ; expected the same bytes"
                )
            else:
                wanted.append((run, done, scores_sha256))
        files: list[tuple[str, Future[bytes]]] = []
        together: list[_Read] = []
        for start in range(0, len(wanted), WORKERS):
            for each in pool.map(lambda pair: _read_one(store, pair, new), wanted[start : start + WORKERS]):
                found[each.run] = each.about["fingerprint"]
                together.append(each)
            if sum(each.table.num_rows for each in together) >= ROWS or start + WORKERS >= len(wanted):
                files.append(_file(store, together, new, pool))
                together = []
        new.files |= {name: content.result() for name, content in files}
    first = finished[0]
    for run in finished:
        if found[run] != found[first]:
            raise ResultsError(
                f"run {run} is of dataset {found[run]}, run {first} of {found[first]}; expected one dataset"
            )
    return found[first]


def _file(
    store: Storage, together: Sequence[_Read], new: NewRuns, pool: ThreadPoolExecutor
) -> tuple[str, "Future[bytes]"]:
    """Add runs that share a file to `new`; the file's name and, when it is encoded, its content."""
    name = file_name({each.run.run_id: each.sha256 + each.scores_sha256 for each in together})
    for each in together:
        run_id = each.run.run_id
        rows = each.table.num_rows
        new.parts[run_id] = Part(name, store.where, each.sha256, each.images_sha256, rows, each.scores_sha256)
        new.fingerprints[run_id] = each.about["fingerprint"]
        new.subgroup_columns[run_id] = each.subgroup_column
    return name, pool.submit(_encode, together)


def _encode(together: Sequence[_Read]) -> bytes:
    """The file of these runs."""
    table = joined([each.table for each in together], str(together[0].about["store"]))
    rows, lengths = table.num_rows, [each.table.num_rows for each in together]
    columns: dict[str, Any] = dict(zip(table.column_names, table.columns, strict=True))
    columns |= {"score": pa.nulls(rows, pa.float64()), "metric": repeated(None, rows)}
    for name in together[0].constants:
        columns[name] = _constant([each.constants[name] for each in together], lengths)
    table = pa.table({name: columns[name] for name in ordered(columns)})
    return encode(table, {each.run.run_id: each.about for each in together})


def _constant(values: Sequence[str | int], lengths: Sequence[int]) -> pa.ChunkedArray:
    """A column in which each run's value is there for so many rows; text as a dictionary."""
    if not isinstance(values[0], str):
        chunks = [pa.repeat(value, rows) for value, rows in zip(values, lengths, strict=True)]
        return pa.chunked_array(chunks, pa.int64())
    texts = list(dict.fromkeys(values))
    dictionary, codes = pa.array(texts, pa.string()), [pa.scalar(texts.index(value), pa.int32()) for value in values]
    chunks = [pa.repeat(code, rows) for code, rows in zip(codes, lengths, strict=True)]
    return pa.chunked_array([pa.DictionaryArray.from_arrays(chunk, dictionary, safe=False) for chunk in chunks])


def file_name(sha256: Mapping[str, str]) -> str:
    """Name of the file of these runs, from the checksums of their files: the same runs give the same name."""
    return hashlib.sha256(json.dumps(dict(sha256)).encode()).hexdigest()[:16] + ".parquet"


def _scores_sha256(store: Storage, run: Run, scored: Collection[str]) -> str:
    """Checksum of the run's file of extra scores; empty if it isn't among the `scored` ones."""
    file = score_file(run.run_id)
    content = store.read_or_none(file) if file.rpartition("/")[2] in scored else None
    return hashlib.sha256(content).hexdigest() if content else ""


def _read_one(store: Storage, wanted: tuple[Run, dict[str, str], str], new: NewRuns) -> _Read:
    """Read and check a run against the checksums in its `DONE`."""
    run, done, scores_sha256 = wanted
    config, content = read_run(store, run, done)
    last = new.text
    path = store.locate(f"{run_folder(run.run_id)}/{IMAGES}")
    images, stored = read_images(content, path, last)
    check_rows(images, path, last.plain if last else None)
    text = new.text = run_text(images, stored, last)
    dataset, arm, sha256 = config["dataset"], config["arm"], done[IMAGES]
    about = {
        "store": store.where, "sha256": sha256, "fingerprint": str(dataset["fingerprint"]),
        "versions": config.get("versions"), "git_commit": config.get("git_commit"),
    }  # fmt: skip
    if scores_sha256:
        images = _with_scores(images, read_scores(store, run), store.locate(score_file(run.run_id)))
    constants: dict[str, str | int] = {
        "run_id": run.run_id, "arm": run.arm, "part": run.part, "block": str(arm["block"]),
        "metadata_mode": str(arm["metadata_mode"]), "seed": run.seed, "parameters": int(config["parameters"]),
    }  # fmt: skip
    if run.fold:
        constants[FOLD] = run.fold
    kept = [name for name in images.column_names if name in [*TEXT, *COUNTS] or name not in SCHEMA.names]
    columns = {name: (text.encoded if name in text.encoded.column_names else images)[name] for name in kept}
    table = pa.table(columns | {name: images[name].cast(pa.int64()) for name in COUNTS})
    column = dataset.get("subgroup_column")
    return _Read(run, sha256, constants, table, text.images_sha256, about, scores_sha256, column)


def _with_scores(images: pa.Table, scores: pa.Table | None, path: str) -> pa.Table:
    """The rows with the columns of extra scores, which only evaluations as trained have."""
    trained = np.flatnonzero(pc.equal(images["evaluation"], AS_TRAINED).to_numpy())
    rows = images.take(trained).select(ROW)
    if scores is None or not scores.select(ROW).cast(rows.schema).equals(rows):
        raise ResultsError(f"{path}: its rows aren't those of the run's images.parquet; delete it and score again")
    places = np.full(images.num_rows, -1)
    places[trained] = np.arange(len(trained))
    taken = scores.drop_columns(ROW).take(pa.array(places, mask=places < 0))
    for name, column in zip(taken.column_names, taken.columns, strict=True):
        images = images.append_column(name, column)
    return images
