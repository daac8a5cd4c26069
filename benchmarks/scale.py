"""Growth of cost with the number of images, their size and the number of runs; cost of starting up.

    python -m benchmarks.scale                                  # leave the machine alone
    python -m benchmarks.scale --images 100 1000 --sides 256 512 --runs 10 100 --rows 10000 100000 --repeats 1

Each curve has an exponent: the slope of log(seconds in all) against log(number). 1 is proportional; well above 1 is
worse than that. It writes the figures, with the machine, to `benchmarks/results/scale.json`.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import tyro
from PIL import Image
from rich.console import Console

from benchmarks.machine import describe_machine, write_json
from benchmarks.training.rounds import Spread
from metaseg.config import DataConfig, NetworkConfig, RunConfig, ScheduleConfig
from metaseg.data.batches import epoch_batches
from metaseg.data.crops import open_cutter
from metaseg.data.dataset import Dataset
from metaseg.data.preparation import prepare
from metaseg.datasets.table import read_table
from metaseg.store.runs import Store
from metaseg.study.plan import plan
from metaseg.training.evaluate import evaluate
from metaseg.training.fit import build_network, encode_metadata

CPU = torch.device("cpu")
PAGE = Path(__file__).parents[1] / "studies" / "seven_cells.py"
SMALL = 32
"""Side, in pixels, of the images of which there are many."""

STEPS = 200
"""Steps of an epoch for which crops are cut: enough for an average, whatever the number of images."""

PER_SIDE = 12
"""Images of each side."""

FILES = {"config.json": 2_000, "history.parquet": 5_000, "images.parquet": 15_000, "weights.safetensors": 500_000}
"""Bytes of a run's files."""

IMPORTS = {
    "metaseg": "import metaseg",
    "configuration and commands": "import metaseg.config, metaseg.__main__",
    "results": "import analysis.commands.collect, analysis.commands.report, analysis.commands.sweep",
    "a study's page": "import metaseg.cli.study_page",
    "training": "import metaseg.training.fit",
}
"""The statement that is run, by the kind of use that needs it."""


@dataclass(frozen=True)
class Options:
    """Range of the curves."""

    images: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    sides: tuple[int, ...] = (256, 512, 1024, 2048)
    runs: tuple[int, ...] = (10, 100, 1000)
    rows: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    """Numbers of rows of results, from a hundred runs."""

    repeats: int = 5
    """Repeated measurements of quick operations."""


