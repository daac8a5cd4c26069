"""trackio: a local project for each study, a run of it for each run, found again by name."""

import contextvars
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaseg.tracking.credentials import without_credentials
from metaseg.tracking.ledger import Ledger
from metaseg.tracking.tracker import Ending, Kept, TrackedRun, Values


class Trackio:
    """`metaseg.tracking.tracker.Tracker` for trackio: its server or Space as its environment says, else TRACKIO_DIR.

    trackio can't be asked for a run's epochs wherever it keeps them, so that a ledger says what was sent.
    """

    live = True

    def __init__(self, folder: Path, study: str) -> None:
        self._folder = folder / "trackio"
        self._remote = os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL")
        if not self._remote:  # trackio reads it when it is imported
            os.environ.setdefault("TRACKIO_DIR", str(self._folder))
        self._project = re.sub(r"[^A-Za-z0-9_-]+", "-", study)[:100]
        self._ledger = Ledger(self._folder / "sent")
        self._runs: dict[str, Any] = {}

    def begin(self, run: TrackedRun) -> Kept:
        """See `Tracker`."""
        return self._ledger.kept(run)

    def log(self, run: TrackedRun, epochs: Mapping[int, Values]) -> None:
        """See `Tracker`."""
        for epoch, values in epochs.items():
            self._open(run).log(dict(values), step=epoch)
        self._ledger.note(run, Kept(max(epochs)))

    def show(self, run: TrackedRun, epoch: int, pictures: Mapping[str, bytes]) -> None:
        """See `Tracker`."""
        import trackio

        with tempfile.TemporaryDirectory(prefix="metaseg-trackio-") as folder:
            shown = {}
            for name, png in pictures.items():
                path = Path(folder) / f"{name}.png"
                path.write_bytes(png)
                shown[f"samples/{name}"] = trackio.Image(str(path), caption=name)
            self._open(run).log(shown, step=epoch)

    def end(self, run: TrackedRun, ending: Ending, summary: Values) -> None:
        """See `Tracker`."""
        kept = self._ledger.kept(run)
        if ending == "finished":
            numbers = {f"run/{name}": value for name, value in summary.items()}
            self._open(run).log(numbers, step=int(summary.get("best_epoch", 0)))
            self._ledger.note(run, Kept(kept.epoch, True))
        if run.run_id in self._runs:
            self._runs.pop(run.run_id).finish()

    def publish(self, files: Mapping[str, bytes]) -> None:
        """See `Tracker`: the report is an artefact of a record of the whole study."""
        record = self._init(name="report", group="report", config={})
        with tempfile.TemporaryDirectory(prefix="metaseg-trackio-") as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            record.log_artifact(folder, name="report", type="report")
            record.finish()

    def close(self) -> None:
        """See `Tracker`."""
        for record in self._runs.values():
            record.finish()
        self._runs.clear()

    def where(self) -> str:
        """See `Tracker`."""
        if self._remote:
            return f"project {self._project} of trackio at {without_credentials(self._remote)}"
        folder = os.environ["TRACKIO_DIR"]
        return f"{folder}; to see it: TRACKIO_DIR={folder} trackio show --project {self._project}"

    def _open(self, run: TrackedRun) -> Any:
        if run.run_id not in self._runs:
            name = f"{run.label} {run.run_id[:8]}"
            self._runs[run.run_id] = self._init(name=name, group=run.arm, config=run.params)
        return self._runs[run.run_id]

    def _init(self, **about: Any) -> Any:
        import trackio

        # In a context of its own: else it would end the run before, and several are open at once.
        return contextvars.Context().run(
            lambda: trackio.init(
                project=self._project, resume="allow", embed=False, auto_log_cpu=False, auto_log_gpu=False, **about
            )
        )
