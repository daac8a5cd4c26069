"""A run's id: a hash of everything that its numbers depend on."""

import hashlib
import json
from dataclasses import asdict

from metaseg.config import RunConfig
from metaseg.training import TRAINING_VERSION


def run_id(config: RunConfig) -> str:
    """Run id, 16 hex digits: a hash of the whole resolved configuration and the training code's declared version.

    The configuration holds the dataset's fingerprint. The machine and the number of workers aren't part of it.
    """
    settings = asdict(config)
    if config.fold is None:  # so that ids from before there were folds stay
        del settings["fold"]
    canonical = json.dumps({"config": settings, "training_version": TRAINING_VERSION}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
