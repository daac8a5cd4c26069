"""Names of trackers, as options take them. Cheap to import."""

from typing import Literal, get_args

TrackerName = Literal["tensorboard", "mlflow", "wandb", "trackio"]
TRACKERS: tuple[TrackerName, ...] = get_args(TrackerName)
