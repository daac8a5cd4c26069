"""Speed of training and evaluation as ratios to the bare loop, compared with peers that do the same work.

    python -m benchmarks.training                  # leave the machine alone
    python -m benchmarks.training --quick          # a rough look, minutes
    python -m benchmarks.training --parts throughput --compile --device cuda
    python -m benchmarks.training --check          # fails where a ratio is well below the committed one
    python -m benchmarks.training --record         # measure what --check compares with, to be committed

A training's ratio is its crops a second over those that the bare loop of the same arithmetic had in the same round.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.machine import RESULTS, describe_machine
from benchmarks.training import check
from benchmarks.training.accuracy import final_scores
from benchmarks.training.capacity import PACKED, PAPER_SIDES, packing, paper_size, sizes
from benchmarks.training.contender import NotMeasuredError
from benchmarks.training.operators import profiles
from benchmarks.training.parallel import efficiency
from benchmarks.training.step_parts import step_parts
from benchmarks.training.throughput import arithmetic, blocks, evaluation, training
from benchmarks.training.time_to_f1 import time_to_f1
from benchmarks.training.trainers import TRAINERS, USUAL
from benchmarks.training.work import CHECK, FULL, QUICK, STUDY, Work, make_work
from metaseg.device import keep_freed_memory

Part = Literal[
    "throughput",
    "arithmetic",
    "evaluation",
    "blocks",
    "profile",
    "step",
    "parallel",
    "accuracy",
    "time-to-f1",
    "sizes",
    "packing",
]
GPU_ONLY = ("sizes", "packing")
"""Parts that a CPU would take hours for, unless they are asked for."""
ONLY_IN_JSON = ("about", "ratio_to_fastest", "f1_by_seed", "f1_by_epochs")
CHECK_ROUNDS = 3
SLOWER = 1
"""Exit code of a check that failed."""
MISUSE = 2
"""Exit code where an option can't be meant."""


@dataclass(frozen=True)
class Options:
    """Selection and length of the measurements."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = os.cpu_count() or 1
    """Threads of each contender, on a CPU."""

    parts: tuple[Part, ...] = ()
    """Default: all; on a CPU all but sizes and packing."""

    contenders: tuple[str, ...] = USUAL
    """Trainers that take part."""

    rounds: int = 7
    """Laps of each contender."""

    compile: bool = False
    """Measure bare loops with torch.compile too, which takes long to warm up."""

    epochs: int = 12
    """Epochs of the trainings whose final F1 is compared."""

    seeds: int = 3
    """Trainings of each."""

    target: float = 0.85
    """Validation F1 that trainings are to reach in the part time-to-f1."""

    quick: bool = False
    """Fewer images, 2 rounds, 2 epochs and seeds."""

    out: Path | None = None
    """File for the JSON. By default benchmarks/results/training_DEVICE.json, and none with --quick or --contenders."""

    check: bool = False
    """Only compare ratios with the committed ones."""

    record: bool = False
    """Only write the ratios that are to be committed."""


def measure(options: Options, work: Work, small: Callable[[], Work], console: Console) -> Iterator[tuple[Part, Any]]:
    """All parts that are asked for, one after the other; `small` makes the default study's work."""
    rounds, epochs, seeds = (2, 2, 2) if options.quick else (options.rounds, options.epochs, options.seeds)
    names = list(options.contenders)

    def say(line: str) -> None:
        console.print(line, style="dim")

    parts: dict[Part, Callable[[], Any]] = {
        "throughput": lambda: training(work, names, rounds, options.compile, say),
        "arithmetic": lambda: arithmetic(
            {"default study (width 8, depth 2, 4 x 96²)": small(), "width 16, depth 4, 16 x 128²": work}, rounds, say
        ),
        "evaluation": lambda: evaluation(work, rounds, say),
        "blocks": lambda: blocks(work, rounds, say),
        "profile": lambda: profiles(work),
        "step": lambda: step_parts(small(), 3 + rounds),
        "sizes": lambda: sizes([paper_size(side) for side in PAPER_SIDES], work.device, work.threads, rounds),
        "packing": lambda: packing(work, PACKED, epochs=5, rounds=max(1, rounds // 2)),
        "accuracy": lambda: final_scores(work, names, epochs, seeds, say),
        "time-to-f1": lambda: time_to_f1(work, names, options.target, seeds, say),
        "parallel": lambda: efficiency(work, max(1, rounds // 2), epochs=5),
    }
    all_parts: tuple[Part, ...] = get_args(Part)
    usual = [part for part in all_parts if options.device == "cuda" or part not in GPU_ONLY]
    for part in options.parts or usual:
        say(part)
        try:
            yield part, parts[part]()
        except NotMeasuredError as error:
            yield part, {"not_measured": str(error)}


def show(part: Part, rows: Any, console: Console) -> None:
    """Print a part's table."""

    def cell(value: Any) -> str:
        if isinstance(value, dict):
            return f"{value['median']:.3g} ({value['low']:.3g} to {value['high']:.3g})"
        if isinstance(value, float):
            return f"{value:.4f}"
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)

    if isinstance(rows, dict):
        rows = [{"what": name, "figure": figure} for name, figure in rows.items()]
    columns = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in ONLY_IN_JSON]
    table = Table(*(name.replace("_", " ") for name in columns), title=part)
    for row in rows:
        table.add_row(*(cell(row.get(name)) for name in columns))
    console.print(table)


def main(options: Options) -> int:
    """Measure, print and write; returns the exit code."""
    keep_freed_memory()  # bare loops have what ours has
    console, device = Console(), torch.device(options.device)
    if unknown := [name for name in options.contenders if name not in TRAINERS]:
        console.print(f"--contenders: unknown {unknown[0]!r}; known: {', '.join(TRAINERS)}", style="red")
        return MISUSE
    torch.set_num_threads(options.threads)
    size = CHECK if options.check or options.record else QUICK if options.quick else FULL

    def small(folder: str) -> Work:
        return make_work(Path(folder) / "study", STUDY, device, options.threads)

    with tempfile.TemporaryDirectory(prefix="metaseg-benchmark-") as folder:
        work = make_work(Path(folder), size, device, options.threads)
        if options.record:
            check.record(check.measure(work, small(folder), CHECK_ROUNDS))
            console.print(f"Written: {check.COMMITTED}")
            return 0
        if options.check:
            try:
                beside = small(folder)
                console.print(check.check(lambda: check.measure(work, beside, CHECK_ROUNDS)))
            except check.SlowerError as error:
                console.print(str(error), style="red")
                return SLOWER
            return 0
        about = {
            "machine": describe_machine(), "device": options.device, "threads": options.threads,
            "quick": options.quick, "size": asdict(size), "crops": work.crops, "steps": work.steps,
        }  # fmt: skip
        whole = not options.quick and options.contenders == USUAL
        out = options.out or (RESULTS / f"training_{options.device}.json" if whole else None)
        for part, rows in measure(options, work, lambda: small(folder), console):
            show(part, rows, console)
            if out:  # at once, since a later part may fail; parts that aren't asked for stay as they are
                known = json.loads(out.read_text()) if out.exists() else {}
                out.write_text(json.dumps(known | {part: {**about, "figures": rows}}, indent=2) + "\n")
                console.print(f"Written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
