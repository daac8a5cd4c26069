"""Extra scores of finished runs: their test images are predicted once more, from the stored weights.

A run isn't touched: its scores are a file of their own, `scores/RUN_ID.parquet`, which can be made again.
"""

import hashlib
import io
import json
import multiprocessing
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from metaseg.config import EXTRA_SCORES, ConfigError, ExtraScore, NetworkConfig, RunConfig, ScheduleConfig, Subset
from metaseg.data.dataset import Dataset
from metaseg.extra_scores import TOLERANCE, require_packages, score_masks
from metaseg.metrics import confusion_counts
from metaseg.predict import Predictor
from metaseg.run import evaluations
from metaseg.store import Store
from metaseg.training.evaluate import predictions
from metaseg.training.fit import Fitted, encode_metadata
from metaseg.training.world import one_thread

VERSION = 1
"""Of the scores: raise it where the same masks would be scored otherwise."""

SETTINGS = b"metaseg.scores"
"""Key of a file's Parquet metadata: how the scores were made, as JSON."""

MOST_PROCESSES = 8
"""Unless said otherwise: each holds PyTorch."""

MOST_DIFFERENT = 0.01
"""Share of an image's pixels that may be predicted otherwise than in the evaluation, which another kind of processor
does at the edge of the threshold. Beyond, the files don't belong together."""


class DamagedRunError(OSError):
    """A finished run's file is gone, or isn't what was written."""


def score_file(run_id: str) -> str:
    """Where a run's extra scores are in the store."""
    return f"scores/{run_id}.parquet"


def score_study(
    store: Store,
    study: str,
    scores: Collection[ExtraScore],
    tolerance: float = TOLERANCE,
    jobs: int | None = None,
    console: Console | None = None,
) -> bool:
    """Score all finished runs of a study that aren't yet; say what was done, and of which runs it couldn't be.

    Args:
        store: of the runs.
        study: its name.
        scores: which.
        tolerance: of surface Dice, in pixels.
        jobs: processes at once.
        console: to print on.

    Returns:
        Whether all finished runs have the scores now.

    Raises:
        ConfigError: an unknown study, no score, a missing package, a tolerance below 0, or decoded images that are gone.
    """
    console = console or Console()
    _check(scores, tolerance, jobs)
    runs, waiting = _wanted(store, study, scores, tolerance)
    failures: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Scoring test images", total=len(waiting))
        for run_id, told in _score_all(store, waiting, scores, tolerance, jobs):
            progress.advance(task)
            if isinstance(told, DamagedRunError):
                failures.append(f"{runs[run_id]} ({run_id}): {told}")
            elif told["differing_images"]:
                about = f"{told['differing_images']} images are predicted otherwise here than when they were counted"
                share = f"in up to {told['largest_share']:.3%} of their pixels"
                warning = Text.assemble(("warning: ", "bold yellow"), f"{runs[run_id]} ({run_id}): {about}, {share}")
                console.print(warning, soft_wrap=True)
    for failure in failures:
        console.print(Text.assemble(("failed: ", "bold red"), failure), soft_wrap=True)
    done = len(waiting) - len(failures)
    names = ", ".join(name for name in EXTRA_SCORES if name in scores)
    console.print(
        Text(f"Extra scores ({names}): {done} runs scored, {len(runs) - len(waiting)} had them; {store.where}/scores"),
        soft_wrap=True,
    )
    return not failures


def _check(scores: Collection[ExtraScore], tolerance: float, jobs: int | None) -> None:
    if not scores:
        raise ConfigError(f"scores is empty; expected some of {', '.join(EXTRA_SCORES)}")
    if not 0 <= tolerance < float("inf"):
        raise ConfigError(f"tolerance is {tolerance!r}; expected pixels, at least 0")
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs!r}; expected at least 1")
    require_packages(scores)


