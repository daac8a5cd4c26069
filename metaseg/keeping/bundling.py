"""A study as a bundle: counts, settings, declarations and report, made only of what holds neither pixels nor paths."""

import contextlib
import hashlib
import io
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import metaseg
from analysis.report.study import report
from analysis.results.declaration import read_study
from metaseg.config import ConfigError
from metaseg.keeping.hashed_names import (
    NameSearch,
    as_hashed,
    hashed_folds,
    metadata_values,
    parquet_texts,
    with_hashed_folds,
)
from metaseg.keeping.naming import READERS
from metaseg.keeping.redaction import command_without_paths, options_without_paths, record_without_paths, without_paths
from metaseg.schema import (
    BUNDLE,
    CONFIG,
    DONE,
    HISTORY,
    IMAGES,
    RESULTS,
    SWEEP,
    TRIALS,
    looks_file,
    observers_file,
    run_folder,
    score_file,
    study_file,
    sweep_file,
)
from metaseg.store.bundle import pack
from metaseg.store.memory import MemoryStorage
from metaseg.store.runs import FinishedRun, Store, from_json, to_json
from metaseg.store.storage import Storage

NAMES = ("image", "group")
"""Columns that name images and what they are grouped by: files' names, which may be patients'."""

REASON = "(left out of the bundle)"


@dataclass(frozen=True)
class Bundled:
    """A bundle, not yet written."""

    content: bytes
    files: tuple[str, ...]
    done: int
    """Number of finished runs, all of which are in it."""
    runs: int
    """Number of runs that the study asks for."""


def make_bundle(store: Store, study: str, license: str | None = None, hash_names: bool = False) -> Bundled:
    """Make the bundle of a study. The same study gives the same bytes, with the same versions of the packages.

    The report is made anew from the bundle's own files, so that no picture of an image can be in it.

    Args:
        store: the store; nothing is written to it.
        study: its name.
        license: under which the bundle is published, such as CC-BY-4.0.
        hash_names: put hashes, of the dataset's fingerprint and the name, in the place of the names of images and
            groups, and of folds that weren't drawn. The same data give the same hashes, but a bundle with hashes can't
            be pooled with one without.

    Raises:
        ConfigError: names of images or groups are absolute paths; or the store's own path is in the bundle, or, with
            `hash_names`, such a name.
        ResultsError: the store has no such study, or none of its runs is finished.
        DamagedRunError: a run's file isn't what was written.
    """
    declared = read_study(store.storage, study)
    done = store.storage.subfolders_with("runs", DONE)
    finished = [run.run_id for run in declared.runs if run.run_id in done]
    if not finished:
        raise ConfigError(f"study {study!r} in {store.where}: none of its {len(declared.runs)} runs is finished")
    packer = _Packer(store.storage, study, hash_names, finished[0])
    with ThreadPoolExecutor(READERS) as pool:
        files = {name: content for each in pool.map(packer.run, finished) for name, content in each.items()}
    files |= packer.declarations({run.run_id for run in declared.runs} - set(finished))
    memory = MemoryStorage(files, f"bundle of {study}")
    with contextlib.redirect_stdout(io.StringIO()):
        report(memory, study)
    files = {name: each for name, each in memory.contents.items() if not name.startswith(f"{RESULTS}/")}
    about = {
        "study": study,
        "dataset": declared.dataset,
        "fingerprint": packer.fingerprint(finished[0]),
        "license": license,
        "names": "hashed" if hash_names else "kept",
        "runs": len(declared.runs),
        "finished": len(finished),
        "made_by": f"metaseg {metaseg.__version__}",
        "read_with": "analysis collect THIS_FILE.zip RESULTS, then analysis report RESULTS",
        "left_out": "images, masks, pictures of them, weights, folders' paths, hosts, reasons of failures",
    }
    _require_clean({**files, BUNDLE: to_json(about)}, store, packer.hidden)
    return Bundled(pack(files, about), tuple(sorted(files)), len(finished), len(declared.runs))


