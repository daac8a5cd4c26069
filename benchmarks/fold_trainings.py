"""Small networks trained on many small simulated data sets, each in folds, on one split, and on halves.

    python -m benchmarks.fold_trainings --minutes 40 --folder FOLDER --images 40      # one core; continues
    python -m benchmarks.fold_trainings --minutes 20 --folder FOLDER --images 120     # where it ended

It writes a file a data set to FOLDER, with the F1 of every run on its test images and its mean F1 on images that are
new to all, and at the end all of them, rounded, to `results/fold_trainings.npz`, which `fold_calibration` reads.

A data set has 40 or 120 images of bright blobs of two lines, whose annotators draw the border at different brightness.
Arms are two copies of the baseline, `se` without metadata, which differ by nothing but their seeds, and `sme`, which
is told the line. Each is trained on the same images:

- in 4 folds, with 3 seeds each: what a cross-validated study does;
- on the first fold's training part with 9 seeds more: the same number of runs on a single split;
- on both halves of 5 random splits, once each: Dietterich's 5x2 cross-validation; every second data set of 40 only.

The networks are metaseg's own; the training loop is a lean one, which trains all runs of an arm at once.
"""

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import ndimage
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from benchmarks.fold_scores import FILE, pack, save
from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.networks.unet import UNet
from metaseg.training.losses import segmentation_loss
from metaseg.training.schedule import build_scheduler

Floats = npt.NDArray[np.float64]

SIDE, LINES = 16, 2
SIZES, NEW_IMAGES = (40, 120), 120
"""Images of a data set, small or larger, and of the one that is new to all."""
FOLDS, SEEDS, REPEATS = 4, 3, 5
RUNS = FOLDS * SEEDS
"""Runs of an arm in folds, and on the single split."""
BORDERS = (0.3, 0.7)
"""Borders that annotators of both lines draw, as shares of a blob's brightness."""
ARMS = ("baseline", "copy", "sme")
BATCH, STEPS = 4, 90
NETWORK = NetworkConfig(width=4, depth=1, reduction=1)
SCHEDULE = ScheduleConfig(shape="one-cycle", lr_max=0.02, lr_min=0.0005, weight_decay=0.0)
NEW = 2**31
"""Number of the data set whose images are new to all."""


@dataclass(frozen=True)
class Images:
    """Simulated images of one data set."""

    pixels: Tensor
    """`(N, 1, SIDE, SIDE)`"""
    masks: Tensor
    """`(N, SIDE, SIDE)`, 0 or 1."""
    line: npt.NDArray[np.int64]
    """`(N,)`, 0 or 1."""


@dataclass(frozen=True)
class Part:
    """Training and test images of one run."""

    design: str
    """`folds`, `split` (the first fold, with more seeds) or `halves`."""
    fold: int
    """Number of the fold; 2 x repeat + half for halves."""
    seed: int
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def simulate(number: int, images: int) -> Images:
    """Data set `number`: two or three blurred discs an image, on noise and an uneven background.

    How bright, how blurred and how noisy they are differs from image to image.
    """
    rng = np.random.default_rng((18, number))
    line = np.arange(images) % LINES
    rows, columns = np.mgrid[:SIDE, :SIDE]
    pixels, masks = np.zeros((images, SIDE, SIDE)), np.zeros((images, SIDE, SIDE), bool)
    for image in range(images):
        blur, light = rng.uniform(0.8, 1.8), rng.uniform(0.6, 1.4)
        for _ in range(rng.integers(2, 4)):
            y, x = rng.uniform(2, SIDE - 2, 2)
            disc = np.hypot(rows - y, columns - x) < rng.uniform(3, 6)
            blob = ndimage.gaussian_filter(disc.astype(float), blur)
            masks[image] |= blob > BORDERS[line[image]]
            pixels[image] = np.maximum(pixels[image], light * blob)
        slope = rng.normal(0, 0.02, 2)
        pixels[image] += slope[0] * (rows - SIDE / 2) + slope[1] * (columns - SIDE / 2)
        pixels[image] += rng.uniform(0.1, 0.3) * rng.standard_normal((SIDE, SIDE))
    standard = (pixels - pixels.mean()) / pixels.std()
    return Images(torch.from_numpy(standard[:, None]).float(), torch.from_numpy(masks), line)


def parts_of(number: int, line: npt.NDArray[np.int64]) -> list[Part]:
    """All runs of an arm on data set `number`; folds and halves have both lines in equal shares."""
    rng = np.random.default_rng((19, number))

    def dealt(count: int) -> npt.NDArray[np.int64]:
        part = np.empty(len(line), np.int64)
        for each in range(LINES):
            own = np.flatnonzero(line == each)
            part[rng.permutation(own)] = np.arange(len(own)) % count
        return part

    fold = dealt(FOLDS)
    tested: list[tuple[str, int, int, npt.NDArray[np.bool_]]] = [
        ("folds", k, seed, fold == k) for k in range(FOLDS) for seed in range(SEEDS)
    ]
    tested += [("split", 0, seed, fold == 0) for seed in range(SEEDS, RUNS)]
    for repeat in range(REPEATS * (number % 2 == 0 and len(line) == SIZES[0])):
        half = dealt(2)
        tested += [("halves", 2 * repeat + k, 0, half == k) for k in range(2)]
    return [Part(design, k, seed, np.flatnonzero(~test), np.flatnonzero(test)) for design, k, seed, test in tested]


