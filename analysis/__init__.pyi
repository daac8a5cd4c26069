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
from .stats.mrmc import difference
from .stats.multiple_testing import benjamini_hochberg, holm
from .stats.power import detectable, power, power_table, seeds_needed, units_needed

__all__ = [
    "Collected",
    "Comparison",
    "ResultsError",
    "ScoreMatrix",
    "benjamini_hochberg",
    "build_forest",
    "build_paired",
    "collect",
    "compare",
    "detectable",
    "difference",
    "equivalence",
    "example_scores",
    "holm",
    "image_scores",
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
