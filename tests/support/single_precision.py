"""Training in single precision on any CPU: for tests that compare more digits than bfloat16 has."""

import sys
from typing import Any
from unittest.mock import patch

import ray

from metaseg.study import execution

IN_SCRIPT = "import metaseg.device; metaseg.device.half_precision = lambda device: None\n"
"""Does it for a process that is started with a script."""


def in_single_precision() -> Any:
    """A context, or a decorator, in which this process computes so."""
    return patch("metaseg.device.half_precision", lambda device: None)


def execute(*arguments: Any) -> None:
    """Take the place of `metaseg.study.execution.execute` in the engine."""
    with in_single_precision():
        execution.execute(*arguments)


ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers don't find tests by name
