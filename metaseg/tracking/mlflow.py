"""MLflow: an experiment for each study, a run of it for each run, found again by the run's id."""

import logging
import os
import shlex
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from metaseg.schema import VAL_F1
from metaseg.tracking.credentials import without_credentials
from metaseg.tracking.tracker import Ending, Kept, TrackedRun, Values

STATUS: dict[Ending, str] = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}

RUN_ID, KIND = "metaseg.run_id", "metaseg.kind"
"""Tags: a run's id, and whether a record is of a run or of the whole study."""

LONGEST = 500
"""Most characters of a parameter that are sent; older servers take no more."""

MOST_PARAMETERS, MOST_METRICS = 100, 1000
"""Most parameters and values in a request: MLflow takes no more."""


class MLflow:
    """`metaseg.tracking.tracker.Tracker` for MLflow: the server of MLFLOW_TRACKING_URI, else an SQLite file."""

    live = True

    def __init__(self, folder: Path, study: str) -> None:
        # Before mlflow is imported: it is told nothing but what is sent here, and its retries would take minutes.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        self._folder, self._study = folder / "mlflow", study
        self._uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self._folder / 'mlflow.db'}"
        self._own = "MLFLOW_TRACKING_URI" not in os.environ
        self._ids: dict[str, str] = {}
        self._connected: tuple[Any, str] | None = None

    def begin(self, run: TrackedRun) -> Kept:
        """See `Tracker`."""
        client, experiment = self._connect()
        if found := self._find(f"tags.`{RUN_ID}` = '{run.run_id}'"):
            self._ids[run.run_id] = found.info.run_id
            histories = (client.get_metric_history(found.info.run_id, name) for name in ("train_loss", VAL_F1))
            steps = [metric.step for history in histories for metric in history]
            ended = found.info.status == STATUS["finished"]
            if not ended:
                client.update_run(found.info.run_id, status="RUNNING")
            return Kept(max(steps, default=0), ended)
        fold = {"fold": run.fold} if run.fold else {}
        tags = {RUN_ID: run.run_id, KIND: "run", "study": run.study, "arm": run.arm, "seed": str(run.seed), **fold}
        made = client.create_run(experiment, run_name=run.label, tags=tags).info.run_id
        self._ids[run.run_id] = made
        self._send_parameters(made, run)
        return Kept()

    def _send_parameters(self, record: str, run: TrackedRun) -> None:
        from mlflow.entities import Param

        client, _ = self._connect()
        params = [Param(name, str(value)[:LONGEST]) for name, value in run.params.items()]
        for start in range(0, len(params), MOST_PARAMETERS):
            client.log_batch(record, params=params[start : start + MOST_PARAMETERS])

    def log(self, run: TrackedRun, epochs: Mapping[int, Values]) -> None:
        """See `Tracker`."""
        self._send(run, epochs)

    def show(self, run: TrackedRun, epoch: int, pictures: Mapping[str, bytes]) -> None:
        """See `Tracker`."""
        self._upload(self._ids[run.run_id], {f"samples/{name}.png": png for name, png in pictures.items()})

    def end(self, run: TrackedRun, ending: Ending, summary: Values) -> None:
        """See `Tracker`."""
        if summary:
            numbers = {f"run/{name}": value for name, value in summary.items()}
            self._send(run, {int(summary.get("best_epoch", 0)): numbers})
        self._connect()[0].set_terminated(self._ids.pop(run.run_id), STATUS[ending])

    def publish(self, files: Mapping[str, bytes]) -> None:
        """See `Tracker`: the report is in a record of the whole study."""
        client, experiment = self._connect()
        found = self._find(f"tags.`{KIND}` = 'study'")
        tags = {KIND: "study", "study": self._study}
        name = f"report of {self._study}"
        record = found.info.run_id if found else client.create_run(experiment, run_name=name, tags=tags).info.run_id
        self._upload(record, {f"report/{name}": content for name, content in files.items()})
        client.set_terminated(record, "FINISHED")

    def close(self) -> None:
        """See `Tracker`."""

    def where(self) -> str:
        """See `Tracker`.

        MLflow's server needs another pandas than metaseg, so it runs in an environment of its own; in the version that
        wrote the database, since others may refuse it.
        """
        if not self._own:
            return f"{without_credentials(self._uri)}, experiment {self._study!r}"
        program = f"uvx mlflow@{version('mlflow-skinny')}"
        return f"{self._folder}; to see it: {program} server --backend-store-uri {shlex.quote(self._uri)}"

    def _connect(self) -> tuple[Any, str]:
        """The client, and the id of the study's experiment."""
        if self._connected is None:
            import mlflow

            for noisy in ("mlflow", "alembic"):  # they tell of each table of a new file
                logging.getLogger(noisy).setLevel(logging.WARNING)
            if self._own:
                self._folder.mkdir(parents=True, exist_ok=True)
            client = mlflow.MlflowClient(tracking_uri=self._uri)
            found = client.get_experiment_by_name(self._study)
            where = (self._folder / "artifacts").as_uri() if self._own else None
            made = found.experiment_id if found else client.create_experiment(self._study, artifact_location=where)
            self._connected = client, str(made)
        return self._connected

    def _find(self, condition: str) -> Any:
        client, experiment = self._connect()
        found = client.search_runs([experiment], condition, max_results=1)
        return found[0] if found else None

    def _send(self, run: TrackedRun, epochs: Mapping[int, Values]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, epoch) for epoch, of in epochs.items() for name, value in of.items()]
        for start in range(0, len(metrics), MOST_METRICS):
            self._connect()[0].log_batch(self._ids[run.run_id], metrics=metrics[start : start + MOST_METRICS])

    def _upload(self, record: str, files: Mapping[str, bytes]) -> None:
        client, _ = self._connect()
        with tempfile.TemporaryDirectory(prefix="metaseg-mlflow-") as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                client.log_artifact(record, str(path), str(Path(name).parent))
