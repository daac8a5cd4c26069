"""The engine: fits a study's runs with Ray Train on whatever Ray has. The only package that imports ray."""

from metaseg.engine.scheduler import Outcome, run_study

__all__ = ["Outcome", "run_study"]
