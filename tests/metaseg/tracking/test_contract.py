"""The contract of trackers: every epoch once and in order, whoever sent it, and nothing of it harms a study."""

import hashlib
import importlib.util
import io
import itertools
import json
import os
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fake_store import history, noisy_rows, run_id, write_study
from metaseg.commands.track import track
from metaseg.config import ConfigError, NetworkConfig, ScheduleConfig
from metaseg.engine.progress import StudyProgress
from metaseg.store.runs import Store
from metaseg.study.plan import plan
from metaseg.tracking import recorder as module
from metaseg.tracking.existing import send
from metaseg.tracking.names import TRACKERS, TrackerName
from metaseg.tracking.open import CLASSES, open_trackers, require_trackers, tracking_folder
from metaseg.tracking.recorder import Recorder
from metaseg.tracking.sender import Sender
from metaseg.tracking.sources import recorded_trial
from metaseg.tracking.tracker import Kept, TrackedRun
from metaseg.training.checkpoint import State, pack
from metaseg.training.history import Epoch
from tracker_stand_ins import STEPS, Steps, stand_in, steps_in_wandb

Made = Callable[[], Sender]

VARIABLES = ("MLFLOW_TRACKING_URI", "WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "TRACKIO_DIR", "TRACKIO_SPACE_ID",
             "TRACKIO_SERVER_URL")  # fmt: skip

EPOCHS = {number: {"train_loss": 1 / number, "val_f1": 0.5 + number / 20, "seconds": 1.0} for number in range(1, 7)}
RUN = TrackedRun("cells", run_id("sme", 0), "sme seed 0", "sme", 0, settings={"network.width": 8})


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 200, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def seal_all(store: Path) -> None:
    """Finish runs: with a history of six epochs, and checksums of all files."""
    for folder in (store / "runs").iterdir():
        history(6).assign(images_per_second=10.0, seconds=1.0).to_parquet(folder / "history.parquet", index=False)
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.suffix}
        (folder / "DONE").write_text(json.dumps({"sha256": digests}))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "nobody is logged in"))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store" / "tracking" / "trackio"))
    (tmp_path / "store").mkdir()
    write_study(tmp_path / "store", noisy_rows)
    seal_all(tmp_path / "store")
    return Store.at(tmp_path / "store")