class _Packer:
    """Reads files of a store for a bundle."""

    def __init__(self, storage: Storage, study: str, hash_names: bool, first: str) -> None:
        self._storage, self._study, self._hash_names, self._first = storage, study, hash_names, first
        self._record = from_json(storage.read(study_file(study))) or {}
        self._folds = hashed_folds(self._record, self.fingerprint(first)) if hash_names else {}
        self._names: set[str] = set()
        self._metadata: set[str] = set()

    @property
    def hidden(self) -> set[str]:
        """Names that hashes stand for, as far as files were read; folds' aren't if they are values of metadata."""
        return self._names | (self._folds.keys() - self._metadata)

    def fingerprint(self, run_id: str) -> str:
        """Fingerprint of the dataset that a run was trained on."""
        dataset = FinishedRun.open(self._storage, run_folder(run_id)).description().get("dataset")
        return str(dataset.get("fingerprint", "")) if isinstance(dataset, dict) else ""

    def run(self, run_id: str) -> dict[str, bytes]:
        """Files of a finished run: counts and epochs as they are, settings without paths, and a `DONE` of these."""
        folder = run_folder(run_id)
        found = FinishedRun.open(self._storage, folder)
        fingerprint, images = self.fingerprint(run_id), found.read(IMAGES)
        self._require_no_paths(images, found.locate(IMAGES))
        files = {
            CONFIG: to_json(record_without_paths(with_hashed_folds(found.description(), self._folds))),
            IMAGES: self._named(images, fingerprint),
            **({HISTORY: found.read(HISTORY)} if HISTORY in found.checksums else {}),
        }
        files[DONE] = to_json({"sha256": {name: hashlib.sha256(each).hexdigest() for name, each in files.items()}})
        placed = {f"{folder}/{name}": content for name, content in files.items()}
        if (scores := self._storage.read_or_none(score_file(run_id))) is not None:
            placed[score_file(run_id)] = self._named(scores, fingerprint)
        return placed

    def declarations(self, unfinished: Set[str]) -> dict[str, bytes]:
        """Records of the study and of its sweeps, its looks and its annotators, and which runs have failed."""
        files = {study_file(self._study): to_json(_declaration(self._record, self._folds))}
        if (looks := from_json(self._storage.read_or_none(looks_file(self._study)))) is not None:
            files[looks_file(self._study)] = to_json(looks)
        if (observers := self._storage.read_or_none(observers_file(self._study))) is not None:
            files[observers_file(self._study)] = self._named(observers, self.fingerprint(self._first))
        failed = unfinished & {name.removesuffix(".json") for name in self._storage.names("failures")}
        for run_id in sorted(failed):
            files[f"failures/{run_id}.json"] = to_json({"error": REASON, "traceback": []})
        sweeps = self._record.get("sweeps")
        for sweep in sorted({str(name) for name in sweeps.values()} if isinstance(sweeps, dict) else ()):
            described = from_json(self._storage.read(sweep_file(sweep, SWEEP))) or {}
            folds = hashed_folds(described, self.fingerprint(self._first)) if self._hash_names else {}
            files[sweep_file(sweep, SWEEP)] = to_json(_declaration(described, folds))
            files[sweep_file(sweep, TRIALS)] = _trials(self._storage.read(sweep_file(sweep, TRIALS)))
        return files

    def _require_no_paths(self, images: bytes, where: str) -> None:
        if self._hash_names:
            return
        table = pq.read_table(pa.BufferReader(images), columns=list(NAMES), use_threads=False)
        for column in NAMES:
            for name in table[column].unique().to_pylist():
                if isinstance(name, str) and without_paths(name) != name:
                    raise ConfigError(f"{where}: {column} {name!r:.80} is a path; expected a name: use --hash-names")

    def _named(self, content: bytes, fingerprint: str) -> bytes:
        """A Parquet file as it is, or with hashes instead of the names of images and groups."""
        if not self._hash_names:
            return content
        table = pq.read_table(pa.BufferReader(content), use_threads=False)
        for column in (name for name in NAMES if name in table.column_names):
            self._names.update(str(name) for name in table[column].unique().to_pylist())
        self._metadata.update(metadata_values(table))
        return _parquet(as_hashed(table, NAMES, fingerprint))


def _declaration(record: Mapping[str, Any], folds: Mapping[str, str]) -> dict[str, Any]:
    """A study's or sweep's record without paths in what was typed: its command, options and descriptions."""
    edits: dict[str, Callable[[Any], Any]] = {
        "command": lambda text: command_without_paths(str(text)),
        "config": lambda text: options_without_paths(str(text)),
    }
    hashed = with_hashed_folds(record, folds)
    return {key: edits.get(key, record_without_paths)(value) for key, value in hashed.items()}


def _trials(content: bytes) -> bytes:
    """A sweep's table of trials without the texts of errors, which may name files."""
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    if "error" in table.column_names:
        place, kind = table.column_names.index("error"), table.schema.field("error").type
        errors = [None if text is None else REASON if text else "" for text in table["error"].to_pylist()]
        table = table.set_column(place, pa.field("error", kind), pa.array(errors, kind))
    return _parquet(table)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _require_clean(files: Mapping[str, bytes], store: Store, hidden: Set[str]) -> None:
    """Raise a `ConfigError` if the store's path, the user's home or a hidden name is in the files after all."""
    home = str(Path.home())
    secrets = [text for text in (store.where, home) if len(text) > len("/root")]
    names = NameSearch(hidden)
    for name, content in files.items():
        for text in _texts(name, content):
            if found := [secret for secret in secrets if secret.encode() in text]:
                raise ConfigError(
                    f"{name} would tell others of {found[0]}; expected names without folders: rename what holds it"
                )
        if hidden and (told := names.in_file(name, content)):
            raise ConfigError(
                f"{name} would tell others of {told!r:.80}, the name of an image, group or fold; expected its hash "
                "alone: rename it, or what holds it (a value of metadata, the command), or leave out --hash-names"
            )


def _texts(name: str, content: bytes) -> Sequence[bytes]:
    """A file's bytes, and those of a Parquet file's texts and notes as they are unpacked."""
    if not name.endswith(".parquet"):
        return [content]
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    return [content, *(text.encode(errors="replace") for text in parquet_texts(table))]
