"""Room: the number of workers that fit on the cluster's nodes, and the runs that may take it."""

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
    """The resources that a worker reserves."""

    cpus: float
    gpus: float

    @classmethod
    def of(cls, config: EngineConfig) -> "Worker":
        """The configured resources; by default with a GPU if the connected cluster has one now."""
        gpus = config.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        if not config.cpus_per_worker and not gpus:
            raise ConfigError("cpus_per_worker and gpus_per_worker are 0; expected a worker to reserve something")
        return cls(config.cpus_per_worker, gpus)

    def fit_on(self, resources: dict[str, float]) -> int:
        """Number of these workers that fit on a node with these resources."""
        asked = (("CPU", self.cpus), ("GPU", self.gpus))
        # Ray counts in ten-thousandths.
        return min(math.floor(resources.get(name, 0.0) / amount + 1e-4) for name, amount in asked if amount)

    def __str__(self) -> str:
        parts = [f"{amount:g} {name}" for amount, name in ((self.cpus, "CPU"), (self.gpus, "GPU")) if amount]
        return " and ".join(parts)


def count(worker: Worker) -> int:
    """Number of workers that fit on the cluster's living nodes if nothing else runs there."""
    nodes: list[dict[str, Any]] = ray.nodes()
    return sum(worker.fit_on(node["Resources"]) for node in nodes if node["Alive"])


def can_grow() -> bool:
    """Return True if the cluster has an autoscaler. Ray doesn't say; the files under cluster/ set a variable."""
    return bool(os.environ.get("METASEG_AUTOSCALER"))


def free_orphans() -> None:
    """Free the resources that dead controllers of Ray Train had reserved for their workers.

    Ray keeps these reserved as long as the driver lives, and Ray Train's own clean-up needs a dashboard.
    """
    job, form = ray.get_runtime_context().get_job_id(), vars(gcs_pb2)["PlacementGroupTableData"]
    for content in state._connect_and_get_accessor().get_placement_group_table():
        group = form.FromString(content)
        orphaned = group.creator_actor_dead and group.state != form.REMOVED
        if orphaned and group.creator_job_id.hex() == job:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))


def left_beside(total: int, workers: int) -> int:
    """Number of workers, out of `total`, that runs of `workers` each leave over; one-worker runs may use these.

    If one-worker runs got more, each freed core would go to the next of them, and a large run would wait for ever.
    """
    return total % workers if workers <= total else total
