"""A run's id: a hash of everything that its numbers depend on."""

import hashlib
import json

from metaseg.config import RunConfig
from metaseg.training import TRAINING_VERSION


def run_id(config: RunConfig) -> str:
    """Run id, 16 hex digits: a hash of the whole resolved configuration and the training code's declared version.

    The configuration holds the dataset's fingerprint. The machine and the number of workers aren't part of it.
    """
    canonical = json.dumps({"config": config.resolved(), "training_version": TRAINING_VERSION}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