@pytest.fixture(params=[*TRACKERS, "wandb online"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TrackerName:
    """Each tracker whose package, or a stand-in for it, is there."""
    name: TrackerName = request.param.partition(" ")[0]
    if name in ("wandb", "trackio"):
        stand_in(name, monkeypatch)
    elif importlib.util.find_spec({"tensorboard": "tensorboardX"}.get(name, name)) is None:
        pytest.skip(f"{name} isn't installed")
    if name == "mlflow":  # plain files: a new database takes ten seconds
        folder = tracking_folder(request.getfixturevalue("store")) / "mlflow"
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", folder.as_uri())
    if request.param == "wandb online":
        request.getfixturevalue("store")
        monkeypatch.setenv("WANDB_MODE", "online")
    return name


@pytest.fixture
def sender(name: TrackerName, store: Store) -> Made:
    """Makes a new sender, as another process would."""
    return lambda: Sender(open_trackers([name], store, "cells")[name], store, lambda finished: {"a": png()})


@pytest.fixture
def steps(name: TrackerName, store: Store) -> Callable[[], Steps]:
    return lambda: STEPS[name](tracking_folder(store), RUN)


def is_complete(found: Steps) -> bool:
    """True if each epoch is there once, and `seconds` isn't mixed up with those of the whole run."""
    every = [1, 2, 3, 4, 5, 6]
    return found["train_loss"] == every and found["val_f1"] == [1, 3, 5] and found["seconds"] == every


def test_a_run_that_is_followed_to_its_end_is_there_whole(sender: Made, steps: Callable[[], Steps]) -> None:
    live = sender()
    live.started(RUN)
    for number in range(1, 7):
        live.epoch(RUN, number, EPOCHS[number] if number % 2 else {"train_loss": 0.1, "seconds": 1.0})
    assert live.done(RUN)
    live.close()
    assert is_complete(steps())


def test_an_interrupted_run_goes_on_in_its_record_without_an_epoch_twice(
    sender: Made, steps: Callable[[], Steps], store: Store
) -> None:
    killed = sender()
    killed.started(RUN)
    for number in (1, 2, 3, 4):
        killed.epoch(RUN, number, EPOCHS[number] if number % 2 else {"train_loss": 0.1, "seconds": 1.0})
    killed.close()
    resumed = sender()  # from a checkpoint after epoch 2
    resumed.started(RUN)
    for number in (3, 4, 5):
        resumed.epoch(RUN, number, EPOCHS[number] if number % 2 else {"train_loss": 0.1, "seconds": 1.0})
    assert resumed.done(RUN)
    resumed.close()
    assert is_complete(steps())
    again = sender()
    assert not again.done(RUN), "the record is complete"
    again.close()
    assert is_complete(steps())


def test_a_run_that_began_without_a_tracker_is_filled_up_in_order(
    sender: Made, steps: Callable[[], Steps], store: Store, name: TrackerName
) -> None:
    late = sender()
    late.started(RUN)
    late.epoch(RUN, 4, {"train_loss": 0.1, "seconds": 1.0})  # those before are nowhere: it waits for the end
    epochs = [Epoch(number, 0.5, 0.7 if number % 2 else None, 0.1, 10.0, 1.0) for number in (1, 2, 3, 4)]
    store.save_checkpoint(RUN.run_id, "000005-00000000", pack(State(epoch=5, history=epochs), {}))
    late.epoch(RUN, 5, EPOCHS[5])
    assert late.done(RUN)
    late.close()
    assert is_complete(steps())


def test_a_failed_run_may_be_tried_again(sender: Made, steps: Callable[[], Steps]) -> None:
    first = sender()
    first.started(RUN)
    first.epoch(RUN, 1, EPOCHS[1])
    first.failed(RUN)
    first.started(RUN)
    first.epoch(RUN, 1, EPOCHS[1])
    assert first.done(RUN)
    first.close()
    assert is_complete(steps())


def test_a_study_is_sent_afterwards_once(name: TrackerName, store: Store, steps: Callable[[], Steps]) -> None:
    store.storage.write("reports/cells/table.md", b"| arm |\n| --- |\n| sme |\n")
    store.storage.write("reports/cells/report.html", b"<html></html>")
    warnings: list[str] = []
    [sent] = send(store, "cells", [name], (), warnings.append)
    assert (sent.runs, sent.known, warnings) == (4, 0, [])
    assert is_complete(steps())
    [again] = send(store, "cells", [name], (), warnings.append)
    assert (again.runs, again.known) == (0, 4)
    assert is_complete(steps())
    assert "\n" not in sent.where


def test_a_damaged_run_is_named_and_the_others_are_sent(store: Store) -> None:
    Path(store.run_folder(run_id("sme", 0)), "history.parquet").write_bytes(b"nonsense")
    warnings: list[str] = []
    [sent] = send(store, "cells", ["tensorboard"], (), warnings.append)
    assert sent.runs == 3
    assert len(warnings) == 1
    assert "history.parquet" in warnings[0]


def test_an_unknown_study_and_a_missing_package_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"study is 'other'; .* has cells"):
        list(send(store, "other", ["tensorboard"], (), print))
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(ConfigError, match=r"tracker mlflow needs the package mlflow.*: pip install 'mlflow-skinny>=3"):
        require_trackers(["mlflow"])


class Stubborn:
    """A tracker whose server is away, or hangs."""

    live = True

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls, self._seconds = 0, seconds

    def begin(self, run: TrackedRun) -> Kept:
        self.calls += 1
        time.sleep(self._seconds)
        raise ConnectionError("http://lab:5000 doesn't answer\nand more")

    def close(self) -> None: ...

    def where(self) -> str:
        return "nowhere"


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_tracker_that_fails_or_hangs_is_warned_of_once_and_training_goes_on(
    seconds: float, tiny_dataset, tmp_path, monkeypatch
) -> None:
    stubborn = Stubborn(seconds)
    monkeypatch.setattr(module, "open_trackers", lambda names, store, study: {"mlflow": stubborn})
    monkeypatch.setattr(module, "FAREWELL_SECONDS", 0.5)
    study = plan("cells", tiny_dataset, ["baseline", "sme"], 2, NetworkConfig(), ScheduleConfig(epochs=3))
    store, console = Store.at(tmp_path / "store"), Console(file=io.StringIO(), width=500)
    began = time.monotonic()
    with (
        Recorder(["mlflow"], store, study, console) as recorder,
        StudyProgress(study, study.runs, console, (recorder,)) as progress,
    ):
        for run in study.runs:
            progress.started(run)
            progress.update([(run.run_id, Epoch(1, 0.5, 0.8, 0.1, 10.0, 1.0))])
            progress.done(run)
    assert time.monotonic() - began < 10
    printed = console.file.getvalue()
    assert printed.count("warning: tracker mlflow is left alone") == 1
    assert ("ConnectionError: http://lab:5000 doesn't answer" in printed) == (seconds == 0)
    assert f"metaseg track {store.where} --study cells --to mlflow" in printed
    assert stubborn.calls == 1


SECRETS = ("jane", "s3cr3t/x", "s3cr3t%2Fx", "t0ken")


@pytest.mark.parametrize(
    ("name", "variable", "shown"),
    [
        ("mlflow", "MLFLOW_TRACKING_URI", "https://lab:5000/flow"),
        ("trackio", "TRACKIO_SERVER_URL", "at https://lab:5000/flow"),
    ],
)
def test_credentials_in_addresses_are_not_shown(
    name: TrackerName, variable: str, shown: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "https://jane:s3cr3t%2Fx@lab:5000/flow?write_token=t0ken")
    where = CLASSES[name](tracking_folder(store), "cells").where()
    assert shown in where
    assert not [secret for secret in SECRETS if secret in where]


def test_credentials_are_not_in_reasons_of_warnings(
    tiny_dataset, tmp_path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    address = "https://jane:s3cr3t%2Fx@lab:5000/flow?write_token=t0ken"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    reason = f"{address}: no answer to /api?write_token=t0ken, as s3cr3t/x, by postgresql://jane@db/x"

    def fails(*arguments: object) -> Kept:
        raise OSError(reason)

    monkeypatch.setattr(Stubborn, "begin", fails)
    monkeypatch.setattr(module, "open_trackers", lambda names, store, study: {"mlflow": Stubborn()})
    study = plan("cells", tiny_dataset, ["baseline"], 1, NetworkConfig(), ScheduleConfig(epochs=3))
    console = Console(file=io.StringIO(), width=500)
    with Recorder(["mlflow"], Store.at(tmp_path / "store"), study, console) as recorder:
        recorder.started(study.runs[0])
    monkeypatch.setattr("metaseg.tracking.existing.send", fails)
    assert track(str(tmp_path / "store"), "cells", ("mlflow",)) == 1
    for printed in (console.file.getvalue(), capsys.readouterr().out):
        assert "https://lab:5000/flow: no answer to /api?write_token=..., as ..., by postgresql://db/x" in printed
        assert not [secret for secret in SECRETS if secret in printed]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """MLflow's own server, from an environment of its own, since it needs another pandas."""
    program = os.environ.get("METASEG_MLFLOW_SERVER")
    if not program:
        pytest.skip("METASEG_MLFLOW_SERVER isn't set; expected the path of the mlflow program, which can be of another "
                    "environment")  # fmt: skip
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [program, "server", "--backend-store-uri", f"sqlite:///{tmp_path / 'served.db'}", "--port", str(port),
               "--artifacts-destination", str(tmp_path / "artefacts"), "--workers", "1"]  # fmt: skip
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, env=environment)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.slow
def test_without_a_server_mlflow_is_a_database_in_the_stores_folder(store: Store) -> None:
    pytest.importorskip("mlflow")
    [sent] = send(store, "cells", ["mlflow"], (), print)
    assert (tracking_folder(store) / "mlflow" / "mlflow.db").is_file()
    assert re.search(r"uvx mlflow@3\.\S+ server --backend-store-uri sqlite:///", sent.where)
    assert is_complete(STEPS["mlflow"](tracking_folder(store), RUN))
    [again] = send(store, "cells", ["mlflow"], (), print)
    assert (again.runs, again.known) == (0, 4)


@pytest.mark.slow
def test_mlflows_own_server_has_the_study(server: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    store.storage.write("reports/cells/table.md", b"| arm |")
    [sent] = send(store, "cells", ["mlflow"], (), print)
    assert sent.runs == 4
    assert is_complete(STEPS["mlflow"](tracking_folder(store), RUN))
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("cells").experiment_id
    runs: Mapping[str, object] = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert set(runs) == {"report of cells", *(f"{arm} seed {seed}" for arm in ("baseline", "sme") for seed in (0, 1))}
    report = client.list_artifacts(runs["report of cells"].info.run_id, "report")  # type: ignore[attr-defined]
    assert [file.path for file in report] == ["report/table.md"]
    [again] = send(store, "cells", ["mlflow"], (), print)
    assert (again.runs, again.known) == (0, 4)


def test_a_pruned_trial_is_its_settings_and_its_curve(sender: Made, store: Store, name: TrackerName) -> None:
    row = {"sweep": "cells", "arm": "sme", "number": 7, "state": "pruned", "run_id": "f" * 16}
    row |= {"param_lr_max": 0.01, "param_depth": float("nan"), "curve_epoch": [2, 4], "curve_val_f1": [0.5, 0.6]}
    run, curve, ending = recorded_trial(row, 1000)
    assert (run.label, run.params["lr_max"], run.seed, ending) == ("sme trial 7", 0.01, 1000, "stopped")
    assert "depth" not in run.params, "of a setting that the trial doesn't have"
    first = sender()
    assert first.trial(run, curve, ending)
    first.close()
    assert STEPS[name](tracking_folder(store), run)["val_f1"] == [2, 4]
    again = sender()
    assert not again.trial(run, curve, ending)
    again.close()


def test_a_pruned_trial_stays_ended_in_mlflow_when_it_is_sent_again(store: Store, monkeypatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tracking_folder(store) / "mlflow").as_uri())
    row = {"sweep": "cells", "arm": "sme", "number": 7, "state": "pruned", "run_id": "f" * 16}
    trial = recorded_trial(row | {"curve_epoch": [2, 4], "curve_val_f1": [0.5, 0.6]}, 1000)
    for _ in range(2):
        sender = Sender(open_trackers(["mlflow"], store, "cells")["mlflow"], store, lambda finished: {})
        sender.trial(*trial)
        sender.close()
        client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
        experiment = client.get_experiment_by_name("cells").experiment_id
        assert [run.info.status for run in client.search_runs([experiment])] == ["KILLED"]


@pytest.mark.parametrize("left", [0, 2, 4])
def test_epochs_that_the_server_of_wandb_lacks_are_sent_again(left: int, store: Store, monkeypatch) -> None:
    stand_in("wandb", monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "online")

    def sender() -> Sender:
        return Sender(open_trackers(["wandb"], store, "cells")["wandb"], store, lambda finished: {"a": png()})

    killed = sender()
    killed.started(RUN)
    for number in range(1, 5):
        killed.epoch(RUN, number, EPOCHS[number] if number % 2 else {"train_loss": 0.1, "seconds": 1.0})
    [path] = (tracking_folder(store) / "wandb" / "fake").glob("*.jsonl")
    rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join(itertools.takewhile(lambda row: json.loads(row).get("epoch", 0) <= left, rows)))
    if not left:  # somebody has deleted the run
        path.unlink()
    resumed = sender()
    assert resumed.done(RUN)
    resumed.close()
    assert is_complete(steps_in_wandb(tracking_folder(store), RUN))


def test_pictures_of_an_earlier_epoch_do_not_take_wandb_back(store: Store, monkeypatch) -> None:
    stand_in("wandb", monkeypatch)
    monkeypatch.setenv("WANDB_MODE", "online")
    first = open_trackers(["wandb"], store, "cells")["wandb"]
    first.begin(RUN)
    first.log(RUN, EPOCHS)
    first.show(RUN, 3, {"a": png()})  # the best epoch; the process is killed before the run ends
    assert open_trackers(["wandb"], store, "cells")["wandb"].begin(RUN) == Kept(6)
