from .outcome import Outcome
from .study import run_study

__all__ = ["Outcome", "run_study"]
