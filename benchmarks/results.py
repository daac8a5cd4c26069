"""Time and memory to collect, read, score and test ten million rows.

`python -m benchmarks.results [--runs 100] [--images 100000]` makes a store of simulated counts in a temporary folder,
and prints JSON: seconds of wall clock and of processor for each step, and the largest memory that the process held.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.results.dataset import read_results
from analysis.results.merge import gather
from analysis.scores.image_scores import image_scores
from analysis.scores.score_matrix import score_matrices
from analysis.stats.mrmc import difference
from metaseg.store.folder import FolderStorage

ARMS = 10
LINES = 5


def make_store(root: Path, runs: int, images: int) -> None:
    """A store of one study, with as many runs for each of `ARMS` arms; the last arm is better."""
    rng = np.random.default_rng(0)
    names = np.array([f"images/plate-{k // 400:03}/well-{k // 4:05}/{k:06}.png" for k in range(images)])
    lines = np.array([f"line {k}" for k in range(LINES)])[np.arange(images) // 4 % LINES]
    fixed = {
        "image": pa.array(names), "class": pa.repeat("cell", images), "evaluation": pa.repeat("as-trained", images),
        "group": pa.array([name.rpartition("/")[0] for name in names]), "subgroup": pa.array(lines),
    }  # fmt: skip
    hard = rng.normal(0, 0.05, images)
    declared = []
    for number in range(runs):
        arm, seed = f"arm {number % ARMS}", number // ARMS
        f1 = np.clip(
            0.8 + hard + rng.normal(0, 0.004) + rng.normal(0, 0.02, images) + 0.01 * (number % ARMS == 9), 0, 1
        )
        size = rng.integers(2_000, 20_000, images)
        tp = np.round(f1 * size).astype(np.int64)
        fp = rng.binomial(2 * (size - tp), 0.5)
        counts = {"tp": tp, "fp": fp, "fn": 2 * (size - tp) - fp, "tn": 262_144 - 2 * size + tp}
        run_id = sha256(f"{number}".encode()).hexdigest()[:16]
        folder = root / "runs" / run_id
        folder.mkdir(parents=True)
        pq.write_table(pa.table(fixed | counts | {"meta_line": fixed["subgroup"]}), folder / "images.parquet")
        config = {
            "run_id": run_id, "seed": seed, "arm": {"block": "sme", "metadata_mode": "true"}, "parameters": 1_000_000,
            "dataset": {"fingerprint": "f00d" * 16, "subgroup_column": "line"},
        }  # fmt: skip
        (folder / "config.json").write_text(json.dumps(config))
        sums = {file: sha256((folder / file).read_bytes()).hexdigest() for file in ("config.json", "images.parquet")}
        (folder / "DONE").write_text(json.dumps({"sha256": sums}))
        declared.append({"run_id": run_id, "arm": arm, "seed": seed})
    study = {
        "dataset": "simulated", "baseline": "arm 0", "arms": [f"arm {k}" for k in range(ARMS)], "runs": declared,
        "command": "benchmark",
    }  # fmt: skip
    (root / "studies").mkdir()
    (root / "studies" / "large.json").write_text(json.dumps(study))


def main() -> None:
    """Make, time, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--images", type=int, default=100_000)
    options = parser.parse_args()
    steps: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        steps[name] = {
            "seconds": round(time.perf_counter() - wall, 2), "cpu_seconds": round(time.process_time() - processor, 2),
            "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        }  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        with timed("make the store"):
            make_store(Path(folder, "store"), options.runs, options.images)
        stores, out = [FolderStorage(Path(folder, "store"))], FolderStorage(Path(folder, "results"))
        with timed("collect"):
            gather(out, stores, "large")
        with timed("collect again"):
            gather(out, stores, "large")
        with timed("read"):
            collected = read_results(out, "large")
        size = sum(path.stat().st_size for path in Path(folder, "results").rglob("*.parquet"))
    with timed("score"):
        scores = image_scores(collected.images, collected.study.arms)
    with timed("lay out"):
        laid = list(score_matrices(scores))
    with timed("test"):
        tests = [difference(each, arm, "arm 0") for _, _, each in laid for arm in collected.study.arms[1:]]
    tested = [name for name in steps if name not in ("make the store", "collect again")]
    figures = {
        "rows": options.runs * options.images, "file_mb": round(size / 1e6), "tests": len(tests), "steps": steps,
        "collect_to_test": {k: round(sum(steps[name][k] for name in tested), 2) for k in ("seconds", "cpu_seconds")},
        "load_average": round(os.getloadavg()[0], 1), "cores": os.cpu_count(), "python": platform.python_version(),
    }  # fmt: skip
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
