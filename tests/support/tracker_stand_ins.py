"""Stand-ins for trackers' packages, where the real ones aren't installed, and readers of what trackers have kept."""

import json
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from metaseg.tracking.tracker import TrackedRun


class FakeTrackio(types.ModuleType):
    """`trackio` as far as it is used: runs by name in a file, resumed with resume="allow"."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.current = 0

    def init(self, *, project: str, name: str, resume: str, **about: Any) -> "FakeTrackioRun":
        assert resume == "allow"
        assert set(about) <= {"group", "config", "embed", "auto_log_cpu", "auto_log_gpu"}
        return FakeTrackioRun(Path(os.environ["TRACKIO_DIR"]) / f"{project}.jsonl", name, about)

    def Image(self, value: str, caption: str) -> str:  # noqa: N802 - trackio's name
        assert Path(value).read_bytes().startswith(b"\x89PNG")
        return f"picture {caption}"


class FakeTrackioRun:
    def __init__(self, path: Path, name: str, about: Mapping[str, Any]) -> None:
        self._path, self._name, self._open = path, name, True
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write({"group": about["group"], "config": dict(about["config"])})

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._write({"values": dict(values), "step": step})

    def log_artifact(self, folder: str, name: str, type: str) -> None:
        self._write({"files": sorted(path.name for path in Path(folder).iterdir())})

    def finish(self) -> None:
        self._write({"finished": True})
        self._open = False

    def _write(self, row: Mapping[str, Any]) -> None:
        assert self._open
        with self._path.open("a") as file:
            file.write(json.dumps({"name": self._name, **row}) + "\n")


class FakeWandb(types.ModuleType):
    """`wandb` as far as it is used: a folder of lines for each call of `init`, as an offline run has."""

    class Settings:
        def __init__(self, **settings: Any) -> None:
            self.settings = settings

    class Artifact:
        def __init__(self, name: str, type: str) -> None:
            self.files: list[str] = []

        def add_file(self, path: str) -> None:
            self.files.append(Path(path).name)

    def __init__(self) -> None:
        super().__init__("wandb")

    def init(self, *, id: str, mode: str, dir: str, **about: Any) -> "FakeWandbRun":
        return FakeWandbRun(Path(dir) / "wandb" / "fake", id, mode, about)

    def Image(self, picture: Any) -> str:  # noqa: N802 - wandb's name
        return f"picture {picture.size}"


class FakeSummary(dict[str, Any]):
    """A summary that is written as it is updated."""

    def __init__(self, run: "FakeWandbRun") -> None:
        super().__init__()
        self._run = run

    def update(self, values: Mapping[str, Any]) -> None:  # type: ignore[override]
        super().update(values)
        self._run._write(dict(values))


class FakeWandbRun:
    def __init__(self, folder: Path, run: str, mode: str, about: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{run}.jsonl"
        self.resumed = self._path.exists()
        assert not (mode == "offline" and self.resumed), "an offline run is written once"
        rows = [json.loads(line) for line in self._path.read_text().splitlines()] if self.resumed else []
        self.summary = FakeSummary(self)
        for row in rows:  # the last value of each, as W&B has it
            dict.update(self.summary, row)
        self._write({"group": about["group"], "config": dict(about.get("config", {}))})

    def define_metric(self, *names: str, **how: Any) -> None:
        pass

    def log(self, values: Mapping[str, Any]) -> None:
        self._write(dict(values))

    def log_artifact(self, artefact: FakeWandb.Artifact) -> None:
        self._write({"files": artefact.files})

    def finish(self, exit_code: int = 0) -> None:
        self._write({"finished": exit_code == 0})

    def _write(self, row: Mapping[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def stand_in(name: str, patch: pytest.MonkeyPatch) -> None:
    """Put a stand-in in the place of a tracker's package."""
    module = {"trackio": FakeTrackio, "wandb": FakeWandb}[name]()
    module.__spec__ = types.SimpleNamespace(name=name)  # type: ignore[assignment]
    patch.setitem(sys.modules, name, module)


Steps = dict[str, list[int]]
"""Steps of each value, in the order in which a tracker shows them."""


def steps_in_tensorboard(folder: Path, run: TrackedRun) -> Steps:
    """Read by TensorBoard's own reader, where it is installed, else by what wrote it."""
    [place] = (folder / "tensorboard").rglob(f"*_{run.run_id[:8]}")
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        from metaseg.tracking.tensorboard import _events

        found: Steps = {}
        for event in _events(place):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append(event.step)
        return found
    reader = EventAccumulator(str(place))
    reader.Reload()
    return {tag: [scalar.step for scalar in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def steps_in_mlflow(folder: Path, run: TrackedRun) -> Steps:
    import mlflow

    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(run.study)
    [found] = client.search_runs([experiment.experiment_id], f"tags.`metaseg.run_id` = '{run.run_id}'")
    assert found.data.params["arm"] == run.arm
    names = ["train_loss", "val_f1", "seconds"]
    return {name: [each.step for each in client.get_metric_history(found.info.run_id, name)] for name in names}


def steps_in_wandb(folder: Path, run: TrackedRun) -> Steps:
    [path] = (folder / "wandb" / "fake").glob(f"{run.run_id}-*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0]["group"] == f"{run.study}: {run.arm}"
    return {name: [row["epoch"] for row in rows if name in row] for name in ("train_loss", "val_f1", "seconds")}


def steps_in_trackio(folder: Path, run: TrackedRun) -> Steps:
    [path] = Path(os.environ["TRACKIO_DIR"]).glob("*.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    own = [row for row in rows if row["name"].endswith(run.run_id[:8])]
    assert own[0]["group"] == run.arm
    named = ("train_loss", "val_f1", "seconds")
    return {name: [row["step"] for row in own if name in row.get("values", {})] for name in named}


STEPS = {
    "tensorboard": steps_in_tensorboard,
    "mlflow": steps_in_mlflow,
    "wandb": steps_in_wandb,
    "trackio": steps_in_trackio,
}
