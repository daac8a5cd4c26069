"""Room: how many workers the cluster's nodes hold, and which runs may take it."""

import math
import os
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import state
from ray.core.generated import gcs_pb2
from ray.util.placement_group import PlacementGroup, remove_placement_group

from metaseg.config import ConfigError, EngineConfig


@dataclass(frozen=True)
class Worker:
    """What a worker reserves."""

    cpus: float
    gpus: float

    @classmethod
    def of(cls, config: EngineConfig) -> "Worker":
        """As configured; a GPU by default, where the connected cluster has one now."""
        gpus = config.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        if not config.cpus_per_worker and not gpus:
            raise ConfigError("cpus_per_worker and gpus_per_worker are 0; expected a worker to reserve something")
        return cls(config.cpus_per_worker, gpus)

    def fit_on(self, resources: dict[str, float]) -> int:
        """How many of these workers a node with such resources holds."""
        asked = (("CPU", self.cpus), ("GPU", self.gpus))
        # Ray counts in ten-thousandths.
        return min(math.floor(resources.get(name, 0.0) / amount + 1e-4) for name, amount in asked if amount)

    def __str__(self) -> str:
        parts = [f"{amount:g} {name}" for amount, name in ((self.cpus, "CPU"), (self.gpus, "GPU")) if amount]
        return " and ".join(parts)


def count(worker: Worker) -> int:
    """How many workers the cluster's living nodes hold when nothing else runs on them."""
    nodes: list[dict[str, Any]] = ray.nodes()
    return sum(worker.fit_on(node["Resources"]) for node in nodes if node["Alive"])


def can_grow() -> bool:
    """Whether nodes come when they are asked for. Ray doesn't tell; the files under cluster/ do, by a variable."""
    return bool(os.environ.get("METASEG_AUTOSCALER"))


def free_orphans() -> None:
    """Give back what controllers of Ray Train had reserved for their workers when they died.

    Ray keeps it for as long as the driver lives, and Ray Train's own remedy needs a dashboard.
    """
    job, form = ray.get_runtime_context().get_job_id(), vars(gcs_pb2)["PlacementGroupTableData"]
    for content in state._connect_and_get_accessor().get_placement_group_table():
        group = form.FromString(content)
        orphaned = group.creator_actor_dead and group.state != form.REMOVED
        if orphaned and group.creator_job_id.hex() == job:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def left_beside(total: int, workers: int) -> int:
    """Workers that runs of `workers` each can never use, of `total`: what one-worker runs may have meanwhile.

    Were they given more, a freed core would go to the next small run each time, and a large one would wait for ever.
    """
    return total % workers if workers <= total else total
