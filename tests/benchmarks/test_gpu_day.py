"""The script for a day with a GPU: its checks can fail, and it leaves results whatever happens to a part."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_day import correctness
from benchmarks.gpu_day.correctness import check_all
from checkout import ROOT
from metaseg.data.crops import ResidentCutter

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def test_every_check_passes_and_one_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = check_all(DEVICE)
    assert [row for row in rows if not row["passed"]] == []
    assert {row["name"] for row in rows} == {
        "losses", "counts", "cutters", "resume", "waits", "waits of evaluation", "graphs"
    }  # fmt: skip

    class Wrong(ResidentCutter):
        def __call__(self, *arguments):  # type: ignore[no-untyped-def]
            images, masks = super().__call__(*arguments)
            return images, masks.flip(1)

    monkeypatch.setattr(correctness, "ResidentCutter", Wrong)
    monkeypatch.setattr(correctness, "CHECKS", {"cutters": correctness.cutters_give_equal_bits})
    assert check_all(DEVICE) == [{"name": "cutters", "passed": False, "said": "AssertionError: crops differ"}]


@pytest.mark.slow
def test_a_rehearsal_runs_without_ray_and_what_takes_too_long_is_cut(tmp_path: Path) -> None:
    for package in ("ray", "tyro"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('not on that machine')")

    def rehearse(name: str, minutes: float) -> dict[str, dict[str, object]]:
        command = [
            ROOT / "benchmarks/gpu_day.sh",
            tmp_path / name,
            "--device",
            "cpu",
            "--rehearse",
            "--minutes",
            minutes,
        ]
        environment = {"PYTHON": sys.executable, "PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
        subprocess.run(list(map(str, command)), env=environment, timeout=900, check=False)
        parts: dict[str, dict[str, object]] = json.loads((tmp_path / name / "gpu_day.json").read_text())["parts"]
        return parts

    whole = rehearse("whole", 10)
    assert [name for name, part in whole.items() if "figures" not in part] == []
    cut = rehearse("cut", 0.4)
    assert cut.keys() == whole.keys()
    assert "no time was left" in {part.get("failed") for part in cut.values()}
