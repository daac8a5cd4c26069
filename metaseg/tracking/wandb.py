"""Weights & Biases: a run for each run, grouped by study and arm; offline where nobody is logged in."""

import hashlib
import io
import netrc
import os
import re
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from metaseg.tracking.ledger import Ledger
from metaseg.tracking.tracker import Ending, Kept, TrackedRun, Values

LONGEST_TAG, LONGEST_ID = 64, 100
"""Most characters of a tag, and of an id."""

EPOCHS = "run/epochs"
"""Summary of the last epoch that was logged; `epoch` itself is that of pictures, where these came last."""


class WandB:
    """`metaseg.tracking.tracker.Tracker` for Weights & Biases, by its environment variables.

    Offline, a record is written in one piece when its run is done, since `wandb sync` sends a run only once.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self._folder, self._study = folder, study
        self._mode = os.environ.get("WANDB_MODE") or ("online" if is_logged_in() else "offline")
        self._project = os.environ.get("WANDB_PROJECT", "metaseg")
        self.live = self._mode != "offline"
        self._ledger = Ledger(folder / "wandb" / "sent" / as_id(f"{self._mode}-{self._project}"))
        self._runs: dict[str, Any] = {}

    def begin(self, run: TrackedRun) -> Kept:
        """See `Tracker`: the ledger says which runs have ended, the server how far the others have come.

        What was logged isn't with the server if the process was killed before it was sent, or if somebody deleted it.
        """
        ended = self._ledger.kept(run).ended
        if ended or not self.live:
            return Kept(0, ended)
        record = self._open(run)
        last = record.summary.get(EPOCHS, record.summary.get("epoch", 0)) if record.resumed else 0
        return Kept(int(last))

    def log(self, run: TrackedRun, epochs: Mapping[int, Values]) -> None:
        """See `Tracker`."""
        for epoch, values in epochs.items():
            self._open(run).log({"epoch": epoch, **values})
        self._open(run).summary.update({EPOCHS: max(epochs)})

    def show(self, run: TrackedRun, epoch: int, pictures: Mapping[str, bytes]) -> None:
        """See `Tracker`."""
        from PIL import Image
        from wandb import Image as Picture

        shown = {f"samples/{name}": Picture(Image.open(io.BytesIO(png))) for name, png in pictures.items()}
        self._open(run).log({"epoch": epoch, **shown})

    def end(self, run: TrackedRun, ending: Ending, summary: Values) -> None:
        """See `Tracker`."""
        if run.run_id not in self._runs and ending != "finished":
            return  # offline, nothing is sent of a run before it is done
        record = self._open(run)
        record.summary.update({f"run/{name}": value for name, value in summary.items()} | {"ending": ending})
        record.finish(exit_code=0 if ending == "finished" else 1)
        del self._runs[run.run_id]
        if ending == "finished" or not self.live:
            self._ledger.note(run, Kept(0, True))

    def publish(self, files: Mapping[str, bytes]) -> None:
        """See `Tracker`: the report is an artefact of a record of the whole study."""
        import wandb

        name = f"report-{as_id(self._study)}"[:LONGEST_ID]
        if not self.live:  # each report is a record of its own, since a record is sent only once
            digest = hashlib.sha256(b"".join(files.values())).hexdigest()
            name = f"{name}-{digest[:8]}"
        report = TrackedRun(self._study, name, name, "", 0)
        if not self.live and self._ledger.kept(report).ended:
            return
        record = self._init(id=name, name=f"report of {self._study}", group=self._study, job_type="report")
        with tempfile.TemporaryDirectory(prefix="metaseg-wandb-") as folder:
            artefact = wandb.Artifact(name, type="report")
            for file, content in files.items():
                (Path(folder) / file).write_bytes(content)
                artefact.add_file(str(Path(folder) / file))
            record.log_artifact(artefact)
            record.finish()
        self._ledger.note(report, Kept(0, True))

    def close(self) -> None:
        """See `Tracker`."""
        for record in self._runs.values():
            record.finish(exit_code=1)
        self._runs.clear()

    def where(self) -> str:
        """See `Tracker`."""
        if self.live:
            return f"project {self._project} of Weights & Biases ({self._mode})"
        folder = self._folder / "wandb"
        return f"{folder}, offline; to send it: wandb login, then wandb sync {shlex.quote(str(folder))}/offline-run-*"

    def _open(self, run: TrackedRun) -> Any:
        if run.run_id not in self._runs:
            tags = (run.study, run.arm, f"seed {run.seed}", *([f"fold {run.fold}"] if run.fold else []))
            record = self._init(
                id=as_id(f"{run.run_id}-{run.study}"),
                name=run.label,
                group=f"{run.study}: {run.arm}",
                job_type="run",
                tags=[tag[:LONGEST_TAG] for tag in tags],
                config=run.params,
            )
            record.define_metric("epoch", hidden=True)
            record.define_metric("*", step_metric="epoch")
            self._runs[run.run_id] = record
        return self._runs[run.run_id]

    def _init(self, **about: Any) -> Any:
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        return wandb.init(
            project=self._project,
            dir=str(self._folder),
            mode=self._mode,
            resume="allow" if self.live else None,
            reinit="create_new",  # several runs at once
            settings=wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True),
            **about,
        )


def is_logged_in() -> bool:
    """Return True if W&B's key is in the environment or in the netrc file, as `wandb login` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def as_id(text: str) -> str:
    """An id that W&B takes, made of a name: letters, digits, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)[:LONGEST_ID]
