"""A study's progress, printed without a terminal to draw in."""

import io

from rich.console import Console

from metaseg.config import NetworkConfig, ScheduleConfig
from metaseg.engine import progress as module
from metaseg.engine.progress import StudyProgress, clock
from metaseg.study.plan import plan
from metaseg.training.history import Epoch


def epoch(number: int, val_f1: float | None = None) -> Epoch:
    return Epoch(number, 0.5, val_f1, 1e-3, 40.0, 1.0)


def test_runs_epochs_best_scores_and_time_left_are_told(tiny_dataset, monkeypatch):
    schedule = ScheduleConfig(epochs=10)
    study = plan("study", tiny_dataset, ["baseline", "sme"], 2, NetworkConfig(), schedule)
    now = iter(range(1000, 9000, 20))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(now)))
    console = Console(file=io.StringIO(), width=300)
    with StudyProgress(study, study.runs, console) as progress:
        first, second, third, _ = study.runs
        progress.started(first)
        progress.started(second)
        progress.update([(first.run_id, epoch(1, 0.8)), (first.run_id, epoch(2, 0.9)), (first.run_id, epoch(3))])
        progress.update([(first.run_id, epoch(4, 0.7))])
        progress.done(first)
        progress.started(third)
        progress.failed(second, "DivergedError: loss is nan")
    lines = console.file.getvalue().splitlines()
    beat = next(line for line in lines if "running" in line)
    assert "0 done, 2 running, 2 waiting" in beat
    assert "baseline seed 0: epoch 3/10, loss 0.500, best val F1 0.900, 40 images/s | sme seed 0: epoch 0/10" in beat
    assert "time left ?" not in beat
    done = next(line for line in lines if line.startswith("done"))
    assert "best val F1 0.900  (1/4)" in done
    assert any(line.startswith("FAILED sme seed 0") and "DivergedError: loss is nan  (2/4)" in line for line in lines)


def test_time_left_counts_samples_not_runs(tiny_dataset, monkeypatch):
    """Each of a stratified arm's two networks has half of the samples of a whole one."""
    network, schedule = NetworkConfig(), ScheduleConfig(epochs=10)
    study = plan("study", tiny_dataset, ["baseline", "baseline-stratified"], 1, network, schedule)
    whole, *parts = study.runs
    samples = [study.sample_count(part) for part in parts]
    assert study.sample_count(whole) == sum(samples)
    monkeypatch.setattr(module.time, "monotonic", lambda: clock_at[0])
    clock_at = [0.0]
    with StudyProgress(study, study.runs, Console(file=io.StringIO())) as progress:
        progress.started(parts[0])
        clock_at[0] = 60.0
        progress.update([(parts[0].run_id, epoch(10))])
        left = 60 * (2 * sum(samples) - samples[0]) / samples[0]
        assert progress.status()["time_left"] == clock(left)


def test_a_run_that_stands_still_is_called_silent_by_its_own_epochs(tiny_dataset, monkeypatch):
    study = plan("study", tiny_dataset, ["baseline", "sme"], 1, NetworkConfig(), ScheduleConfig(epochs=10))
    at = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: at[0])
    console = Console(file=io.StringIO(), width=300)
    first, second = study.runs
    with StudyProgress(study, study.runs, console) as progress:
        progress.started(first)
        progress.started(second)
        for number in (1, 2):
            at[0] += 30
            progress.update([(first.run_id, epoch(number)), (second.run_id, None)])
        at[0] += 140
        progress.update([(second.run_id, epoch(1))])  # 140 s after its last sign of life
        assert "no sign of life" not in console.file.getvalue()
        assert not any("no sign" in run["state"] for run in progress.status()["running"])
        at[0] += 20
        progress.update([])
        progress.update([])
        notes = [line for line in console.file.getvalue().splitlines() if line.startswith("note")]
        assert len(notes) == 1, "told once, and only of the run whose epochs are short"
        assert "baseline seed 0: no sign of life for 2 minutes" in notes[0]
        states = {run["label"]: run["state"] for run in progress.status()["running"]}
        assert states["baseline seed 0"].endswith("no sign of life for 2 minutes")
        assert "no sign" not in states["sme seed 0"]
        progress.update([(first.run_id, epoch(3))])
        assert not any("no sign" in run["state"] for run in progress.status()["running"])


def test_a_run_that_stands_still_before_any_epoch_is_called_silent(tiny_dataset, monkeypatch):
    study = plan("study", tiny_dataset, ["baseline"], 1, NetworkConfig(), ScheduleConfig(epochs=10))
    at = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: at[0])
    with StudyProgress(study, study.runs, Console(file=io.StringIO())) as progress:
        progress.started(study.runs[0])
        at[0] = 299.0
        assert not progress.is_silent(study.runs[0].run_id)
        at[0] = 301.0
        assert progress.status()["running"][0]["state"] == "epoch 0/10, no sign of life for 5 minutes"


def test_durations_read_as_clocks():
    assert [clock(5), clock(65), clock(3725.4)] == ["0:05", "1:05", "1:02:05"]


def test_a_run_that_stopped_early_says_where_and_shortens_the_time_left(tiny_dataset, monkeypatch):
    study = plan(
        "study", tiny_dataset, ["baseline", "sme"], 1, NetworkConfig(), ScheduleConfig(epochs=10), early_stopping=3
    )
    at = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: at[0])
    console = Console(file=io.StringIO(), width=300)
    with StudyProgress(study, study.runs, console) as progress:
        first, second = study.runs
        at[0] = 1.0
        progress.started(first)
        at[0] = 41.0
        progress.update([(first.run_id, epoch(4, 0.8))])
        assert progress.status()["time_left"] == "2:40", "16 epochs of 10 s"
        progress.done(first)
        assert progress.status()["time_left"] == "1:40", "none of the first run are left"
        progress.started(second)
        progress.update([(second.run_id, epoch(10, 0.7))])
        progress.done(second)
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("done")]
    assert lines[0].endswith("epoch 4/10, stopped early, best val F1 0.800  (1/2)")
    assert lines[1].endswith("  best val F1 0.700  (2/2)")
