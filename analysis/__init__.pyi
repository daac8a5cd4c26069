from .figures.forest import build_forest
from .figures.paired import build_paired
from .report.study import write_report
from .results.dataset import read_results
from .results.declaration import Comparison, ResultsError
from .results.merge import collect
from .results.store_rows import Collected
from .scores.example import example_scores
from .scores.image_scores import image_scores, summarise
from .scores.score_matrix import ScoreMatrix, score_matrices
from .stats.comparisons import compare
from .stats.effect_size import standardised, superiority
from .stats.equivalence import equivalence
from .stats.mrmc import Components, difference
from .stats.multiple_testing import benjamini_hochberg, holm
from .stats.planning import plan_designs
from .stats.power import detectable, equality_power, power, power_table
from .stats.sample_size import seeds_needed, units_needed

__all__ = [
    "Collected",
    "Comparison",
    "Components",
    "ResultsError",
    "ScoreMatrix",
    "benjamini_hochberg",
    "build_forest",
    "build_paired",
    "collect",
    "compare",
    "detectable",
    "difference",
    "equality_power",
    "equivalence",
    "example_scores",
    "holm",
    "image_scores",
    "plan_designs",
    "power",
    "power_table",
    "read_results",
    "score_matrices",
    "seeds_needed",
    "standardised",
    "summarise",
    "superiority",
    "units_needed",
    "write_report",
]
