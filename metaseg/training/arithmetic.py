"""Choice of a training's arithmetic: measured once on each machine for each network and batch, and kept there.

Which memory format and number format is fastest depends on the processor and on the network's size: channels-last is
slower on one machine by as much as it is faster on another. What was chosen is kept in a file, so that all runs of a
study have the same arithmetic, whichever arm they are of, and a run the same bits.
"""

import contextlib
import hashlib
import json
import math
import os
import platform
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from metaseg.config import ArithmeticName, ConfigError, RunConfig
from metaseg.device import Arithmetic, possible_arithmetic
from metaseg.training.checkpoint import CheckpointWarning
from metaseg.training.compilation import LONG_SECONDS, Compilation, compiled, measure, read, written
from metaseg.training.losses import segmentation_loss
from metaseg.training.schedule import build_optimizer
from metaseg.training.world import World

LEAST_SAMPLES = 60
"""Trainings on smaller datasets have the usual arithmetic: measuring takes longer than it saves. All samples of a
dataset count, so that the answer is the same for all arms and folds of a study."""

SECONDS = 0.6
"""Time for measuring, at least `ROUNDS` steps of each candidate though."""

ROUNDS = 3
"""Least steps of each candidate. One that is chosen over the usual one was faster in every round: other programs on the
machine slow down one step or another."""

SLOW_SECONDS = 5.0
"""Networks whose steps take longer have the usual arithmetic: measuring would take minutes."""

CLEARLY = 0.03
"""Share of a step's time that another arithmetic must save to be chosen over the usual one."""

Trial = Callable[[], None]


def choose(
    config: RunConfig,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    metadata: int,
    classes: int,
    device: torch.device,
    samples: int,
    steps: int = 0,
) -> Arithmetic:
    """Choose a training's arithmetic; every worker of the process group must call it, and all get the first one's.

    Args:
        config: the run; what isn't the network's or the batch's size doesn't matter.
        make: makes the network.
        shape: `(N, C, H, W)` of this worker's batches.
        metadata: M, the length of a sample's metadata.
        classes: number of classes.
        device: of the training.
        samples: number of samples of the whole dataset.
        steps: number of steps of a training with all of them; a long training on one worker of a CPU may be compiled.
    """
    world, candidates = World.current(), possible_arithmetic(device)
    if samples < LEAST_SAMPLES or len(candidates) == 1:
        return candidates[0]
    place = 0
    names = [str(each) for each in candidates]
    file = _folder() / f"{_key(config, shape, classes, device, names)}.json"
    if world.rank == 0:
        known = _read(file, names)
        if known is None:
            seconds = _measure(
                [partial(_trial, make, each, config, shape, metadata, classes, device) for each in candidates]
            )
            if device.type == "cuda":
                torch.cuda.empty_cache()  # beside other runs
            known = _keep(file, names, _fastest(seconds), [min(each) for each in seconds])
        place = known
    found = candidates[int(world.gather(place)[0])]
    is_long = LONG_SECONDS <= steps * _kept_seconds(file, str(found)) < math.inf
    if world.size > 1 or device.type != "cpu" or not is_long:
        return found
    fast = replace(found, compiled=True)
    makers = [partial(_trial, make, each, config, shape, metadata, classes, device) for each in (found, fast)]
    return fast if _compilation(file.with_suffix(".compiled"), makers).pays(steps) else found


def _compilation(file: Path, makers: Sequence[Callable[[], Trial]]) -> Compilation:
    """Times with and without compiling that were kept, or are measured now, by trials of both kinds."""
    known = read(file)
    if known is None:
        measured = measure(*(make() for make in makers))
        _link(file, written(measured), lambda: read(file) is None)
        known = read(file)
    # Where nothing can be kept, networks aren't compiled: the next run would perhaps choose otherwise.
    return known or Compilation(0.0, 0.0, 0.0)


def _fastest(seconds: Sequence[Sequence[float]]) -> int:
    """The place of the fastest candidate; 0, the usual one, unless another was clearly faster, and in every round."""
    best = min(range(len(seconds)), key=lambda place: min(seconds[place]))
    always = all(one < usual for one, usual in zip(seconds[best], seconds[0], strict=False))
    return best if always and min(seconds[best]) < (1 - CLEARLY) * min(seconds[0]) else 0


def named(name: ArithmeticName, device: torch.device) -> Arithmetic | None:
    """The arithmetic that a setting names; None for "auto".

    Raises:
        ConfigError: the device has no such one.
    """
    known = _known(device)
    if name == "auto":
        return None
    if name not in known:
        raise ConfigError(f"arithmetic is {name!r}, which {device.type} here doesn't have; expected {', '.join(known)}")
    return known[name]


def _known(device: torch.device) -> dict[str, Arithmetic]:
    """All arithmetic of a device, by name."""
    possible = possible_arithmetic(device)
    compiled_too = [replace(each, compiled=True) for each in possible if device.type == "cpu"]
    return {str(each): each for each in (*possible, *compiled_too)}


