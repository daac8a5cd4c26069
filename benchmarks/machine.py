"""Description of the machine that a benchmark ran on, and the files of its results."""

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "ray": _version("ray")},
        "git_commit": git_commit(),
        "day": time.strftime("%Y-%m-%d"),
    }


def _version(package: str) -> str | None:
    """The installed version; None where a machine doesn't have the package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def write_json(name: str, figures: dict[str, Any]) -> Path:
    """Write a benchmark's figures over the last ones."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")
    return path
