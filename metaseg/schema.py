"""The contract between those who write a store and those who read it: files, columns, the words in cells, versions.

`metaseg` writes and `analysis` reads; both import these names, so that each stands once. docs/reference/store.md and
docs/reference/results.md explain what the files hold. Nothing is imported here that takes time.
"""

from typing import Literal, get_args

# --- Words in records and cells ---------------------------------------------------------------------------------------

Average = Literal["images", "subgroups"]
"""Overall score: the mean over all test images, or the unweighted mean of the subgroups' means."""

Empty = Literal["one", "left out"]
"""Score of an image whose reference mask lacks the class: `one` gives F1 = 1 if the prediction is empty too, else 0;
`left out` excludes the image."""

Claim = Literal["differs", "equal"]
"""Expected result of a comparison: the scores of two arms differ, or they differ by less than the margin."""

Seeds = Literal["nested", "crossed"]
"""Design of a study's seeds: `nested` in arms; or `crossed`, where runs of equal seed are one reader with both arms."""

ExtraScore = Literal["surface-dice", "hd95", "objects"]
EXTRA_SCORES: tuple[ExtraScore, ...] = get_args(ExtraScore)
"""Scores of a run's predictions that pixel counts can't give (`metaseg.scoring.masks`)."""

Direction = Literal["maximize", "minimize"]
"""Direction in which an objective improves."""

BASELINE = "baseline"
"""Arm that the others are compared with, unless a study declares another."""

MARGIN = 0.01
"""Equivalence margin of F1, unless a study declares another."""

ALPHA = 0.05
"""Significance level of all tests. An equivalence test is two one-sided tests, each at this level."""

LACKING = 0.5
"""A run that lacks a larger share of a cell's images is left out of the cell."""

OVERALL = "Average"
"""Subgroup of all test images, as tables call it: their mean, or the mean of the subgroups' means."""

MACRO = "macro"
"""Class of the mean over classes of an image's score, in tables of several classes."""

ALL = "all"
"""Subgroup of every image where nothing breaks results down."""

AS_TRAINED = "as-trained"
"""Evaluation in which an arm sees metadata as it did in training: arms are compared by it."""

ZEROS = "zeros"
"""Evaluation in which metadata are zeroed at test time. Others are `COLUMN=VALUE`: told VALUE for that column."""

UNKNOWN = "unknown"
"""Value of a categorical column that isn't known, where the column is declared so. Evaluation in which networks are
told that no column is known; `COLUMN=unknown`: that this one isn't."""

# --- Columns ----------------------------------------------------------------------------------------------------------

ROW = ["image", "subgroup", "class"]
"""Key of a score: an image has several subgroups where these are tasks, each with its own mask."""

KEY = [*ROW, "evaluation"]
"""Key of a run's rows in `IMAGES`."""

COUNTS = ["tp", "fp", "fn", "tn"]
"""Pixels, as integers."""

META = "meta_"
"""Prefix of the columns that hold an image's true metadata."""

OTHER = "other"
"""Column of a study's observers: the annotator whose mask is counted against the row's."""

SURFACE = ["surface_dice", "surface_tolerance"]
HD95 = "hd95"
OBJECTS = ["object_tp", "object_fp", "object_fn"]
"""Columns of a run's extra scores."""

VAL_F1 = "val_f1"
"""F1 on validation images: a column of `HISTORY`, and an objective that every sweep has."""

PARAM = "param_"
"""Prefix of the columns of `TRIALS` that hold the searched settings."""

# --- Files of a store -------------------------------------------------------------------------------------------------

DONE = "DONE"
"""Checksums of a run's files, written last: without it the run does not exist."""

CONFIG = "config.json"
HISTORY = "history.parquet"
IMAGES = "images.parquet"
WEIGHTS = "weights.safetensors"
"""A run's other files: settings, epochs, test images, weights."""

RESULTS = "results"
"""Folder of a store with the results dataset that is made of its runs."""

SWEEP = "sweep.json"
TRIALS = "trials.parquet"
"""A sweep's record and its table of trials."""

BUNDLE = "bundle.json"
"""First file of a bundle: what it holds, with checksums (`metaseg.store.bundle`)."""


def run_folder(run_id: str) -> str:
    """Folder of a run."""
    return f"runs/{run_id}"


def score_file(run_id: str) -> str:
    """File of a run's extra scores."""
    return f"scores/{run_id}.parquet"


def study_file(study: str) -> str:
    """File of a study's declaration."""
    return f"studies/{study}.json"


def looks_file(study: str) -> str:
    """File of the looks of a study that adds seeds until its comparisons are decided."""
    return f"looks/{study}.json"


def observers_file(study: str) -> str:
    """File of counts of a study's masks against those that others drew of the same images."""
    return f"observers/{study}.parquet"


def sweep_file(sweep: str, name: str) -> str:
    """One of a sweep's files: `SWEEP` or `TRIALS`."""
    return f"sweeps/{sweep}/{name}"


# --- Versions and metadata of Parquet files ---------------------------------------------------------------------------

RESULTS_VERSION = 1
"""Schema of the results dataset; a reader refuses others."""

BUNDLE_VERSION = 1
"""Layout of a bundle; a reader refuses others."""

SCORES_VERSION = 1
"""Extra scores: raised where the same masks would be scored otherwise. A reader refuses others."""

SCORES_SETTINGS = b"metaseg.scores"
"""Key of a score file's Parquet metadata: how the scores were made, as JSON."""
