"""Check and measure everything on a GPU; `benchmarks/gpu_day.sh` calls it.

    python -m benchmarks.gpu_day --out FOLDER --device cuda --minutes 8

Each part is a process of its own with a limit of time, so that one that fails or hangs leaves the others their turn.
The JSON is written anew after each part: a run that is cut leaves what it had. Correctness comes first. Ray isn't
needed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_day.correctness import SMALL, check_all
from benchmarks.gpu_day.graphs import launches
from benchmarks.machine import describe_machine
from benchmarks.training.bare import wait
from benchmarks.training.capacity import PACKED, Peak, packing, paper_size, sizes
from benchmarks.training.throughput import evaluation
from benchmarks.training.trainers import usual_limit
from benchmarks.training.work import FULL, QUICK, STUDY, Size, Work, make_work

GIB = 2**30


def _on(size: Size, device: torch.device, measure: Callable[[Work], Any]) -> Any:
    with tempfile.TemporaryDirectory(prefix="metaseg-gpu-day-") as folder:
        return measure(make_work(Path(folder), size, device, torch.get_num_threads()))


def bandwidth(device: torch.device) -> dict[str, Any]:
    """Bytes that a copy within the device's memory reads and writes in a second."""
    source = torch.empty((8 * GIB if device.type == "cuda" else GIB // 8), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    wait(device)
    started, copies = time.perf_counter(), 10
    for _ in range(copies):
        target.copy_(source)
    wait(device)
    return {"bytes_per_second": 2 * copies * source.numel() / (time.perf_counter() - started)}


def parts(device: torch.device, small: bool) -> dict[str, tuple[float, Callable[[], Any]]]:
    """Parts in order: a share of the time that each may take, and what measures it. `small` is for a rehearsal."""
    limit = usual_limit(device)
    peak = Peak(side=512, products=2) if small else Peak()
    paper = [SMALL] if small else [paper_size(512), paper_size(1080)]
    study, wide = (SMALL, SMALL) if small else (STUDY, QUICK)

    return {
        "correctness": (0.2, lambda: check_all(device)),
        "peak": (0.05, lambda: {
            "flops_per_second": {name: peak.measure(device, name) for name in ("bfloat16", "float32")},
            **bandwidth(device),
        }),
        "small networks": (0.15, lambda: {
            "default study": _on(study, device, lambda work: launches(work, limit, compiled=False)),
            "width 16, depth 4": _on(wide, device, lambda work: launches(work, limit, compiled=False)),
        }),
        "paper's network": (0.25, lambda: sizes(paper, device, torch.get_num_threads(), 2, peak)),
        "packing": (0.3, lambda: _on(study, device, lambda work: packing(work, PACKED[:2] if small else PACKED, 5, 1))),
        "compile": (0.2, lambda: _on(study, device, lambda work: launches(work, limit, compiled=not small))),
        "evaluation": (0.15, lambda: _on(SMALL if small else FULL, device, lambda work: evaluation(work, 2, print))),
    }  # fmt: skip


def main() -> int:
    """Run all parts; exit code 1 if a check of correctness failed or a part gave nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu_day.json and gpu_day.log")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for all parts together")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, to try the script on a CPU")
    parser.add_argument("--part", help="run one part, and print its figures as JSON on the last line")
    given = parser.parse_args()
    device = torch.device(given.device)
    if given.part:
        print(json.dumps(parts(device, given.rehearse)[given.part][1]()))
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "machine": describe_machine(),
        "device": str(device),
        "rehearsal": given.rehearse,
        "parts": {},
    }
    ends = time.monotonic() + 60 * given.minutes
    shares = {name: share for name, (share, _) in parts(device, given.rehearse).items()}
    for name, share in shares.items():
        left = ends - time.monotonic()
        # What earlier parts have spared is theirs who come later.
        most = left * share / sum(list(shares.values())[list(shares).index(name) :])
        found["parts"][name] = _part(name, given, max(most, 20.0) if left > 20 else 0.0)
        (given.out / "gpu_day.json").write_text(json.dumps(found, indent=2) + "\n")
        print(f"{name}: {json.dumps(found['parts'][name])[:300]}", flush=True)
    checks = found["parts"]["correctness"].get("figures") or [
        {"name": "correctness", "passed": False, "said": "no answer"}
    ]
    for check in checks:
        print(f"{'passed' if check['passed'] else 'FAILED'}  {check['name']}: {check['said']}")
    print(f"Written: {given.out / 'gpu_day.json'}")
    return int(
        not all(check["passed"] for check in checks) or any("failed" in each for each in found["parts"].values())
    )


def _part(name: str, given: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """A part's figures and the seconds it took; or why there are none."""
    if not seconds:
        return {"failed": "no time was left"}
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu_day",
        "--out",
        str(given.out),
        "--device",
        given.device,
        "--part",
        name,
    ]
    started = time.monotonic()
    with (given.out / "gpu_day.log").open("a") as log:
        log.write(f"== {name}\n")
        log.flush()
        try:
            done = subprocess.run(
                command + ["--rehearse"] * given.rehearse,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as cut:
            output = cut.stdout.decode() if isinstance(cut.stdout, bytes) else cut.stdout or ""
            log.write(output)
            return {"failed": f"took longer than {seconds:.0f} s"}
        log.write(done.stdout)
    took = round(time.monotonic() - started, 1)
    if done.returncode:
        return {"failed": f"exit code {done.returncode}: see gpu_day.log", "seconds": took}
    return {"figures": json.loads(done.stdout.strip().splitlines()[-1]), "seconds": took}


if __name__ == "__main__":
    sys.exit(main())
