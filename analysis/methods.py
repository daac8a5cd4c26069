"""The last sections of a report: how it was computed, what it can't say, and what it was made from."""

import numpy as np
import pandas as pd

from analysis.collect import Collected
from analysis.comparisons import ALPHA, FEWEST_UNITS
from analysis.grid import Cell, Grid
from analysis.record import read_json
from analysis.section import Section, to_csv
from analysis.words import FORMULAS, metric_name
from metaseg.storage import Storage

CITATIONS = (
    "Dorfman, Berbaum, Metz (1992), Investigative Radiology 27:723. Hillis (2007), Statistics in Medicine 26:596; "
    "(2014), 33:330. Holm (1979), Scandinavian Journal of Statistics 6:65. Benjamini, Hochberg (1995), Journal of "
    "the Royal Statistical Society B 57:289. Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics "
    "15:657. Owen (2007), Annals of Applied Statistics 1:386. Rao, Wu (1988), Journal of the American Statistical "
    "Association 83:231. Kenward, Roger (1997), Biometrics 53:983."
)


def methods_section(collected: Collected) -> Section:
    """A paragraph for a paper, with what it cites."""
    study = collected.study
    grouped = collected.images["group"].nunique() < collected.images["image"].nunique()
    unit = "groups of images that aren't independent (wells, patients, fields)" if grouped else "images"
    counted = "tp" in collected.images
    score = FORMULAS[collected.metric] if counted else metric_name(collected.metric)
    text = (
        f"Each arm was trained with {_seeds(collected)}. Networks were scored on the same test images by {score}. "
        "Arms were compared by a multi-reader multi-case analysis of variance: runs (seeds) are random readers, "
        f"nested in their arm, and {unit} are random cases, crossed with all runs; the split-plot "
        "Dorfman-Berbaum-Metz F test was used with Hillis' degrees of freedom, extended by a term for the cases; "
        "where runs lack units, a mixed model was fitted by restricted maximum likelihood. p-values of the "
        "declared comparisons were corrected by Holm's method, those of subgroups by Benjamini's and Hochberg's; "
        f"the level is {ALPHA}. Equivalence was tested by two one-sided tests with a margin of {study.margin:g}. "
        f"Intervals are 95 % intervals for new {'groups' if grouped else 'images'} and new seeds, not corrected. "
        "Whether differences differ among subgroups was tested by Wald's F with Kenward's and Roger's degrees of "
        "freedom. Intervals were checked by a bootstrap that resamples runs and test units, rescaled for small "
        "numbers."
    )
    return Section((), (text, CITATIONS), (), heading="Methods")


def _seeds(collected: Collected) -> str:
    counts = collected.images.groupby("arm", observed=True)["seed"].nunique()
    few, many = int(counts.min()), int(counts.max())
    return (f"{few} to {many}" if few < many else f"{few}") + (" seed" if many == 1 else " seeds")


def caveats_section(collected: Collected, tuned: bool) -> Section:
    """What no test of these results can say.

    Args:
        collected: the results.
        tuned: whether each arm's settings were searched for.
    """
    study = collected.study
    settings = (
        "the settings that one search in each arm found: another search may find others."
        if tuned
        else "one setting of learning rate, size and length for all arms: an arm may gain by settings of its own."
    )
    words = [
        f"All is conditional on one split of one dataset, and on {settings}",
        "Test images are taken as a sample of those that matter. Where images belong together (wells, patients) and "
        "the table doesn't say so, p-values are too small.",
        f"The F test takes means of runs for normal. Calibration on simulated nulls: 4 to 6 % false positives at "
        f"p < 0.05 from three seeds an arm and 30 units on; more with two seeds, or down to {FEWEST_UNITS} units.",
        "no evidence isn't evidence of no effect: look at the interval, and at the difference that would have been "
        "found.",
    ]
    if "SIMULATED" in study.about:
        words.insert(0, "The images are simulated: this shows that the system finds what was put there, nothing else.")
    return Section((), tuple(words), (), heading="Caveats")


def provenance(storage: Storage, collected: Collected) -> pd.DataFrame:
    """Where each finished run came from: run_id, arm, seed, commit, versions, device, seconds and training_version."""
    missing = {run.run_id for run in collected.missing}
    rows = []
    for run in collected.study.runs:
        path = f"runs/{run.run_id}/config.json"
        content = storage.read_or_none(path) if run.run_id not in missing else None
        if content is None:
            continue
        config = read_json(content, storage.locate(path))
        versions = config.get("versions") or {}
        rows.append(
            {
                "run_id": run.run_id,
                "arm": f"{run.arm} {run.part}".strip(),
                "seed": run.seed,
                "commit": str(config.get("git_commit") or "")[:12],
                "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
                "device": str((config.get("hardware") or {}).get("device", "")),
                "seconds": config.get("seconds"),
                "training_version": config.get("training_version"),
            }
        )
    return pd.DataFrame(rows)


def provenance_section(runs: pd.DataFrame, collected: Collected) -> Section:
    """What can be the same for all runs in words, and the runs themselves as a table."""
    words = [f"Command: {collected.study.command}"]
    if runs.empty:
        return Section((_listed(collected),), tuple(words), (), False, heading="Provenance")
    for column in ("commit", "versions", "device", "training_version"):
        values = ", ".join(sorted(set(runs[column].dropna().astype(str)) - {""}))
        words.append(f"{column.replace('_', ' ').capitalize()}: {values or 'unknown'}.")
    table = Grid(
        "Runs",
        "run id",
        ("arm", "seed", "seconds"),
        tuple(
            (row["run_id"], (Cell(row["arm"]), Cell(str(row["seed"])), Cell(_whole(row["seconds"]))))
            for _, row in runs.iterrows()
        ),
    )
    return Section((table,), tuple(words), (), False, {"runs.csv": to_csv(runs)}, heading="Provenance")


def _listed(collected: Collected) -> Grid:
    """Finished runs, of which no more is known than what the study declared."""
    runs = [run for run in collected.study.runs if run not in collected.missing]
    rows = ((run.run_id, (Cell(f"{run.arm} {run.part}".strip()), Cell(str(run.seed)))) for run in runs)
    return Grid("Runs", "run id", ("arm", "seed"), tuple(rows))


def _whole(seconds: object) -> str:
    known = isinstance(seconds, int | float | np.number) and np.isfinite(seconds)
    return f"{seconds:.0f}" if known else "-"
