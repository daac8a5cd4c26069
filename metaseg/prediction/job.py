"""Segmenting many images: batched by size, decoded and written beside the network's work, resumable."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from metaseg.config import ConfigError
from metaseg.data.decode import decode_mask, mask_files
from metaseg.data.manifest import ManifestError
from metaseg.data.mask_values import MaskValues, Pixels
from metaseg.data.reading import ImagePixels
from metaseg.prediction.ensemble import Ensemble
from metaseg.prediction.requests import Request
from metaseg.prediction.results import Results
from metaseg.terminal import Terminal
from metaseg.training.evaluate import BATCH_PIXELS

WINDOW = 32
"""Images that are decoded ahead, and among which those of one size form batches."""

THREADS = 4
"""Threads that decode and write images."""

SAVE_SECONDS = 5.0
"""Time after which the record of what is done is written anew: what a killed process loses at most."""


@dataclass
class Outcome:
    """What became of the images."""

    done: int = 0
    before: int = 0
    """Images that an earlier call had segmented."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why, by name of the image."""


Decoded = tuple[ImagePixels, Pixels | None]


def segment(
    requests: Sequence[Request], ensemble: Ensemble, results: Results, meaning: MaskValues, console: Terminal
) -> Outcome:
    """Segment the images that aren't yet, and write what is wanted of them.

    An image that can't be read is left out, and the outcome says why. If the process is killed, the next call goes on
    from what is done.

    Args:
        requests: the images.
        ensemble: the networks.
        results: where to write.
        meaning: of the references' values.
        console: for progress.
    """
    waiting = [request for request in requests if not results.is_done(request)]
    outcome = Outcome(before=len(requests) - len(waiting))
    windows = [waiting[start : start + WINDOW] for start in range(0, len(waiting), WINDOW)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    saved = time.monotonic()
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(THREADS) as pool, progress:
        task = progress.add_task("Segmenting", total=len(waiting))
        try:
            ahead = _decode(pool, windows[0], ensemble, meaning) if windows else {}
            for number, window in enumerate(windows):
                decoded, failed = _wait(ahead)
                if number + 1 < len(windows):
                    ahead = _decode(pool, windows[number + 1], ensemble, meaning)
                outcome.failed |= {window[k].name: reason for k, reason in failed.items()}
                progress.advance(task, len(failed))
                for batch in _batches(decoded):
                    pixels = [decoded[k][0] for k in batch]
                    predictions = ensemble.predict(pixels, [window[k].told for k in batch])
                    writes = [
                        pool.submit(results.add, window[k], decoded[k][0], found, ensemble.classes, decoded[k][1])
                        for k, found in zip(batch, predictions, strict=True)
                    ]
                    for write in writes:
                        write.result()
                    outcome.done += len(batch)
                    progress.advance(task, len(batch))
                    if time.monotonic() - saved > SAVE_SECONDS:
                        results.save(requests)
                        saved = time.monotonic()
        finally:
            results.save(requests)
    return outcome


def _decode(
    pool: ThreadPoolExecutor, window: Sequence[Request], ensemble: Ensemble, meaning: MaskValues
) -> dict[int, Future[Decoded]]:
    return {k: pool.submit(_read, request, ensemble, meaning) for k, request in enumerate(window)}


def _read(request: Request, ensemble: Ensemble, meaning: MaskValues) -> Decoded:
    pixels = request.decode(ensemble)
    if request.reference is None:
        return pixels, None
    reference = decode_mask(mask_files(request.reference), meaning)
    if reference.shape != pixels.shape[:2]:
        size, expected = (f"{shape[1]}x{shape[0]}" for shape in (reference.shape, pixels.shape))
        raise ManifestError(f"{request.reference}: is {size} (width x height); expected {expected}, as the image")
    return pixels, reference


def _wait(ahead: Mapping[int, Future[Decoded]]) -> tuple[dict[int, Decoded], dict[int, str]]:
    """Images that could be read, and why others couldn't, by position in the window."""
    decoded: dict[int, Decoded] = {}
    failed: dict[int, str] = {}
    for k, future in ahead.items():
        try:
            decoded[k] = future.result()
        except (ManifestError, ConfigError, OSError) as error:
            failed[k] = str(error)
    return decoded, failed


def _batches(decoded: Mapping[int, Decoded]) -> list[list[int]]:
    """Positions of images of one size and type, at most `BATCH_PIXELS` at once."""
    kinds: dict[tuple[tuple[int, ...], np.dtype[np.generic]], list[int]] = {}
    for k, (pixels, _) in decoded.items():
        kinds.setdefault((pixels.shape, pixels.dtype), []).append(k)
    batches = []
    for (shape, _), members in kinds.items():
        at_once = max(1, BATCH_PIXELS // (shape[0] * shape[1]))
        batches += [members[start : start + at_once] for start in range(0, len(members), at_once)]
    return batches