def continued(before: str, arithmetic: Arithmetic, device: torch.device) -> Arithmetic:
    """The arithmetic of a training that goes on from a checkpoint: the checkpoint's, whatever is chosen or set now.

    Args:
        before: name of the checkpoint's; empty where there is none.
        arithmetic: what is chosen now.
        device: of the training. Where it lacks the checkpoint's arithmetic, training goes on in the other, with a
            warning.
    """
    if before in ("", str(arithmetic)):
        return arithmetic
    known = _known(device)
    kept = known.get(before, arithmetic)
    warnings.warn(
        f"training began in {before} and goes on in {kept}; chosen or set now is {arithmetic}",
        CheckpointWarning,
        stacklevel=3,
    )
    return kept


def _trial(
    make: Callable[[], nn.Module],
    arithmetic: Arithmetic,
    config: RunConfig,
    shape: tuple[int, ...],
    metadata: int,
    classes: int,
    device: torch.device,
) -> Trial:
    """A training step on noise, as a function to be called."""
    model = make().to(device, memory_format=arithmetic.memory_format).train()  # type: ignore[call-overload]
    optimizer = build_optimizer(model, config.schedule)
    network = compiled(model, caches()) if arithmetic.compiled else model
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(shape, generator=generator).to(device).clone(memory_format=arithmetic.memory_format)
    target = torch.randint(classes + 1, (shape[0], *shape[2:]), generator=generator, dtype=torch.uint8).to(device)
    told = torch.zeros(shape[0], metadata, device=device)

    def step() -> None:
        with arithmetic.autocast(device):
            outputs = network(image, told)
        logits = outputs[0] if isinstance(outputs, list | tuple) else outputs
        loss = segmentation_loss(logits.float(), target).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return step


def _measure(
    makers: Sequence[Callable[[], Trial]], clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Times of steps of each trial, the usual one first, one for each round; infinite for one that fails.

    Trials take turns, so that all of them see the same noise.
    """
    times: list[list[float]] = [[] for _ in makers]
    slow = False
    trials: dict[int, Trial] = {}
    for place, make in enumerate(makers):
        try:
            trial = make()
            before = clock()
            trial()
        except RuntimeError:  # out of memory, or an operator that isn't there in this format
            continue
        trials[place] = trial
        if slow := clock() - before > SLOW_SECONDS:
            break
    started, rounds = clock(), 0
    while not slow and (rounds < ROUNDS or clock() - started < SECONDS):
        for place, trial in trials.items():
            before = clock()
            trial()
            times[place].append(clock() - before)
        rounds += 1
    return [each or [float("inf")] for each in times]


def _key(config: RunConfig, shape: tuple[int, ...], classes: int, device: torch.device, names: Sequence[str]) -> str:
    """Name of a choice's file: a hash of all that it depends on. Blocks don't count, so that arms compute alike."""
    network = {name: value for name, value in asdict(config.network).items() if name in ("width", "depth")}
    elsewhere = config.architecture.network if config.architecture else None
    about = {
        "machine": _machine(device), "torch": torch.__version__, "threads": torch.get_num_threads(),
        "network": network, "architecture": elsewhere, "shape": shape, "classes": classes, "candidates": names,
    }  # fmt: skip
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _machine(device: torch.device) -> str:
    """The processor or the GPU, by name and by what it computes with."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} {torch.backends.cpu.get_cpu_capability()}"


def caches() -> Path:
    """The folder of what is kept on this machine from run to run."""
    return Path(os.environ.get("METASEG_CACHE", "~/.cache/metaseg")).expanduser()


def _folder() -> Path:
    return caches() / "arithmetic"


def _kept_seconds(file: Path, name: str) -> float:
    """The time of a step that was measured when the arithmetic was chosen; 0 where it isn't known."""
    try:
        return float(json.loads(file.read_bytes())["seconds_per_step"][name])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _read(file: Path, names: Sequence[str]) -> int | None:
    """The choice that was kept; None if there is none that can be read."""
    try:
        return names.index(json.loads(file.read_bytes())["chosen"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(file: Path, names: Sequence[str], place: int, seconds: Sequence[float]) -> int:
    """Keep a choice, and return the one that is kept: another process of this machine may have been first.

    Where nothing can be kept, the choice is the usual one, since the next run would perhaps choose otherwise.
    """
    content = json.dumps({"chosen": names[place], "seconds_per_step": dict(zip(names, seconds, strict=True))}, indent=2)
    _link(file, content + "\n", lambda: _read(file, names) is None)
    kept = _read(file, names)
    return 0 if kept is None else kept


def _link(file: Path, content: str, damaged: Callable[[], bool]) -> None:
    """Write a file if it isn't there or is damaged; whoever is first wins."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(content)
        if file.exists() and damaged():
            os.replace(temporary, file)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(temporary, file)
    except OSError:
        return
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