def seconds(what: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median and quartiles."""
    lengths = []
    for _ in range(repeats):
        started = time.perf_counter()
        what()
        lengths.append(time.perf_counter() - started)
    return vars(Spread.of(lengths))


def exponent(points: list[dict[str, Any]], number: str, name: str) -> float | None:
    """The slope of log(seconds) against log(number), by least squares; None for a single point."""
    if len(points) < 2:
        return None
    x, y = (np.log([point[number] for point in points]), np.log([point[name]["median"] for point in points]))
    return float(np.polyfit(x, y, 1)[0])


def curve(points: list[dict[str, Any]], number: str, names: list[str]) -> dict[str, Any]:
    """Points with the exponents of their lengths of time."""
    return {"points": points, "exponents": {name: exponent(points, number, name) for name in names}}


def write_images(folder: Path, count: int, side: int) -> Path:
    """Noise with a square in it, as PNGs, and their table; half are for training."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        pixels = generator.integers(0, 200, (side, side), dtype=np.uint8)
        mask = np.zeros((side, side), np.uint8)
        mask[: side // 2, : side // 2] = 255
        Image.fromarray(np.maximum(pixels, mask)).save(folder / f"i{number}.png", compress_level=1)
        Image.fromarray(mask).save(folder / f"m{number}.png", compress_level=1)
        split = ("train", "val", "train", "test")[number % 4]
        rows.append((f"i{number}.png", f"m{number}.png", split, "abc"[number // 4 % 3]))
    pd.DataFrame(rows, columns=["image", "mask", "split", "line"]).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def cut_epoch(dataset: Dataset, crop: int) -> int:
    """The first `STEPS` batches of an epoch; returns their number of crops."""
    samples = dataset.indices("train")
    cutter = open_cutter(dataset, CPU)
    batches = epoch_batches(dataset, samples, batch_size=16, crop=crop, seed=0, epoch=1, device=CPU, cutter=cutter)
    return sum(len(batch.image) for batch in islice(batches, STEPS))


def by_images(options: Options, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Preparing, opening and cutting crops of many small images; `crop` is of one crop."""
    points = []
    for count in options.images:
        say(f"{count} images")
        table, cache = write_images(folder / f"images-{count}", count, SMALL), folder / f"cache-{count}"
        point: dict[str, Any] = {"images": count}
        made: list[Dataset] = []
        for name in ("prepare", "prepare_again"):
            point[name] = seconds(
                lambda: made.append(prepare(read_table(table, ["line"]), DataConfig(), cache)),  # noqa: B023
                1,
            )
        point["open"] = seconds(lambda: Dataset.open(made[0].path), options.repeats)  # noqa: B023
        dataset = Dataset.open(made[0].path)
        crops = cut_epoch(dataset, SMALL)  # also brings the files into memory
        point["crop"] = {
            name: value / crops
            for name, value in seconds(lambda: cut_epoch(dataset, SMALL), options.repeats).items()  # noqa: B023
        }
        points.append(point)
    return curve(points, "images", ["prepare", "prepare_again", "open", "crop"])


def by_side(options: Options, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Crops of 128² and whole-image evaluation, each of one image; evaluation is proportional at exponent 2."""
    points = []
    for side in options.sides:
        say(f"side {side}")
        table = write_images(folder / f"side-{side}", PER_SIDE, side)
        dataset = prepare(read_table(table, ["line"]), DataConfig(), folder / f"cache-{side}")
        config = RunConfig("sme", "true", 0, dataset.fingerprint, NetworkConfig(), ScheduleConfig())
        vectors = encode_metadata(config, dataset)[1]
        model = build_network(config, dataset.channels, 1, vectors.shape[1])
        samples = dataset.indices("val")
        crops = cut_epoch(dataset, 128)  # this and the next line also warm up
        evaluate(model, dataset, samples, vectors, CPU)
        lengths = {
            "crop": (lambda: cut_epoch(dataset, 128), crops),  # noqa: B023
            "evaluate": (lambda: evaluate(model, dataset, samples, vectors, CPU), len(samples)),  # noqa: B023
        }
        point: dict[str, Any] = {"side": side}
        for name, (what, count) in lengths.items():
            point[name] = {key: value / count for key, value in seconds(what, options.repeats).items()}
        points.append(point)
    return curve(points, "side", ["crop", "evaluate"])


def by_runs(options: Options, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Planning a study, and finding out what a store has of it when half is done."""
    dataset = prepare(
        read_table(write_images(folder / "runs", 24, SMALL), ["line"]), DataConfig(), folder / "cache-runs"
    )
    points = []
    for runs in options.runs:
        say(f"{runs} runs")
        arms = ["baseline", "sme"]

        def planned(seeds: int = math.ceil(runs / len(arms))) -> Any:
            study = plan("scale", dataset, arms, seeds, NetworkConfig(), ScheduleConfig())  # noqa: B023
            return study, [run.run_id for run in study.runs]

        store = Store.at(folder / f"store-{runs}")
        study, ids = planned()
        commits = iter(ids[: len(ids) // 2])

        def commit() -> None:
            store.commit_run(next(commits), {name: bytes(size) for name, size in FILES.items()})  # noqa: B023

        points.append(
            {
                "runs": len(ids),
                "plan": seconds(planned, options.repeats),
                "commit_one": seconds(commit, len(ids) // 2),
                "missing": seconds(lambda: study.missing(store), options.repeats),  # noqa: B023
            }
        )
    return curve(points, "runs", ["plan", "missing"])


def by_rows(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Collecting, reading, scoring and testing rows of results, each time in a process of its own."""
    points = []
    for rows in options.rows:
        say(f"{rows} rows")
        command = [sys.executable, "-m", "benchmarks.results", "--images", str(rows // 100), "--runs", "100"]
        told = [
            json.loads(subprocess.run(command, cwd=PAGE.parents[1], stdout=subprocess.PIPE, check=True).stdout)
            for _ in range(options.repeats)
        ]
        points.append(
            {
                "rows": told[0]["rows"],
                "collect_to_test": vars(Spread.of([each["collect_to_test"]["seconds"] for each in told])),
                "peak_gb": max(step["peak_gb"] for step in told[0]["steps"].values()),
            }
        )
    return curve(points, "rows", ["collect_to_test"])


def beginnings(options: Options, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Seconds of importing modules in a new process, beyond those of the interpreter, and which large ones come along.

    The last row is the start-up of a study: its page's plan, without training.
    """
    rows = []
    for name, code in IMPORTS.items():
        say(f"import: {name}")
        lengths = []
        for _ in range(options.repeats):
            done = subprocess.run(
                [sys.executable, "-X", "importtime", "-c", code], stderr=subprocess.PIPE, text=True, check=True
            )
            lengths.append(imported(done.stderr))
        large = subprocess.run(
            [sys.executable, "-c", f"{code}; import sys; print(*{{'torch', 'ray', 'pandas'}} & set(sys.modules))"],
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout.split()  # fmt: skip
        rows.append({"what": name, "code": code, "seconds": vars(Spread.of(lengths)), "brings": sorted(large)})
    say("a study's plan")
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, PAGE, "--dry-run", "--storage", store]
        length = seconds(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True), options.repeats)
    rows.append({"what": "a study's start", "code": f"{PAGE.name} --dry-run", "seconds": length})
    return rows


def imported(log: str) -> float:
    """Seconds that `-X importtime` says modules took, but for those that every interpreter imports at its start."""
    lines = [line.removeprefix("import time:").split("|") for line in log.splitlines() if "|" in line]
    names = [line[2].strip() for line in lines]
    begun = names.index("site") + 1
    return sum(int(line[0]) for line in lines[begun:]) / 1e6


def main(options: Options) -> None:
    """Measure, print and write."""
    console = Console()

    def say(line: str) -> None:
        console.print(line, style="dim")

    figures: dict[str, Any] = {"machine": describe_machine(), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory(prefix="metaseg-benchmark-") as name:
        folder = Path(name)
        figures["beginnings"] = beginnings(options, say)
        figures["runs"] = by_runs(options, folder, say)
        figures["rows"] = by_rows(options, say)
        figures["sides"] = by_side(options, folder, say)
        figures["images"] = by_images(options, folder, say)
    console.print_json(data=figures)
    console.print(f"Written: {write_json('scale', figures)}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