def train(arm: str, number: int, images: Images, parts: list[Part]) -> tuple[UNet, dict[str, Tensor]]:
    """All runs of an arm at once: the network, and its `(runs, ...)` parameters.

    A run's initialisation and order of images follow from the data set's number, the arm and the run's place in
    `parts`.
    """
    streams = [np.random.default_rng((20, number, ARMS.index(arm), run)) for run in range(len(parts))]
    networks = []
    for rng in streams:
        torch.manual_seed(int(rng.integers(2**31)))
        networks.append(build(arm))
    order = np.stack([_order(rng, part.train) for rng, part in zip(streams, parts, strict=True)])
    stacked, _ = stack_module_state(networks)
    parameters = {name: value.detach().requires_grad_() for name, value in stacked.items()}
    network, metadata = networks[0], metadata_of(arm, images)

    def loss(weights: dict[str, Tensor], pixels: Tensor, seen: Tensor, target: Tensor) -> Tensor:
        return segmentation_loss(functional_call(network, weights, (pixels, seen)), target).mean()

    losses = vmap(loss)
    optimizer = torch.optim.AdamW(
        list(parameters.values()), lr=SCHEDULE.lr_max, weight_decay=SCHEDULE.weight_decay, fused=True
    )
    scheduler = build_scheduler(optimizer, SCHEDULE, STEPS)
    for step in range(STEPS):
        batch = torch.from_numpy(order[:, step])
        optimizer.zero_grad()
        losses(parameters, images.pixels[batch], metadata[batch], images.masks[batch]).sum().backward()
        optimizer.step()
        scheduler.step()
    return network, {name: value.detach() for name, value in parameters.items()}


def build(arm: str) -> UNet:
    """The arm's network, initialised from torch's global generator."""
    told = arm == "sme"
    return UNet(1, 1, "sme" if told else "se", LINES if told else 0, NETWORK)


def metadata_of(arm: str, images: Images) -> Tensor:
    """`(N, M)` one-hot line, or nothing."""
    return torch.eye(LINES)[torch.from_numpy(images.line)][:, : LINES if arm == "sme" else 0]


def _order(rng: np.random.Generator, train: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """`(STEPS, BATCH)` images: one permutation after another."""
    epochs = -(-STEPS * BATCH // len(train))
    drawn = np.concatenate([rng.permutation(train) for _ in range(epochs)])
    return drawn[: STEPS * BATCH].reshape(STEPS, BATCH)


@torch.no_grad()
def f1_of(network: UNet, weights: dict[str, Tensor], arm: str, images: Images) -> Floats:
    """`(runs, N)` F1 of every run on every image; 1 where mask and prediction are empty."""

    def logits(one: dict[str, Tensor]) -> Tensor:
        found: Tensor = functional_call(network, one, (images.pixels, metadata_of(arm, images)))
        return found

    found = vmap(logits)(weights)[:, :, 0] > 0
    overlap, total = (found & images.masks).sum((2, 3)), found.sum((2, 3)) + images.masks.sum((1, 2))
    return torch.where(total > 0, 2 * overlap / total.clamp(min=1), 1.0).double().numpy()


def scores_of(number: int, count: int, new: Images) -> pd.DataFrame:
    """Train all arms on data set `number` of so many images.

    Returns:
        A row a run and image that it is tested on: dataset, arm, design, fold, seed, image, f1; image -1 is the mean
        over `new`.
    """
    images = simulate(number, count)
    parts, rows = parts_of(number, images.line), []
    for arm in ARMS:
        network, weights = train(arm, number, images, parts)
        f1, on_new = f1_of(network, weights, arm, images), f1_of(network, weights, arm, new).mean(axis=1)
        for run, part in enumerate(parts):
            about = {"dataset": number, "arm": arm, "design": part.design, "fold": part.fold, "seed": part.seed}
            places = np.append(part.test, -1)
            rows.append(pd.DataFrame(about | {"image": places, "f1": np.append(f1[run, part.test], on_new[run])}))
    return pd.concat(rows, ignore_index=True)


def fill(folder: Path, images: int, numbers: Iterable[int], minutes: float) -> None:
    """Train on those data sets of so many images that have no file yet; none is begun after so many minutes."""
    folder = folder / str(images)
    folder.mkdir(parents=True, exist_ok=True)
    new, end = simulate(NEW, NEW_IMAGES), time.monotonic() + 60 * minutes
    for number in numbers:
        path = folder / f"{number:04}.parquet"
        if time.monotonic() > end:
            return
        if not path.exists():
            scores_of(number, images, new).to_parquet(path.with_suffix(".part"), index=False)
            path.with_suffix(".part").rename(path)


def main() -> None:
    """Train on one data set after another until the time is up; put all scores in one file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fold_trainings", description=__doc__)
    parser.add_argument("--minutes", type=float, required=True, help="after which no data set is begun; 0: none is")
    parser.add_argument(
        "--images", type=int, choices=SIZES, default=SIZES[0], help="of a data set; default: %(default)s"
    )
    parser.add_argument("--folder", type=Path, required=True, help="where scores are kept, a file a data set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    fill(options.folder, options.images, count(), options.minutes)
    save({size: pack(options.folder / str(size)) for size in SIZES}, FILE)


if __name__ == "__main__":
    main()