def _wanted(
    store: Store, study: str, scores: Collection[ExtraScore], tolerance: float
) -> tuple[dict[str, str], list[str]]:
    """Names of a study's finished runs by id, and which of them have to be scored; their images are on this machine."""
    names = sorted(name.removesuffix(".json") for name in store.storage.names("studies"))
    if study not in names:
        raise ConfigError(f"unknown study {study!r} in {store.where}; known: {', '.join(names) or 'none'}")
    record, done = json.loads(store.storage.read(f"studies/{study}.json")), store.done()
    runs = {run["run_id"]: f"{run['arm']} seed {run['seed']}" for run in record["runs"] if run["run_id"] in done}
    waiting = [run_id for run_id in runs if not _is_scored(store, run_id, scores, tolerance)]
    if waiting:
        fingerprint = json.loads(store.storage.read(f"runs/{waiting[0]}/config.json"))["dataset"]["fingerprint"]
        try:
            store.fetch_dataset(fingerprint).stat()
        except FileNotFoundError:
            raise ConfigError(
                f"the decoded images of study {study!r} ({fingerprint}) are gone from {store.cache}; to decode them "
                f"again, which trains nothing anew, give its command once more: {record['command']}"
            ) from None
    return runs, waiting


def _score_all(
    store: Store, runs: Sequence[str], scores: Collection[ExtraScore], tolerance: float, jobs: int | None
) -> Iterator[tuple[str, dict[str, Any] | DamagedRunError]]:
    """Score runs, several at once where there are several cores: a run's id, and `score_run`'s answer or why not."""
    cores = 1 if torch.cuda.is_available() else min(MOST_PROCESSES, len(os.sched_getaffinity(0)))
    processes = min(jobs or cores, len(runs))
    if processes <= 1:
        for run_id in runs:
            yield run_id, _try_run(store.where, run_id, scores, tolerance)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        pending: dict[Future[dict[str, Any] | DamagedRunError], str] = {
            pool.submit(_try_run, store.where, run_id, scores, tolerance): run_id for run_id in runs
        }
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _try_run(
    where: str, run_id: str, scores: Collection[ExtraScore], tolerance: float
) -> dict[str, Any] | DamagedRunError:
    """`score_run` in whatever process; one run's damage doesn't keep the others from being scored."""
    try:
        return score_run(Store.at(where), run_id, scores, tolerance)
    except DamagedRunError as error:
        return error


