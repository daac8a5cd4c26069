"""Training steps with the memory of the step before, and with memory that the kernel gives anew page by page.

    python -m benchmarks.kept_memory     # five minutes on one core of an otherwise idle machine

Each row is a process of its own. The figures go to `benchmarks/results/kept_memory.json`.
"""

import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from benchmarks.machine import describe_machine, write_json
from benchmarks.training.bare import Arithmetic, Dtype, precision
from benchmarks.training.rounds import Spread
from metaseg.config import NetworkConfig
from metaseg.device import keep_freed_memory
from metaseg.networks.unet import UNet

SIZES = ((8, 2, 4, 96, 40), (16, 4, 16, 128, 8), (32, 4, 4, 256, 5), (64, 3, 1, 512, 2))
"""Width, depth, batch and crop, and the number of steps that are timed."""

WAYS: tuple[tuple[Dtype, bool], ...] = (("bfloat16", False), ("float32", True))
"""Number format, and whether channels are last."""

TURNS = 2
"""Processes of each kind, in turns: whether pages are given back depends on what lies where."""


def steps(kept: bool, size: tuple[int, int, int, int, int], way: tuple[Dtype, bool]) -> dict[str, Any]:
    """Seconds of each step in this process, page faults a step, and the most memory, in bytes."""
    if kept:
        keep_freed_memory()
    torch.set_num_threads(1)
    (width, depth, batch, crop, count), arithmetic = size, Arithmetic(*way)
    model = UNet(1, 1, "sme", 7, NetworkConfig(width=width, depth=depth)).to(memory_format=arithmetic.memory_format)
    image = torch.randn(batch, 1, crop, crop).clone(memory_format=arithmetic.memory_format)
    metadata, device, seconds = torch.zeros(batch, 7), torch.device("cpu"), []
    before = 0
    for number in range(count + 3):
        if number == 3:  # the first ones warm up
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        started = time.perf_counter()
        with precision(device, arithmetic.dtype):
            logits = model(image, metadata)
        logits.float().mean().backward()
        seconds.append(time.perf_counter() - started)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds[3:], "faults": (used.ru_minflt - before) / count, "bytes": 1024 * used.ru_maxrss}


def main() -> None:
    """Measure, print and write."""
    rows = []
    for size in SIZES:
        for way in WAYS:
            found: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
            for _ in range(TURNS):
                for kept in found:
                    asked = json.dumps([kept, size, way])
                    command = [sys.executable, "-m", "benchmarks.kept_memory", asked]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found[kept].append(json.loads(done.stdout))
            row: dict[str, Any] = {"width": size[0], "depth": size[1], "batch": size[2], "crop": size[3]}
            row["arithmetic"] = str(Arithmetic(*way))
            for kept, turns in found.items():
                seconds = Spread.of([each for turn in turns for each in turn["seconds"]])
                row["kept" if kept else "usual"] = {
                    "seconds": vars(seconds),
                    "faults": vars(Spread.of([turn["faults"] for turn in turns])),
                    "bytes": max(turn["bytes"] for turn in turns),
                }
            rows.append(row)
            print(json.dumps(row), flush=True)
    write_json("kept_memory", {"machine": describe_machine(), "figures": rows})


if __name__ == "__main__":
    if len(sys.argv) > 1:
        given, size, way = json.loads(sys.argv[1])
        print(json.dumps(steps(given, tuple(size), tuple(way))))
    else:
        main()
