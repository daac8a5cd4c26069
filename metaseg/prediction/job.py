"""Segmenting many images: batched by size, decoded and written beside the network's work, resumable."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
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
from metaseg.training.evaluate import BATCH_PIXELS, TILED_ABOVE

WINDOW, WINDOW_PIXELS = 32, 2**26
"""Most images, and most pixels, that are decoded ahead, and among which those of one size form batches."""

THREADS = 4
"""Threads that decode and write images."""

SAVE_SECONDS = 5.0
"""Time after which the record of what is done is written anew: what a killed process loses at most."""


@dataclass
class Outcome:
    """Numbers of images that were segmented, and the failures."""

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
    results.require_own(requests)
    waiting = [request for request in requests if not results.is_done(request)]
    outcome = Outcome(before=len(requests) - len(waiting))
    windows = _windows(waiting)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    saved = time.monotonic()
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with ThreadPoolExecutor(THREADS) as pool, ThreadPoolExecutor(THREADS) as writers, progress:
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
                        writers.submit(results.add, window[k], decoded[k][0], found, ensemble.classes, decoded[k][1])
                        for k, found in zip(batch, predictions, strict=True)
                    ]
                    for write in writes:
                        write.result()
                    outcome.done += len(batch)
                    progress.advance(task, len(batch))
                    if time.monotonic() - saved > SAVE_SECONDS:
                        results.save()
                        saved = time.monotonic()
        finally:
            results.save()
    return outcome


def _windows(waiting: Sequence[Request]) -> list[list[Request]]:
    """The images in order, in parts that fit into memory."""
    windows: list[list[Request]] = []
    pixels = 0
    for request in waiting:
        size = _size(request)
        if not windows or len(windows[-1]) == WINDOW or pixels + size > WINDOW_PIXELS:
            windows.append([])
            pixels = 0
        windows[-1].append(request)
        pixels += size
    return windows


def _size(request: Request) -> int:
    """Number of pixels, by the file's header; that of a large image where it can't be read so."""
    try:
        with Image.open(request.files[0]) as image:
            return image.width * image.height
    except Exception:  # Pillow promises no type of error; reading the image tells what is wrong
        return TILED_ABOVE


def _decode(
    pool: ThreadPoolExecutor, window: Sequence[Request], ensemble: Ensemble, meaning: MaskValues
) -> dict[int, Future[Decoded]]:
    return {k: pool.submit(read_request, request, ensemble, meaning) for k, request in enumerate(window)}


def read_request(request: Request, ensemble: Ensemble, meaning: MaskValues) -> Decoded:
    """Read an image and its reference, if it has one; raises `ManifestError` where that can't be done."""
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
