"""The words around the tables: what was compared, what the numbers are, and what they can't say."""

import pandas as pd

from analysis.collect import Collected
from analysis.scores import OVERALL
from analysis.significance import ALPHA


def describe(collected: Collected) -> list[str]:
    """Paragraphs before the tables: dataset, arms, runs, and above all which runs are missing."""
    study, missing = collected.study, collected.missing
    first = collected.images[collected.images["run_id"] == collected.images["run_id"].iloc[0]]
    images, groups, subgroups = (first[column].nunique() for column in ("image", "group", "subgroup"))
    grouped = f" in {groups} groups" if groups < images else ""
    spread = f", {subgroups} values of {collected.subgroup_column}" if subgroups > 1 else ""
    about = f"Dataset {study.dataset}: {images} test images{grouped}{spread}. "
    about += f"{len(study.runs) - len(missing)} of {len(study.runs)} runs are finished."
    arms = collected.images.drop_duplicates("arm").set_index("arm").reindex([*study.arms]).dropna(subset="block")
    listed = [
        f"{arm} (block {block}, metadata {mode}, {parameters:,.0f} parameters)"
        for arm, block, mode, parameters in zip(
            arms.index, arms["block"], arms["metadata_mode"], arms["parameters"], strict=True
        )
    ]
    paragraphs = [about, f"Arms: {'; '.join(listed)}."]
    if missing:
        paragraphs.insert(
            0,
            f"INCOMPLETE: {len(missing)} of {len(study.runs)} runs are missing: {', '.join(map(str, missing))}. "
            "All numbers are without them; start the study again to compute them.",
        )
    return paragraphs


def caption_scores(cells: pd.DataFrame, scores: pd.DataFrame, best: str, second: str) -> str:
    """What the table of scores shows, and the convention for empty masks; `best` and `second` say how ranks look."""
    few, many = cells["n_seeds"].min(), cells["n_seeds"].max()
    seeds = f"{few}" if few == many else f"{few} to {many}"
    spread = "± the SD of these means across seeds" if many > 1 else "one seed, so no spread is known"
    columns = (
        f"{OVERALL}: all test images; subgroups in alphabetical order. " if cells["subgroup"].nunique() > 1 else ""
    )
    return (
        "F1 = 2TP / (2TP + FP + FN) of each image. A cell is the mean over images, averaged over seeds "
        f"({seeds} an arm; {spread}). {columns}Best of a column {best}, second {second}; equal printed values share a "
        "rank. An image whose reference and prediction are both empty counts as F1 = 1: "
        f"{scores['empty'].sum()} of {len(scores)} scores here."
    )


def caption_tests(tests: pd.DataFrame, baseline: str) -> list[str]:
    """What the verdicts are, and which of them no data could have decided."""
    if tests.empty:
        return [f"No comparison: finished runs of {baseline} and of another arm are needed."]
    overall = tests["subgroup"] == OVERALL
    families = [f"the {overall.sum()} of row {OVERALL}", f"the {(~overall).sum()} of all other rows"]
    family = " and, separately, over ".join(families[: 1 + (~overall).any()])
    grouped = bool((tests["n_units"] < tests["n_images"]).any())
    unit = "groups" if grouped else "images"
    averaged = ", then within each group (its images aren't independent: the group is the unit)" if grouped else ""
    paragraphs = [
        f"Numbers are the difference of mean F1 from {baseline}, and p of a two-sided Wilcoxon signed-rank test of the "
        f"images' differences, averaged over seeds{averaged}. p is corrected for the number of comparisons by Holm's "
        f"method, over {family}. helps, hurts: corrected p < {ALPHA}. no evidence: not so, which isn't evidence of no "
        "effect.",
        "p-values are conditional on these seeds: they treat the trained networks as fixed and say how often chance in "
        "the choice of images alone would make them differ as much. They say nothing about new seeds. "
        + (
            f"one seed: p < {ALPHA}, but with one seed an arm any difference may be the seed's alone."
            if tests["p_seeds"].isna().any()
            else f"seed noise: p < {ALPHA}, but the runs of an arm differ so much among themselves that the difference "
            f"may be the seeds' alone (Welch's t test on the means of runs, p >= {ALPHA})."
        ),
    ]
    few = tests[tests["verdict"] == "too few"]
    if len(few):
        cell = few.groupby(["n_units", "p_smallest"])
        listed = [
            f"n={n} (smallest possible p {smallest:.2g}, corrected {part['p_holm_smallest'].min():.2g}): "
            f"{', '.join(part['subgroup'].astype(str).unique())}"
            for (n, smallest), part in cell
        ]
        paragraphs.append(
            f"too few: even had all n {unit} changed in one direction, and the other comparisons stayed as they are, "
            f"corrected p wouldn't be below {ALPHA}. "
            f"{'; '.join(listed)}."
        )
    if (tests["verdict"] == "mixed").any():
        paragraphs.append(f"mixed: p < {ALPHA}, but the {unit}' ranks point the other way than the mean over images.")
    return paragraphs
