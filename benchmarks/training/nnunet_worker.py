"""nnU-Net's own planning, preprocessing, augmentation, loss, optimizer and trainer, on the same images and crop size.

Run by the interpreter of an environment that has nnunetv2 (`benchmarks/README.md`), which needn't have metaseg. It
reads requests from its input, a JSON object a line, and answers each with a line:

    {"do": "start", "train": FILES, "val": FILES, "batch": N, "crop": SIDE, "depth": N, "seed": N, "parameters": ABOUT,
     "threads": N, "device": "cpu" | "cuda", "epochs": N}
        -> {"parameters": N, "width": N, "network": NAME, "arithmetic": TEXT, "versions": {...}}
                                                            FILES: [[image, mask, metadata value, not used], ...]
    {"do": "lap"}   -> {"images": N, "seconds": S}
    {"do": "score"} -> {"f1": MEAN}

An answer {"error": TEXT} ends it. What the planner chooses is kept but for the patch, the batch, and the number of
stages and their widths, which are those of the other trainers.
"""

import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

NAME = "Dataset001_Benchmark"


def size(model: torch.nn.Module) -> int:
    """Its parameters."""
    return sum(weights.numel() for weights in model.parameters())


def write_raw(folder: Path, splits: dict[str, list[list[Any]]]) -> dict[str, list[str]]:
    """Write images and masks as nnU-Net has them; returns the names of each split's cases."""
    names: dict[str, list[str]] = {}
    for place in ("imagesTr", "labelsTr"):
        (folder / place).mkdir(parents=True)
    for split, files in splits.items():
        names[split] = [f"{split}_{number:05}" for number in range(len(files))]
        for name, (image, mask, _) in zip(names[split], files, strict=True):
            Image.open(image).save(folder / "imagesTr" / f"{name}_0000.png")
            cells = (np.array(Image.open(mask)) > 0).astype(np.uint8)
            Image.fromarray(cells).save(folder / "labelsTr" / f"{name}.png")
    described = {
        "channel_names": {"0": "intensity"}, "labels": {"background": 0, "cell": 1}, "file_ending": ".png",
        "numTraining": sum(map(len, names.values())),
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(described))
    return names


def shaped(architecture: dict[str, Any], width: int, depth: int) -> dict[str, Any]:
    """The planned network with one stage a level of ours, widths that double, and nothing else changed."""
    stages = depth + 1
    given = architecture["arch_kwargs"]
    changed = {
        "n_stages": stages, "features_per_stage": [width * 2**stage for stage in range(stages)],
        "kernel_sizes": [[3, 3]] * stages, "strides": [[1, 1], *[[2, 2]] * depth],
        "n_conv_per_stage": [2] * stages, "n_conv_per_stage_decoder": [2] * depth,
    }  # fmt: skip
    return architecture | {"arch_kwargs": given | changed}


class Training:
    """nnU-Net's trainer and its data, in a folder that ends with the process."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="metaseg-nnunet-")
        folders = {
            name: Path(self._folder.name) / name for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
        }
        for folder in folders.values():
            folder.mkdir()
        os.environ.update({name: str(folder) for name, folder in folders.items()}, nnUNet_n_proc_DA="1")
        from nnunetv2.experiment_planning.plan_and_preprocess_api import (
            extract_fingerprints,
            plan_experiments,
            preprocess,
        )
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

        cases = write_raw(folders["nnUNet_raw"] / NAME, {split: request[split] for split in ("train", "val")})
        extract_fingerprints([1], num_processes=1)
        plan_experiments([1])
        prepared = folders["nnUNet_preprocessed"] / NAME
        (prepared / "splits_final.json").write_text(json.dumps([cases]))
        plans = json.loads((prepared / "nnUNetPlans.json").read_text())
        flat = plans["configurations"]["2d"]
        flat["patch_size"], flat["batch_size"] = [request["crop"]] * 2, request["batch"]
        architecture, depth, wanted = flat["architecture"], request["depth"], request["parameters"]

        def sketch(width: int) -> int:
            shape = shaped(architecture, width, depth)
            with torch.device("meta"):
                return size(
                    get_network_from_plans(
                        shape["network_class_name"], shape["arch_kwargs"], shape["_kw_requires_import"], 1, 2,
                        allow_init=False, deep_supervision=True,
                    )
                )  # fmt: skip

        self.width = min(range(2, 65), key=lambda width: abs(sketch(width) - wanted))
        flat["architecture"] = shaped(architecture, self.width, depth)
        (prepared / "nnUNetPlans.json").write_text(json.dumps(plans))
        preprocess([1], configurations=["2d"], num_processes=[1])
        # Processes for augmentation would take more than the cores that others are given.
        os.environ.update(nnUNet_n_proc_DA="0" if request["device"] == "cpu" else "4")
        torch.set_num_threads(request["threads"])  # the planner sets another number
        torch.manual_seed(request["seed"])
        np.random.seed(request["seed"])
        random.seed(request["seed"])
        described = json.loads((prepared / "dataset.json").read_text())
        self.device = torch.device(request["device"])
        self.trainer = nnUNetTrainer(plans | {"continue_training": False}, "2d", 0, described, device=self.device)
        self.trainer.num_epochs, self.trainer.num_val_iterations_per_epoch = request["epochs"], 0
        self.steps = -(-len(request["train"]) // request["batch"])
        self.batch, self.trainer.num_iterations_per_epoch = request["batch"], self.steps
        self.trainer.on_train_start()
        self.network = architecture["network_class_name"].rpartition(".")[2]
        self.cases = cases["val"]

    def lap(self) -> dict[str, float]:
        """An epoch of as many steps as the others', all with whole batches."""
        trainer, started = self.trainer, time.perf_counter()
        trainer.network.train()
        trainer.lr_scheduler.step(trainer.current_epoch)
        for _ in range(self.steps):
            trainer.train_step(next(trainer.dataloader_train))
        trainer.current_epoch += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return {"images": self.steps * self.batch, "seconds": time.perf_counter() - started}

    @torch.no_grad()
    def score(self) -> float:
        """Mean F1 over validation images, whole and without test-time augmentation; 1 where both masks are empty."""
        trainer = self.trainer
        trainer.network.eval()
        trainer.set_deep_supervision_enabled(False)
        cases = trainer.get_tr_and_val_datasets()[1]
        scores = []
        for name in self.cases:
            image, mask = (each[:] for each in cases.load_case(name)[:2])
            logits = trainer.network(torch.from_numpy(image[:, 0][None]).to(self.device))
            predicted, actual = logits[0].argmax(0).cpu().numpy() > 0, mask[0, 0] > 0
            both = predicted.sum() + actual.sum()
            scores.append(2 * (predicted & actual).sum() / both if both else 1.0)
        trainer.set_deep_supervision_enabled(True)
        return float(np.mean(scores))


def main() -> None:
    """Answer requests until there are none."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get among the answers

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
        arithmetic = "float32, NCHW, as its trainer has it on a CPU" if request["device"] == "cpu" else "float16, NCHW"
        return {
            "parameters": size(training.trainer.network), "width": training.width, "network": training.network,
            "arithmetic": arithmetic, "versions": {"torch": torch.__version__, "nnunetv2": version("nnunetv2")},
        }  # fmt: skip

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
