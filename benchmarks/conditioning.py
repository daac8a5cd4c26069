"""Overhead of conditioning: a training step of a network with blocks beside one of the same network without.

    python -m benchmarks.conditioning            # some minutes; leave the machine alone
    python -m benchmarks.conditioning --rounds 5 --networks monai.BasicUNet

Both networks take a step in turn, in an order that changes from round to round, and ratios are formed within a round. A
step is forward pass, loss, backward pass and optimizer step on a batch of noise, on one thread where there is no GPU.
Medians and quartiles are written, with the machine, to `benchmarks/results/conditioning.json`. Networks whose package
isn't installed are left out.
"""

import argparse
import contextlib
import copy
import random
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.machine import describe_machine, write_json
from metaseg.config import ConfigError
from metaseg.device import autocast, one_thread, usual_arithmetic
from metaseg.networks.condition import condition
from metaseg.networks.network_name import name_network
from metaseg.networks.segmenter import make_network
from metaseg.terminal import Terminal

NETWORKS = (
    "monai.BasicUNet",
    "monai.SegResNet(init_filters=16)",
    "monai.DynUNet(filters=(16, 32, 64, 128, 256))",
    "smp.Unet:resnet18",
    "smp.DeepLabV3Plus:resnet18",
    "torchvision.fcn_resnet50",
)
BLOCKS = ("se", "sme", "film")
M = 7
"""Elements of the metadata vector."""


def step_of(network: nn.Module, device: torch.device, batch: int, side: int, told: bool) -> Callable[[], None]:
    """A training step of a network, on noise."""
    network = network.to(device, memory_format=usual_arithmetic(device).memory_format).train()  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(batch, 3, side, side, generator=generator).to(device)
    target = torch.randint(2, (batch, 1, side, side), generator=generator).float().to(device)
    metadata = torch.eye(M)[torch.arange(batch) % M].to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        with autocast(device):
            logits = network(image, metadata) if told else network(image)
        logits = logits["out"] if isinstance(logits, dict) else logits
        logits = logits[0] if isinstance(logits, list) else logits
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def compare(name: str, device: torch.device, batch: int, side: int, rounds: int) -> dict[str, object]:
    """Times of a network's step without blocks and with each kind, in milliseconds, and their ratios."""
    torch.manual_seed(0)
    bare = make_network(name_network(name), 3, 1)
    steps = {"bare": step_of(copy.deepcopy(bare), device, batch, side, False)}
    places = 0
    for block in BLOCKS:
        conditioned = condition(copy.deepcopy(bare), M, block)
        places = len(conditioned.maps)
        steps[block] = step_of(conditioned, device, batch, side, True)
    times: dict[str, list[float]] = {way: [] for way in steps}
    order, shuffler = list(steps), random.Random(0)
    for number in range(rounds + 1):
        shuffler.shuffle(order)
        for way in order:
            started = time.perf_counter()
            steps[way]()
            if number:  # the first round warms up
                times[way].append(1000 * (time.perf_counter() - started))
    parameters = sum(weights.numel() for weights in bare.parameters())
    ratios = {way: np.array(times[way]) / np.array(times["bare"]) for way in BLOCKS}
    return {
        "network": name,
        "places": places,
        "parameters": parameters,
        "milliseconds": {way: quartiles(np.array(each)) for way, each in times.items()},
        "ratio": {way: quartiles(each) for way, each in ratios.items()},
    }


def quartiles(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> list[float]:
    """First quartile, median and third quartile, rounded."""
    return [round(float(value), 4) for value in np.quantile(values, [0.25, 0.5, 0.75])]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--side", type=int, default=128)
    options = parser.parse_args()
    device, console = torch.device("cuda" if torch.cuda.is_available() else "cpu"), Terminal()
    rows = []
    with one_thread(device):
        for name in options.networks:
            with contextlib.suppress(ConfigError):
                rows.append(compare(name, device, options.batch, options.side, options.rounds))
                ratios = ", ".join(
                    f"{way} {low:.3f} {middle:.3f} {high:.3f}"
                    for way, (low, middle, high) in rows[-1]["ratio"].items()  # type: ignore[attr-defined]
                )
                console.print(f"{name}: {ratios}", soft_wrap=True, highlight=False)
    figures = {"machine": describe_machine(), "batch": options.batch, "side": options.side, "rounds": options.rounds}
    console.print(str(write_json("conditioning", {**figures, "networks": rows})), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
