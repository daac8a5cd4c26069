"""Checks that a GPU computes what a CPU does, the same each time, and without waiting."""

import contextlib
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training.work import Size, Work, make_work
from metaseg.config import EngineConfig, NetworkConfig, RunConfig
from metaseg.data.crops import HostCutter, Placement, ResidentCutter
from metaseg.device import Arithmetic, one_thread, possible_arithmetic
from metaseg.store.checkpoints import StoredCheckpoints
from metaseg.store.runs import Store
from metaseg.study.run_id import run_id
from metaseg.training.evaluate import evaluate
from metaseg.training.fit import fit
from metaseg.training.history import Epoch
from metaseg.training.step import on_gpu

SMALL = Size(side=64, images=42, network=NetworkConfig(width=4, depth=2), batch=4, crop=32)
CPU = torch.device("cpu")
FULL_PRECISION = Arithmetic(torch.float32, channels_last=False)


class _StoppedError(Exception):
    """Training is ended in the middle, as by a fault."""


def check_all(device: torch.device) -> list[dict[str, Any]]:
    """Run every check; a row each: `name`, `passed` and what was seen, `said`."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="metaseg-gpu-day-") as folder, one_thread(device):
        work = make_work(Path(folder), SMALL, CPU, 1)
        for name, check in CHECKS.items():
            try:
                rows.append({"name": name, "passed": True, "said": check(work, device, Path(folder))})
            except Exception as error:  # the others are to be run
                rows.append({"name": name, "passed": False, "said": f"{type(error).__name__}: {error}"[:500]})
    return rows


def _losses(work: Work, device: torch.device, arithmetic: Arithmetic) -> list[float]:
    fitted = fit(work.config(epochs=3), work.dataset, device, arithmetic=arithmetic)
    return [epoch.train_loss for epoch in fitted.history]


def losses_are_the_cpus(work: Work, device: torch.device, folder: Path) -> str:
    """In every arithmetic of the device, training losses are those of the CPU within its precision."""
    expected, said = _losses(work, CPU, FULL_PRECISION), []
    for each in dict.fromkeys([FULL_PRECISION, *possible_arithmetic(device)]):
        found = _losses(work, device, each)
        apart = float(np.max(np.abs(np.array(found) / np.array(expected) - 1)))
        said.append(f"{each}: {apart:.2%}")
        _require(apart < (0.02 if each.dtype == torch.float32 else 0.05), f"losses differ: {said[-1]}")
    return "largest relative difference in 3 epochs: " + ", ".join(said)


def counts_are_the_cpus(work: Work, device: torch.device, folder: Path) -> str:
    """Evaluation on the device counts nearly the same pixels as on the CPU."""
    fitted, samples = fit(work.config(epochs=2), work.dataset, CPU), work.dataset.indices("test")
    expected = evaluate(fitted.model, work.dataset, samples, fitted.vectors, CPU)
    found = evaluate(fitted.model.to(device), work.dataset, samples, fitted.vectors.to(device), device)
    apart = int(np.abs(found - expected).sum()) / int(expected.sum())
    _require(apart < 0.01, f"{apart:.3%} of the pixels are counted otherwise")
    return f"{apart:.3%} of the pixels are counted otherwise"


def cutters_give_equal_bits(work: Work, device: torch.device, folder: Path) -> str:
    """Crops that are cut on the device are those that are cut on the host and sent in pinned memory."""
    samples = work.dataset.indices("train")
    placement = Placement.draw(work.dataset, samples, 48, seed=1, epoch=1)
    host, resident = (cutter(work.dataset, device)(placement, 48) for cutter in (HostCutter, ResidentCutter))
    for one, other in zip(host, resident, strict=True):
        _require(torch.equal(one, other), "crops differ")
    return f"{len(samples)} crops"


def resuming_gives_equal_bits(work: Work, device: torch.device, folder: Path) -> str:
    """A training that was stopped and resumed has the weights of one that wasn't, and so has a repetition."""
    config, store = work.config(epochs=4), Store.at(folder / "store")

    def weights(config: RunConfig, **more: Any) -> dict[str, torch.Tensor]:
        return fit(config, work.dataset, device, **more).model.state_dict()

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 3:
            raise _StoppedError

    checkpoints = StoredCheckpoints(store, run_id(config), EngineConfig(checkpoint_epochs=1))
    whole, again = weights(config), weights(config)
    with contextlib.suppress(_StoppedError):
        fit(config, work.dataset, device, stop, checkpoints)
    resumed = weights(config, checkpoints=checkpoints)
    for name in whole:
        _require(torch.equal(whole[name], again[name]), f"{name} differs when the training is repeated")
        _require(torch.equal(whole[name], resumed[name]), f"{name} differs when the training is resumed")
    return f"{len(whole)} tensors"


def _waits(function: Callable[..., object], *arguments: object) -> int:
    """Number of times that a call waits for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            function(*arguments)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


def an_epoch_never_waits_for_the_device(work: Work, device: torch.device, folder: Path) -> str:
    """Steps are sent to a GPU without waiting for it: twice as many steps in an epoch give no more synchronisations."""
    if device.type != "cuda":
        return "nothing to wait for on a CPU"
    counts = []
    for batch in (8, 4):
        config = work.config(epochs=2)
        config = replace(config, schedule=replace(config.schedule, batch_size=batch, validate_every=2))
        counts.append(_waits(fit, config, work.dataset, device))
    _require(counts[0] == counts[1], f"{counts[0]} and {counts[1]} synchronisations with 1x and 2x the steps")
    return f"{counts[0]} synchronisations in 2 epochs, whatever the number of steps"


def an_evaluation_waits_once(work: Work, device: torch.device, folder: Path) -> str:
    """Batches of an evaluation are sent without waiting: 48 times as many images give no more synchronisations."""
    if device.type != "cuda":
        return "nothing to wait for on a CPU"
    fitted, samples = fit(work.config(epochs=1), work.dataset, device), work.dataset.indices("test")
    counts = []
    for several in (samples, np.concatenate([samples] * 48)):
        counts.append(_waits(evaluate, fitted.model, work.dataset, several, fitted.vectors, device))
    _require(counts[0] == counts[1], f"{counts[0]} and {counts[1]} synchronisations with 1x and 48x the images")
    return f"{counts[0]} synchronisations, whatever the number of images"


def replayed_steps_learn_alike(work: Work, device: torch.device, folder: Path) -> str:
    """Steps that are replayed from a CUDA graph give the losses of steps that are launched one by one."""
    if device.type != "cuda":
        return "no graphs on a CPU"
    found = [fit(work.config(epochs=3), work.dataset, device, capture=capture) for capture in (on_gpu, None)]
    _require(found[0].captured, "no step was captured")
    _require(not found[1].captured, "a step was captured although none should be")
    replayed, launched = (np.array([epoch.train_loss for epoch in fitted.history]) for fitted in found)
    apart = float(np.max(np.abs(replayed / launched - 1)))
    _require(apart < 0.02, f"losses differ by {apart:.2%}")
    return f"largest relative difference in 3 epochs: {apart:.3%}"


CHECKS: dict[str, Callable[[Work, torch.device, Path], str]] = {
    "losses": losses_are_the_cpus,
    "counts": counts_are_the_cpus,
    "cutters": cutters_give_equal_bits,
    "resume": resuming_gives_equal_bits,
    "waits": an_epoch_never_waits_for_the_device,
    "waits of evaluation": an_evaluation_waits_once,
    "graphs": replayed_steps_learn_alike,
}


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
