"""The last sections of a report: how it was computed, what it can't say, and what it was made from."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pandas as pd

from analysis.report.caption import score_formula
from analysis.report.declared import from_elsewhere, names_of
from analysis.report.grid import Cell, Grid
from analysis.report.section import Section, to_csv
from analysis.results.declaration import Study, read_json
from analysis.results.store_rows import AS_TRAINED, Collected
from analysis.scores.image_scores import OVERALL
from analysis.stats.calibration import calibration_sentence
from analysis.stats.comparisons import ALPHA, leading_class
from analysis.stats.interaction import Interaction
from analysis.stats.robustness import DRAWS, PERMUTATIONS
from analysis.wording import Names, listed
from metaseg.store.storage import Storage

SOURCES = {
    "test": "Dorfman, Berbaum, Metz (1992), Investigative Radiology 27:723. Hillis (2007), Statistics in Medicine "
    "26:596; "
    "(2014), 33:330.",
    "holm": "Holm (1979), Scandinavian Journal of Statistics 6:65.",
    "exploration": "Benjamini, Hochberg (1995), Journal of the Royal Statistical Society B 57:289. Benjamini, "
    "Yekutieli "
    "(2005), Journal of the American Statistical Association 100:71.",
    "equivalence": "Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15:657.",
    "interaction": "Kenward, Roger (1997), Biometrics 53:983.",
    "bootstrap": "Rao, Wu (1988), Journal of the American Statistical Association 83:231. Weng (1989), Annals of "
    "Statistics 17:705. Hesterberg (2015), The American Statistician 69:371.",
    "bca": "Efron (1987), Journal of the American Statistical Association 82:171.",
    "permutation": "Phipson, Smyth (2010), Statistical Applications in Genetics and Molecular Biology 9:39.",
}
"""What each part of the methods cites."""


def methods_section(
    collected: Collected, tests: pd.DataFrame, interactions: Sequence[Interaction], robust: pd.DataFrame
) -> Section:
    """A paragraph for a paper on what was done here and nothing else, with what it cites.

    Args:
        collected: the results.
        tests: of `analysis.stats.comparisons.compare`.
        interactions: of `analysis.stats.interaction`, as far as they were tested.
        robust: of `analysis.stats.robustness.resample`.
    """
    study, names = collected.study, names_of(collected)
    trained = collected.images[collected.images["evaluation"] == AS_TRAINED]
    images, groups, subgroups = (trained[column].nunique() for column in ("image", "group", "subgroup"))
    where = f"{images} {names.tested}" + (f" in {groups} {names.groups}" if names.grouped else "")
    where += f" and {subgroups} values of {collected.subgroup_column}" if subgroups > 1 else ""
    arms = trained.drop_duplicates(["arm", "seed"]).groupby("arm", observed=True).size()
    counts = listed([f"{arm} ({arms[arm]})" for arm in study.arms if arm in arms.index])
    verb = "There were" if from_elsewhere(collected) else "We trained"
    text = [
        f"{verb} these arms, with the number of runs (seeds) of each: {counts}. All were scored on {where} by "
        f"{score_formula(collected, names)}."
    ]
    cited: list[str] = []
    known = tests[tests["p_adjusted"].notna()] if len(tests) else tests
    if len(known):
        said, cited = _tests(study, names, tests, known)
        text.append(said)
        if shown := [each for each in interactions if pd.notna(each.p)]:
            text.append(
                f"Whether differences differ among values of {collected.subgroup_column} was tested by Wald's F with "
                f"Kenward's and Roger's degrees of freedom for {len(shown)} comparison{'s' if len(shown) > 1 else ''}."
            )
            cited.append("interaction")
    else:
        text.append("Nothing was tested.")
    if len(robust) and robust["low"].notna().any():
        text.append(
            f"Intervals were checked by a bootstrap of {DRAWS} draws that reweights runs and {names.units}, each by "
            f"itself "
            f"and rescaled for small numbers, and by permutations of runs and of signs (all of them, or {PERMUTATIONS} "
            "at random where there are more)."
        )
        cited += ["bootstrap", "permutation"] + (["bca"] if (robust["method"] == "bca").any() else [])
    text.append(
        f"Computed with metaseg {_version('metaseg')}, NumPy {_version('numpy')} and SciPy {_version('scipy')}."
    )
    words = [" ".join(text)]
    if cited:
        words.append(" ".join(source for part, source in SOURCES.items() if part in cited))
    return Section((), tuple(words), (), heading="Methods")


def _tests(study: Study, names: Names, tests: pd.DataFrame, known: pd.DataFrame) -> tuple[str, list[str]]:
    """How arms were compared, and which `SOURCES` that needs."""
    leading = leading_class(tests["class"].unique(), study.endpoint)
    first = (known["subgroup"] == OVERALL) & (known["class"] == leading)
    pairs = listed([f"{row['arm']} with {row['reference']}" for _, row in known[first].iterrows()])
    cited = ["test", "equivalence"]
    text = (
        f"Arms were compared by a multi-reader multi-case analysis of variance: runs (seeds) are random readers, "
        f"nested "
        f"in their arm, and {names.units} are random cases, crossed with all runs; the split-plot "
        f"Dorfman-Berbaum-Metz F "
        "test was used with Hillis' degrees of freedom, extended by a term for the cases. For each comparison, the "
        "variance "
        f"among seeds and that of seed x case were pooled over its two arms. "
    )
    if (tests["n_common"] < tests["n_images"]).any() if "n_common" in tests else False:
        text += f"{names.images.capitalize()} that all runs of an arm lack entered no variance. "
    if first.any():
        whose = "declared beforehand" if names.of_test else "declared with the report"
        whose = "not declared" if "comparisons" in names.undeclared else whose
        text += f"The comparisons on all {names.tested} were {pairs} ({whose})"
        text += (
            f", whose p-values were corrected by Holm's method for {int(first.sum())} tests" if first.sum() > 1 else ""
        )
        text += ". "
        cited += ["holm"] if first.sum() > 1 else []
    if (~first).any():
        text += (
            f"The other {int((~first).sum())} tests are exploration and were corrected by Benjamini's and Hochberg's. "
        )
        cited.append("exploration")
    text += (
        f"The level is {ALPHA}. Equivalence was tested by two one-sided tests with a margin of {study.margin:g} "
        f"({names.margin}). Intervals are for new {names.units} and new seeds; adjusted ones are at the level of the "
        "corrected test."
    )
    return text, cited


def _version(package: str) -> str:
    return version(package) if find_spec(package) else "?"


def caveats_section(collected: Collected, tests: pd.DataFrame, tuned: bool) -> Section:
    """What no test of these results can say.

    Args:
        collected: the results.
        tests: of `analysis.stats.comparisons.compare`.
        tuned: whether each arm's settings were searched for.
    """
    study, names = collected.study, names_of(collected)
    if from_elsewhere(collected):
        settings = "whatever settings and split they were made with, of which the table says nothing."
        words = [f"All is conditional on these scores, and on {settings}"]
    else:
        settings = (
            "the settings that one search in each arm found: another search may find others."
            if tuned
            else "the settings that the study gave its arms: an arm may gain by others of its own."
        )
        words = [f"All is conditional on one split of one dataset, and on {settings}"]
    words.append(
        f"{names.tested.capitalize()} are taken as a sample of those that matter. "
        + (
            ""
            if names.grouped
            else f"Where {names.images} belong together (wells, patients), and the table doesn't say so, "
        )
        + (
            f"Where {names.groups} themselves belong together (a slide, a site), and the table doesn't say so, "
            if names.grouped
            else ""
        )
        + "p-values are too small."
    )
    first = tests[
        (tests["class"] == leading_class(tests["class"].unique(), study.endpoint)) & (tests["subgroup"] == OVERALL)
    ]
    if first["p_adjusted"].notna().any():
        words.append("The F test takes means of runs for normal. " + _calibration(first[first["p_adjusted"].notna()]))
    if (tests["verdict"] == "no evidence").any():
        words.append(
            "no evidence isn't evidence of no effect: look at the interval, and at the difference that would have been "
            "found."
        )
    if "SIMULATED" in study.about:
        words.insert(0, "The images are simulated: this shows that the system finds what was put there, nothing else.")
    return Section((), tuple(words), (), heading="Caveats")


def _calibration(tests: pd.DataFrame) -> str:
    """What is known of each comparison's design; once where that is the same for all."""
    said = {f"{row['arm']} against {row['reference']}": calibration_sentence(row) for _, row in tests.iterrows()}
    if len(set(said.values())) == 1:
        return next(iter(said.values()))
    same: dict[str, list[str]] = {}
    for pair, sentence in said.items():
        same.setdefault(sentence, []).append(pair)
    return " ".join(f"{listed(pairs)}: {sentence}" for sentence, pairs in same.items())


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
