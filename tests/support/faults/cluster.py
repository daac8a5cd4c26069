"""`python cluster.py NODES`: a Ray cluster of a head without CPUs and nodes of one CPU each, all on this machine.

Prints the head's address, then a line for each node: its id and its raylet's process. A node that ends is replaced.
Ends when its standard input does.
"""

import select
import sys
from typing import Any

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    print(cluster.address, flush=True)
    raylets: list[Any] = []
    while not select.select([sys.stdin], [], [], 0.2)[0]:
        raylets = [raylet for raylet in raylets if raylet.poll() is None]
        while len(raylets) < int(sys.argv[1]):
            node = cluster.add_node(num_cpus=1)
            raylets.append(node.all_processes["raylet"][0].process)
            print(node.node_id, raylets[-1].pid, flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
