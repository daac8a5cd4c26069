"""Description of the machine that a benchmark ran on, and the files of its results."""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import ray
import torch

from metaseg.study.execution import git_commit

RESULTS = Path(__file__).parent / "results"


def describe_machine() -> dict[str, Any]:
    """Processor, cores, versions, commit and day."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "ray": ray.__version__},
        "git_commit": git_commit(),
        "day": time.strftime("%Y-%m-%d"),
    }


def write_json(name: str, figures: dict[str, Any]) -> Path:
    """Write a benchmark's figures over the last ones."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")
    return path