def score_run(
    store: Store, run_id: str, scores: Collection[ExtraScore], tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """Score a finished run's test images, as it was trained, and write them to `score_file`.

    Scores that the file has already are made again beside those wanted, with the same tolerance.

    Returns:
        The file's settings: see docs/how-to/extra-scores.md.

    Raises:
        DamagedRunError: a file of the run isn't what was written, or its weights don't make the masks that were counted.
    """
    checksums = _checksums(store, run_id)
    there = _settings(store, run_id)
    scores = [name for name in EXTRA_SCORES if name in scores or name in there.get("scores", ())]
    description = _verified(store, run_id, "config.json", checksums)
    predictor = Predictor.parse(description, _verified(store, run_id, "weights.safetensors", checksums))
    counted = pd.read_parquet(io.BytesIO(_verified(store, run_id, "images.parquet", checksums)))
    config = _run_config(json.loads(description))
    dataset = Dataset.open(store.fetch_dataset(config.dataset))
    on_gpu = json.loads(description)["hardware"]["device"] != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")  # as it was evaluated, where that can be
    torch.backends.cudnn.deterministic = True
    with one_thread(device):
        fitted = Fitted(predictor.model.to(device), *encode_metadata(config, dataset), best_epoch=0, history=())
        table, counts = _predict_and_score(config, fitted, dataset, device, scores, tolerance)
    different = _differences(table, counts, counted, store.run_folder(run_id))
    settings = {
        "version": VERSION,
        "scores": scores,
        "tolerance": tolerance,
        "weights_sha256": checksums["weights.safetensors"],
        "device": device.type,
        "differing_images": int((different > 0).sum()),
        "largest_share": float(different.max()),
        "versions": {name: _version(name) for name in ("metaseg", "monai", "numpy", "scikit-image", "scipy", "torch")},
    }
    content = io.BytesIO()
    rows = pa.Table.from_pandas(table, preserve_index=False)
    pq.write_table(rows.replace_schema_metadata({SETTINGS: json.dumps(settings)}), content)
    store.storage.write(score_file(run_id), content.getvalue())
    return settings


def _predict_and_score(
    config: RunConfig,
    fitted: Fitted,
    dataset: Dataset,
    device: torch.device,
    scores: Sequence[ExtraScore],
    tolerance: float,
) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.int64]]]:
    """A row a test image and class, in the order of the run's own rows; and its counts `(rows, 4)`, made anew."""
    _, samples, vectors = next(evaluations(config, fitted, dataset))
    classes = dataset.classes
    counts = np.zeros((len(samples), len(classes), 4), np.int64)
    found: dict[tuple[int, int], dict[str, float]] = {}
    for positions, logits, target in predictions(fitted.model, dataset, samples, vectors.to(device), device):
        counts[positions] = confusion_counts(logits, target).cpu().numpy()
        labels = (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
        for position, predicted, reference in zip(positions, labels.cpu().numpy(), target.cpu().numpy(), strict=True):
            for k in range(len(classes)):
                masks = (predicted == k + 1, reference == k + 1)
                found[int(position), k] = score_masks(*masks, scores, tolerance)
    rows = dataset.table.iloc[samples.repeat(len(classes))].reset_index(drop=True)
    table = rows[["image", "subgroup"]].assign(**{"class": list(classes) * len(samples)})
    return table.join(pd.DataFrame([found[key] for key in sorted(found)])), counts.reshape(-1, 4)


def _differences(
    table: pd.DataFrame, counts: np.ndarray[Any, np.dtype[np.int64]], counted: pd.DataFrame, folder: str
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The share of each row's pixels, at least, that are predicted otherwise than the run's `images.parquet` says."""
    before = counted[counted["evaluation"] == "as-trained"].reset_index(drop=True)
    keys = ["image", "subgroup", "class"]
    if not before[keys].astype(str).equals(table[keys].astype(str)):
        raise DamagedRunError(f"{folder}/images.parquet: not of the images that the decoded dataset has for test")
    changed = np.abs(counts - before[["tp", "fp", "fn", "tn"]].to_numpy())[:, :2].sum(axis=1)
    share = changed / counts.sum(axis=1)
    if share.max() > MOST_DIFFERENT:
        image = table["image"].iloc[int(share.argmax())]
        raise DamagedRunError(
            f"{folder}: its weights predict {share.max():.1%} of the pixels of {image} otherwise than its images.parquet "
            f"counts; expected at most {MOST_DIFFERENT:.0%}"
        )
    return np.asarray(share, np.float64)


def _is_scored(store: Store, run_id: str, scores: Collection[ExtraScore], tolerance: float) -> bool:
    """Whether the run has these scores, of the weights that it has, with this tolerance."""
    there = _settings(store, run_id)
    return (
        set(scores) <= set(there.get("scores", ()))
        and ("surface-dice" not in scores or there["tolerance"] == tolerance)
        and there["weights_sha256"] == _checksums(store, run_id).get("weights.safetensors")
    )


def _settings(store: Store, run_id: str) -> dict[str, Any]:
    """How the run's score file was made; nothing where there is none, or one that can't be read or is of old code."""
    content = store.storage.read_or_none(score_file(run_id))
    try:
        metadata = pq.read_schema(io.BytesIO(content or b"")).metadata or {}
        settings: dict[str, Any] = json.loads(metadata.get(SETTINGS, b"{}"))
    except (pa.ArrowInvalid, ValueError):
        return {}
    return settings if settings.get("version") == VERSION else {}


def _checksums(store: Store, run_id: str) -> dict[str, str]:
    checksums: dict[str, str] = json.loads(store.storage.read(f"runs/{run_id}/DONE"))["sha256"]
    return checksums


def _verified(store: Store, run_id: str, name: str, checksums: dict[str, str]) -> bytes:
    """A run's file; raises `DamagedRunError` where it isn't what `DONE` says."""
    content = store.storage.read_or_none(f"runs/{run_id}/{name}")
    where = f"{store.run_folder(run_id)}/{name}"
    if content is None:
        raise DamagedRunError(f"{where}: gone, though its run is done")
    if (found := hashlib.sha256(content).hexdigest()) != checksums.get(name):
        raise DamagedRunError(f"{where}: corrupt: its SHA-256 is {found}, DONE says {checksums.get(name)}")
    return content


def _run_config(description: dict[str, Any]) -> RunConfig:
    """The configuration that a run's `config.json` describes."""
    network, arm, subset = description["network"], description["arm"], description["subset"]
    return RunConfig(
        arm["block"],
        arm["metadata_mode"],
        description["seed"],
        description["dataset"]["fingerprint"],
        NetworkConfig(**network | {"positions": tuple(network["positions"])}),
        ScheduleConfig(**description["schedule"]),
        Subset(**subset | {"splits": tuple(subset["splits"])}) if subset else None,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
