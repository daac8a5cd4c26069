"""The engine: trains studies and sweeps on whatever resources Ray has. The only package that imports ray."""

from metaseg.engine.outcome import Outcome
from metaseg.engine.study import run_study

__all__ = ["Outcome", "run_study"]
