"""TensorBoard: a folder of event files for each run, by study and arm."""

import shlex
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metaseg.schema import VAL_F1
from metaseg.store.names import as_name
from metaseg.tracking.tracker import Ending, Kept, TrackedRun, Values

HEADER = struct.Struct("<QI")
"""In front of an event in its file: its length and a checksum of that. Behind it are four bytes of checksum."""

MOST_BYTES = 64 << 20
"""Length of an event from which it is taken for damage."""

EVERY_EPOCH = ("train_loss", VAL_F1)
"""Tags of which each epoch has one; a trial that was pruned has the second only."""

ENDED = "_hparams_/session_end_info"
"""Tag by which TensorBoard knows that a run has ended; also the run's mark of a complete record."""


class TensorBoard:
    """`metaseg.tracking.tracker.Tracker` for TensorBoard, written by tensorboardX."""

    live = True

    def __init__(self, folder: Path, study: str) -> None:
        self._root, self._study = folder / "tensorboard", study
        self._writers: dict[Path, Any] = {}

    def begin(self, run: TrackedRun) -> Kept:
        """See `Tracker`: what the record holds is read from its event files."""
        epoch, ended = 0, False
        for event in _events(self._folder(run)):
            for value in event.summary.value:
                epoch = max(epoch, event.step) if value.tag in EVERY_EPOCH else epoch
                ended = ended or value.tag == ENDED
        return Kept(epoch, ended)

    def log(self, run: TrackedRun, epochs: Mapping[int, Values]) -> None:
        """See `Tracker`."""
        writer = self._writer(self._folder(run))
        if 1 in epochs:
            for summary in self._parameters(run)[:2]:
                writer.file_writer.add_summary(summary)
        for epoch, values in epochs.items():
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)

    def show(self, run: TrackedRun, epoch: int, pictures: Mapping[str, bytes]) -> None:
        """See `Tracker`."""
        writer = self._writer(self._folder(run))
        for name, png in pictures.items():
            writer.file_writer.add_summary(_picture(f"samples/{name}", png), epoch)

    def end(self, run: TrackedRun, ending: Ending, summary: Values) -> None:
        """See `Tracker`. A run that failed or was stopped has no end, since its record may go on."""
        folder = self._folder(run)
        if ending == "finished":
            writer, epoch = self._writer(folder), int(summary.get("best_epoch", 0))
            for name, value in summary.items():
                writer.add_scalar(f"run/{name}", value, epoch)
            writer.file_writer.add_summary(self._parameters(run)[2])
        if folder in self._writers:
            self._writers.pop(folder).close()

    def publish(self, files: Mapping[str, bytes]) -> None:
        """See `Tracker`: TensorBoard shows text and pictures; other files lie beside them."""
        folder = self._root / as_name(self._study) / "report"
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        writer = self._writer(folder)
        for name, content in files.items():
            if name.endswith(".png"):
                writer.file_writer.add_summary(_picture(f"report/{name}", content), 0)
            elif name.endswith(".md"):
                writer.add_text(f"report/{name}", content.decode("utf-8", "replace"), 0)
            else:
                (folder / as_name(name)).write_bytes(content)
        self._writers.pop(folder).close()

    def close(self) -> None:
        """See `Tracker`."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def where(self) -> str:
        """See `Tracker`."""
        folder = self._root / as_name(self._study)
        return f"{folder}; to see it: tensorboard --logdir {shlex.quote(str(folder))}"

    def _folder(self, run: TrackedRun) -> Path:
        name = f"{run.label.removeprefix(run.arm).strip()} {run.run_id[:8]}".replace(" ", "_")
        return self._root / as_name(run.study) / as_name(run.arm) / as_name(name)

    def _writer(self, folder: Path) -> Any:
        from tensorboardX import SummaryWriter

        if folder not in self._writers:
            # Else two files of one second would have one name, and the second would take the first's place.
            unique = f".{time.time_ns()}"
            self._writers[folder] = SummaryWriter(str(folder), flush_secs=10, filename_suffix=unique)
        return self._writers[folder]

    @staticmethod
    def _parameters(run: TrackedRun) -> tuple[Any, Any, Any]:
        """Summaries for TensorBoard's table of runs: which columns there are, a run's parameters, its end."""
        from tensorboardX.summary import hparams

        parameters: tuple[Any, Any, Any] = hparams(run.params, {"run/best_val_f1": 0.0, "val_f1": 0.0})
        return parameters


def _picture(tag: str, png: bytes) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=picture)])


def _events(folder: Path) -> Iterator[Any]:
    """Events of a folder's files, as far as each can be read: a process that was killed leaves half an event."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.out.tfevents.*")):
        with path.open("rb") as file:
            while len(head := file.read(HEADER.size)) == HEADER.size:
                length, _ = HEADER.unpack(head)
                if length > MOST_BYTES:
                    break
                content = file.read(length)
                if len(content) < length or len(file.read(4)) < 4:
                    break
                event = Event()
                try:
                    event.ParseFromString(content)
                except DecodeError:
                    break
                yield event
