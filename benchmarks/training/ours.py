"""Our training and evaluation, end to end."""

import contextlib
import queue
import threading
import time
from functools import partial
from unittest.mock import patch

import torch

import metaseg.device
from benchmarks.training.bare import Arithmetic, type_name
from benchmarks.training.contender import Lap
from benchmarks.training.work import Work
from metaseg.config import RunConfig
from metaseg.device import half_precision, usual_arithmetic
from metaseg.training.arithmetic import choose
from metaseg.training.evaluate import evaluate
from metaseg.training.fit import build_network, encode_metadata, fit
from metaseg.training.history import Epoch
from metaseg.training.step import Capture, on_gpu


class _ClosedError(Exception):
    """Nobody asks for another lap."""


class Ours:
    """`metaseg.training.fit.fit`, whole, in a thread of its own that waits between epochs for its next turn.

    Args:
        work: what is trained on.
        config: the run.
        full_precision: compute in float32 also where the device has a faster type.
        capture: how steps are captured on a GPU; None to launch each.
    """

    def __init__(
        self, work: Work, config: RunConfig, full_precision: bool = False, capture: Capture | None = on_gpu
    ) -> None:
        self.work, self.config, self.full_precision = work, config, full_precision
        half = None if full_precision else half_precision(work.device)
        self.about = f"SME U-Net by metaseg.training.fit; {str(half or torch.float32).removeprefix('torch.')}"
        vectors = encode_metadata(config, work.dataset)[1]
        model = build_network(config, work.dataset.channels, len(work.dataset.classes), vectors.shape[1])
        self.parameters = sum(weights.numel() for weights in model.parameters())
        self._capture = capture
        self._turn = threading.Semaphore(0)
        self._news: queue.Queue[Epoch | BaseException] = queue.Queue()
        self._closed = False
        self._last: Epoch | None = None
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def lap(self) -> Lap:
        """An epoch and its validation; the first one's also builds what training needs."""
        started = time.perf_counter()
        with self._precision():
            self._turn.release()
            news = self._news.get()
        seconds = time.perf_counter() - started
        if isinstance(news, BaseException):
            raise news
        self._last = news
        training = self.work.crops / news.images_per_second
        return Lap(self.work.crops, training, seconds - training)

    def score(self) -> float:
        """Validation F1 of the last epoch, from the training's own validation."""
        if self._last is None or self._last.val_f1 is None:
            raise ValueError("score is of a lap that was validated; there was none")
        return self._last.val_f1

    def close(self) -> None:
        """End training where it is."""
        self._closed = True
        self._turn.release()
        self._thread.join()

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """The device's choice is no setting of a run, so it is taken away while this training has its turn."""
        if self.full_precision:
            return patch.object(metaseg.device, "half_precision", lambda device: None)
        return contextlib.nullcontext()

    def _fit(self) -> None:
        try:
            self._wait()
            fit(self.config, self.work.dataset, self.work.device, self._tell, capture=self._capture)
        except _ClosedError:
            pass
        except BaseException as error:  # it is the caller's, whatever it is
            self._news.put(error)

    def _tell(self, epoch: Epoch) -> None:
        self._news.put(epoch)
        if epoch.epoch < self.config.schedule.epochs:
            self._wait()

    def _wait(self) -> None:
        self._turn.acquire()
        if self._closed:
            raise _ClosedError


def chosen_arithmetic(work: Work) -> Arithmetic:
    """The arithmetic that our training chooses for the work on this machine."""
    config = work.config()
    vectors, classes = encode_metadata(config, work.dataset)[1], len(work.dataset.classes)
    make = partial(build_network, config, work.dataset.channels, classes, vectors.shape[1])
    shape = (work.size.batch, work.dataset.channels, work.size.crop, work.size.crop)
    found = choose(config, make, shape, vectors.shape[1], classes, work.device, len(work.dataset.table))
    return Arithmetic(type_name(found.dtype), found.channels_last)


class OurEvaluation:
    """`metaseg.training.evaluate.evaluate` of all validation images: decoded pixels in, counts out."""

    def __init__(self, work: Work) -> None:
        self.work = work
        config = work.config()
        vectors = encode_metadata(config, work.dataset)[1]
        self.model = build_network(config, work.dataset.channels, len(work.dataset.classes), vectors.shape[1])
        self.model.to(work.device, memory_format=usual_arithmetic(work.device).memory_format)
        self.vectors: torch.Tensor = vectors.to(work.device)

    def lap(self) -> Lap:
        """All validation images once."""
        samples = self.work.dataset.indices("val")
        started = time.perf_counter()
        evaluate(self.model, self.work.dataset, samples, self.vectors, self.work.device)
        return Lap(len(samples), time.perf_counter() - started)

    def close(self) -> None:
        """Nothing to let go of."""
