"""Opening trackers by name, for one study or sweep of a store."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from metaseg.config import ConfigError
from metaseg.packages import Extra, install
from metaseg.store.folder import FolderStorage
from metaseg.store.runs import Store
from metaseg.tracking.mlflow import MLflow
from metaseg.tracking.names import TrackerName
from metaseg.tracking.tensorboard import TensorBoard
from metaseg.tracking.tracker import Tracker
from metaseg.tracking.trackio import Trackio
from metaseg.tracking.wandb import WandB

CLASSES: dict[TrackerName, type[TensorBoard] | type[MLflow] | type[WandB] | type[Trackio]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
    "trackio": Trackio,
}
"""Trackers by name."""

NEEDS: dict[TrackerName, tuple[str, Extra]] = {
    "tensorboard": ("tensorboardX", "tensorboard"),
    "mlflow": ("mlflow", "mlflow"),
    "wandb": ("wandb", "wandb"),
    "trackio": ("trackio", "trackio"),
}
"""The module that each tracker imports, and the extra that installs it."""


def require_trackers(names: Sequence[TrackerName]) -> None:
    """Raise a `ConfigError` if a tracker's package isn't installed, before anything is trained."""
    for name in names:
        module, extra = NEEDS[name]
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"tracker {name} needs the package {module}, which isn't installed: {install(extra)}")


def open_trackers(names: Sequence[TrackerName], store: Store, study: str) -> dict[TrackerName, Tracker]:
    """Trackers of a study, by name. Nothing is written or sent yet."""
    require_trackers(names)
    return {name: CLASSES[name](tracking_folder(store), study) for name in dict.fromkeys(names)}


def tracking_folder(store: Store) -> Path:
    """Folder of trackers without a server: in the store, or in the current folder if the store is a bucket."""
    inside = store.storage.root if isinstance(store.storage, FolderStorage) else Path.cwd()
    return inside / "tracking"
