"""Help, versions and wrong options are answered before anything slow is imported."""

import resource
import subprocess
import sys

import pytest

from checkout import ROOT
from metaseg import __version__

SLOW = {"numpy", "pandas", "torch", "ray", "matplotlib", "scipy", "sklearn", "optuna", "pyarrow", "skimage", "PIL"}
CPU_SECONDS = 0.7

STUDY, SWEEP = "studies/seven_cells.py", "studies/sweep_schedule.py"

ANSWERED = [
    (["-m", "metaseg", "--help"], 0, "predict"),
    (["-m", "metaseg", "--version"], 0, f"metaseg {__version__}\n"),
    (["-m", "metaseg", "status", "--help"], 0, "STORE"),
    (["-m", "metaseg", "statsu"], 2, "statsu"),
    (["-m", "metaseg", "score", "store", "--stduy", "x"], 2, "--stduy"),
    (["-m", "analysis", "--help"], 0, "collect"),
    (["-m", "analysis", "--version"], 0, f"analysis {__version__}\n"),
    (["-m", "analysis", "report", "--help"], 0, "--margin"),
    (["-m", "analysis", "reprot"], 2, "reprot"),
    (["-m", "analysis", "report", "store", "--marign", "1"], 2, "--marign"),
    (["-m", "analysis", "collect", "out", "--table", "scores.csv"], 2, "--table and --name go together"),
    ([STUDY, "--help"], 0, "--epochs"),
    ([STUDY, "--version"], 0, f"metaseg {__version__}\n"),
    ([STUDY, "--epohcs", "3"], 2, "--epohcs"),
    ([STUDY, "--epochs", "0"], 2, "epochs is 0"),
    ([SWEEP, "--help"], 0, "--trials"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), ANSWERED, ids=lambda value: str(value)[:40])
def test_help_versions_and_wrong_options_are_answered_before_anything_slow_is_imported(
    arguments: list[str], code: int, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    imported = {line.rsplit("|", 1)[1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    told = done.stdout + "\n".join(line for line in done.stderr.splitlines() if not line.startswith("import time:"))
    assert done.returncode == code, told
    assert said in told
    assert "tyro" in imported
    assert not imported & SLOW


def seconds(*arguments: str) -> float:
    """CPU time of a Python process, its own and the system's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("arguments", [("-m", "analysis", "report", "--help"), (STUDY, "--epohcs", "3")], ids=str)
def test_an_answer_takes_little_of_the_processor(arguments: tuple[str, ...]) -> None:
    assert min(seconds(*arguments) for _ in range(3)) < CPU_SECONDS
