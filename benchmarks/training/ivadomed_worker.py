"""ivadomed's FiLMedUnet, trained with ivadomed's own loader, transforms, loss and optimizer settings.

Run by the interpreter of an environment that has ivadomed (`benchmarks/README.md`), which needn't have metaseg. It
reads requests from its input, a JSON object a line, and answers each with a line:

    {"do": "start", "train": FILES, "val": FILES, "values": COUNT, "batch": N, "crop": SIDE, "depth": N, "seed": N,
     "parameters": ABOUT, "threads": N, "device": "cpu" | "cuda", "epochs": N, "transforms": "flips" | "default"}
        -> {"parameters": N, "width": N, "versions": {...}}     FILES: [[image, mask, metadata value from 0], ...]
    {"do": "lap"}   -> {"images": N, "seconds": S}
    {"do": "score"} -> {"f1": MEAN}

An answer {"error": TEXT} ends it.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

try:
    import torchvision
except RuntimeError:
    # PyPI's torchvision is built for CUDA: beside a CPU build of torch its operators are missing. None is used.
    _operators = torch.library.Library("torchvision", "DEF")
    for _name in ("nms", "qnms"):
        _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision
from ivadomed.loader.mri2d_segmentation_dataset import MRI2DSegmentationDataset
from ivadomed.loader.utils import imed_collate
from ivadomed.losses import DiceLoss
from ivadomed.models import FiLMedUnet
from ivadomed.training import get_metadata
from ivadomed.transforms import prepare_transforms
from loguru import logger
from sklearn.preprocessing import OneHotEncoder
from torch.utils.data import DataLoader, RandomSampler

NORMALISE = {"NormalizeInstance": {"applied_to": ["im"]}}
TRANSFORMS = {
    "flips": {"RandomReverse": {"applied_to": ["im", "gt"]}, **NORMALISE},
    # Of its configuration for microscopy.
    "default": {
        "RandomAffine": {
            "degrees": 2.5, "scale": [0.05, 0.05], "translate": [0.015, 0.015], "applied_to": ["im", "gt"]
        },
        "ElasticTransform": {
            "alpha_range": [100.0, 150.0], "sigma_range": [4.0, 5.0], "p": 0.5, "applied_to": ["im", "gt"]
        },
        **NORMALISE,
    },
}  # fmt: skip
LEARNING_RATE = 1e-3


def build(width: int, depth: int, values: int) -> FiLMedUnet:
    """With FiLM on every level; the values of its one metadata column are one-hot."""
    return FiLMedUnet(
        in_channel=1, out_channel=1, depth=depth, n_metadata=values, film_layers=[1] * (2 * depth + 2), n_filters=width
    )


def size(model: torch.nn.Module) -> int:
    """Its parameters."""
    return sum(weights.numel() for weights in model.parameters())


def images(files: list[list[Any]], transforms: dict[str, Any], patch: list[int]) -> MRI2DSegmentationDataset:
    """ivadomed's dataset: all images in memory, cut into patches on a grid where `patch` isn't empty."""
    pairs = [
        ([image], [mask], None, [{"PixelSize": [1.0, 1.0], "PixelSizeUnits": "mm", "film_input": [value]}])
        for image, mask, value in files
    ]
    # Separating preprocessing transforms takes them out of the dictionary that is given.
    prepared, _ = prepare_transforms(dict(transforms), requires_undo=False)
    dataset = MRI2DSegmentationDataset(pairs, length=patch, stride=patch, transform=prepared)
    dataset.load_filenames()
    return dataset


class Training:
    """A network, its data and its optimizer, on the device."""

    def __init__(self, request: dict[str, Any]) -> None:
        torch.set_num_threads(request["threads"])
        torch.manual_seed(request["seed"])
        np.random.seed(request["seed"])  # what its transforms draw from
        self.device = torch.device(request["device"])
        values, depth, wanted = request["values"], request["depth"], request["parameters"]
        self.width = min(range(1, 129), key=lambda width: abs(size(self._sketch(width, depth, values)) - wanted))
        self.model = build(self.width, depth, values).to(self.device)
        encoder = OneHotEncoder().fit([[value] for value in range(values)])
        self.settings = {"name": "FiLMedUnet", "film_onehotencoder": _Dense(encoder)}
        self.loss = DiceLoss()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=request["epochs"])
        with torch.no_grad():  # levels share weights of their FiLM generators, but only from the first image on
            self.model.eval()(torch.zeros(1, 1, 2**depth, 2**depth, device=self.device), [[0.0] * values])
        patches = images(request["train"], TRANSFORMS[request["transforms"]], [request["crop"]] * 2)
        # As many patches an epoch as others have crops.
        pinned = self.device.type == "cuda"
        sampler = RandomSampler(patches, num_samples=len(request["train"]))
        self.training = DataLoader(
            patches, request["batch"], sampler=sampler, collate_fn=imed_collate, pin_memory=pinned, num_workers=0
        )
        whole = images(request["val"], NORMALISE, [])
        self.validation = DataLoader(whole, 4, collate_fn=imed_collate, pin_memory=pinned, num_workers=0)

    @staticmethod
    def _sketch(width: int, depth: int, values: int) -> FiLMedUnet:
        with torch.device("meta"):
            return build(width, depth, values)

    def predict(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities and masks, both `(N, 1, H, W)`."""
        context = get_metadata(batch["input_metadata"], self.settings)
        return self.model(batch["input"].to(self.device), context), batch["gt"].to(self.device, non_blocking=True)

    def lap(self) -> dict[str, float]:
        """An epoch."""
        count, total = 0, 0.0
        self.model.train()
        started = time.perf_counter()
        for batch in self.training:
            loss = self.loss(*self.predict(batch))
            total += loss.item()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            count += len(batch["input"])
        self.scheduler.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return {"images": count, "seconds": time.perf_counter() - started}

    @torch.no_grad()
    def score(self) -> float:
        """Mean F1 over validation images; 1 where neither mask nor prediction has a pixel."""
        self.model.eval()
        scores = []
        for batch in self.validation:
            probability, mask = self.predict(batch)
            predicted, actual = (probability > 0.5).flatten(1), (mask > 0.5).flatten(1)
            overlap, both = (predicted & actual).sum(1).double(), predicted.sum(1) + actual.sum(1)
            scores.append(torch.where(both == 0, 1.0, 2 * overlap / both.clamp(min=1)).cpu())
        return float(torch.cat(scores).mean())


class _Dense:
    """An encoder whose answers are arrays: today's scikit-learn answers sparse matrices unless told otherwise."""

    def __init__(self, encoder: OneHotEncoder) -> None:
        self.encoder = encoder

    def transform(self, rows: list[list[Any]]) -> np.ndarray:
        return self.encoder.transform(rows).toarray()


def main() -> None:
    """Answer requests until there are none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get among the answers
    logger.remove()

    def answer(what: Callable[[], dict[str, Any]]) -> None:
        try:
            line = what()
        except Exception:
            line = {"error": traceback.format_exc()}
        print(json.dumps(line), file=answers, flush=True)

    training: Training

    def start(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal training
        training = Training(request)
        versions = {"torch": torch.__version__, "torchvision": torchvision.__version__}
        return {"parameters": size(training.model), "width": training.width, "versions": versions}

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            answer(lambda: start(request))  # noqa: B023  called at once
        elif request["do"] == "lap":
            answer(lambda: training.lap())
        else:
            answer(lambda: {"f1": training.score()})


if __name__ == "__main__":
    main()
