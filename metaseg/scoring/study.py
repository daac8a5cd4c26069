"""Extra scores of a study's finished runs, several runs at once."""

import multiprocessing
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from metaseg.config import ConfigError
from metaseg.networks.block_source import Code
from metaseg.schema import EXTRA_SCORES, ExtraScore, study_file
from metaseg.scoring.masks import TOLERANCE, require_packages
from metaseg.scoring.run import is_scored, score_run
from metaseg.store.runs import DamagedRunError, Store, require_fingerprint, run_label
from metaseg.store.studies import read_study
from metaseg.terminal import Terminal

MOST_PROCESSES = 8
"""Default limit of processes: each one holds PyTorch."""


def score_study(
    store: Store,
    study: str,
    scores: Collection[ExtraScore],
    tolerance: float = TOLERANCE,
    jobs: int | None = None,
    console: Console | None = None,
    blocks: Sequence[Code] = (),
) -> bool:
    """Score the finished runs of a study that aren't scored yet, and print which were scored and which failed.

    Args:
        store: of the runs.
        study: its name.
        scores: which.
        tolerance: of surface Dice, in pixels.
        jobs: processes at once.
        console: to print on.
        blocks: classes from outside metaseg that the runs' blocks may be.

    Returns:
        Whether all finished runs have the scores now.

    Raises:
        ConfigError: an unknown study, no score, a missing package, a tolerance below 0, or images that are gone.
    """
    console = console or Terminal()
    _check(scores, tolerance, jobs)
    runs, waiting = _wanted(store, study, scores, tolerance)
    failures: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Scoring test images", total=len(waiting))
        for run_id, told in _score_all(store, waiting, scores, tolerance, jobs, blocks):
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
    record, done = read_study(store, study), store.done()
    try:
        runs = {run["run_id"]: run_label(run) for run in record["runs"] if run["run_id"] in done}
    except (KeyError, TypeError) as error:
        path = store.storage.locate(study_file(study))
        raise ConfigError(f"{path}: not a study's record; the study's command writes it anew") from error
    waiting = [run_id for run_id in runs if not _is_scored(store, run_id, scores, tolerance)]
    fingerprint = next((found for found in map(partial(_fingerprint, store), waiting) if found), None)
    if fingerprint:
        try:
            store.fetch_dataset(fingerprint).stat()
        except FileNotFoundError:
            raise ConfigError(
                f"the decoded images of study {study!r} ({fingerprint}) are gone from {store.cache}; to decode them "
                f"again, which trains nothing anew, give its command once more: {record['command']}"
            ) from None
    return runs, waiting


def _is_scored(store: Store, run_id: str, scores: Collection[ExtraScore], tolerance: float) -> bool:
    try:
        return is_scored(store, run_id, scores, tolerance)
    except DamagedRunError:
        return False  # scoring it says why


def _fingerprint(store: Store, run_id: str) -> str | None:
    """Fingerprint of a run's dataset; None if the run is damaged."""
    try:
        return require_fingerprint(store.open_run(run_id).description()["dataset"]["fingerprint"])
    except (DamagedRunError, KeyError, TypeError, ValueError):
        return None


def _score_all(
    store: Store,
    runs: Sequence[str],
    scores: Collection[ExtraScore],
    tolerance: float,
    jobs: int | None,
    blocks: Sequence[Code],
) -> Iterator[tuple[str, dict[str, Any] | DamagedRunError]]:
    """Score runs, several at once where there are several cores: a run's id, and `score_run`'s answer or why not."""
    cores = 1 if torch.cuda.is_available() else min(MOST_PROCESSES, os.cpu_count() or 1)
    # Other processes may not find the files of blocks from outside metaseg.
    processes = 1 if blocks else min(jobs or cores, len(runs))
    if processes <= 1:
        for run_id in runs:
            yield run_id, _try_run(store.where, run_id, scores, tolerance, blocks)
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"))
    try:
        pending: dict[Future[dict[str, Any] | DamagedRunError], str] = {
            pool.submit(_try_run, store.where, run_id, scores, tolerance, blocks): run_id for run_id in runs
        }
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _try_run(
    where: str,
    run_id: str,
    scores: Collection[ExtraScore],
    tolerance: float,
    blocks: Sequence[Code],
) -> dict[str, Any] | DamagedRunError:
    """`score_run` in whatever process; one run's damage doesn't keep the others from being scored."""
    try:
        return score_run(Store.at(where), run_id, scores, tolerance, blocks)
    except DamagedRunError as error:
        return error
