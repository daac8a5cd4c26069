"""The words around the tables: what was compared, what the numbers are, and what they can't say."""

import pandas as pd

from analysis.probes.controls import ZEROED
from analysis.report.declared import from_elsewhere, names_of
from analysis.results.declaration import Study
from analysis.results.store_rows import Collected
from analysis.scores.image_scores import MACRO, OVERALL
from analysis.stats.comparisons import ALPHA, FEWEST_UNITS, leading_class
from analysis.wording import FORMULAS, Names, format_p

CAPTION_ROBUSTNESS = (
    "Each column answers a question of its own; none is the verdict's, and none can be taken "
    "in "
    "its place. bootstrap: how wide is the interval (95 %, not corrected) if scores aren't normal? Seeds and {units} "
    "are "
    "resampled. runs exchanged: could other seeds have made the difference on these {images}? p of permuting runs "
    "between the two arms; with few seeds it can't be below least. signs flipped: do these very networks differ on "
    "other {images}? p of flipping the sign of each of the {units}' differences. The last two each leave one source of "
    "variance out, seeds or {images}; the verdict's test takes both for random."
)
CAPTION_POWER = (
    "From the variances found here, taken for known: the difference of mean {score} found four times in five at "
    "p < 0.05, before correction for several comparisons. The sentences ask for {margin:g}, {whose}."
)


def caption_scores(cells: pd.DataFrame, scores: pd.DataFrame, collected: Collected, best: str, second: str) -> str:
    """What the table of scores shows, and the conventions for empty masks and images that lack.

    `best` and `second` say how ranks look.
    """
    study, names = collected.study, names_of(collected)
    overall = (
        f"all {names.tested}"
        if study.average == "images"
        else f"the unweighted mean of the means of each {names.subgroup}"
    )
    few, many = cells["n_seeds"].min(), cells["n_seeds"].max()
    seeds = f"{few}" if few == many else f"{few} to {many}"
    spread = "± the SD of these means across seeds" if many > 1 else "one seed, so no spread is known"
    columns = (
        f"{OVERALL}: {overall}; values of {names.subgroup} in alphabetical order. "
        if cells["subgroup"].nunique() > 1
        else ""
    )
    shown = cells.groupby("class", observed=True)
    if any(len(part) < part["arm"].nunique() * part["subgroup"].nunique() for _, part in shown):
        columns += f"A dash: no run of the arm covers all {names.images} of the column. "
    counted = "tp" in collected.images
    what = f"{score_formula(collected, names)} of each {names.image}"
    return (
        f"{what}. A cell is the mean over {names.images}, averaged over seeds "
        f"({seeds} an arm; {spread}). {columns}Best of a column {best}, second {second}; equal printed values share a "
        f"rank. {_partial(cells, names)}{_empty(scores, study, names) if counted else _given(collected)}"
    )


def score_formula(collected: Collected, names: Names) -> str:
    """What a score is, with its formula where it comes from counts of pixels."""
    if "tp" not in collected.images:
        return names.score
    formula = FORMULAS[collected.metric]
    return formula if "metric" not in collected.names else f"{names.score}, which is {formula},"


def _given(collected: Collected) -> str:
    return "Scores are as they were given." if from_elsewhere(collected) else "Scores are those of metaseg score."


def _partial(cells: pd.DataFrame, names: Names) -> str:
    """Says what runs lack and what stands there instead; nothing where nothing lacks."""
    most = int(cells.groupby(["class", "subgroup"], observed=True)["n_partial"].sum().max())
    if not most:
        return ""
    said = (
        f"{most} {'run lacks' if most == 1 else 'runs lack'} some {names.images} of a column (half at most); each "
        f"missing score is estimated from other runs on the {names.image}, so that all means are over the same "
        f"{names.images}. "
    )
    overall = cells[(cells["subgroup"] == OVERALL) & (cells["n_lacking"] > 0)]
    lacking = overall.groupby("arm", observed=True)[["n_lacking", "n_images"]].max()
    if len(lacking):
        arms = " and ".join(
            f"{arm} lacks {row.n_lacking} of {row.n_images} {names.images}" for arm, row in lacking.iterrows()
        )
        said += (
            f"{arms} in all its runs: it is compared on the others, and its mean assumes the same difference from the "
            "other arms where it lacks them. "
        )
    return said


def _empty(scores: pd.DataFrame, study: Study, names: Names) -> str:
    own = scores[scores["class"] != MACRO]
    if study.empty == "left out":
        return f"{names.images.capitalize()} whose reference lacks a class are left out of its scores."
    article = "An" if names.image[:1].lower() in "aeiou" else "A"
    return (
        f"{article} {names.image} whose reference and prediction are both empty counts as 1: "
        f"{own['empty'].sum()} of {len(own)} scores here."
    )


def caption_tests(tests: pd.DataFrame, study: Study, names: Names) -> list[str]:
    """What the verdicts are; each sentence only where what it is about is there."""
    if tests.empty:
        return [f"No comparison: finished runs of {study.baseline} and of another arm are needed."]
    unit = names.units
    paragraphs = []
    leading = leading_class(tests["class"].unique(), study.endpoint)
    first = (tests["subgroup"] == OVERALL) & (tests["class"] == leading)
    if tests["p_adjusted"].notna().any():
        paragraphs.append(
            f"Numbers are differences of mean {names.score}, and p of an F test for which runs of other seeds and "
            f"other "
            f"{unit} might have been drawn as well: it is about new {unit} with new seeds. "
            f"{_corrections(tests[first], tests[~first], leading, names)}"
        )
        equal = tests["p_equivalence_adjusted"].notna().any()
        paragraphs.append(
            f"helps, hurts: corrected p < {ALPHA}."
            + (
                f" equal: shown to differ by less than {study.margin:g}, {names.margin} (two one-sided tests, "
                f"corrected "
                f"p < {ALPHA})."
                if equal
                else ""
            )
            + " no evidence: neither, which isn't evidence of no effect."
        )
    else:
        paragraphs.append(f"Numbers are differences of mean {names.score}. Nothing is tested.")
    if study.average == "subgroups" and (tests["subgroup"] != OVERALL).any():
        paragraphs[0] += f" In row {OVERALL} each {names.subgroup} counts the same."
    if (tests["verdict"] == "one seed").any():
        paragraphs.append("one seed: an arm has one, so any difference may be the seed's alone. Nothing is tested.")
    few = tests[tests["verdict"] == "too few"]
    if len(few):
        of = ", ".join(few["subgroup"].astype(str).unique())
        uneven = " (those of unequal size count as fewer: n_effective in tests.csv)" if names.grouped else ""
        paragraphs.append(
            f"too few: below {FEWEST_UNITS} {unit}{uneven} p-values aren't reliable and aren't shown: {of}."
        )
    return paragraphs


def _corrections(first: pd.DataFrame, others: pd.DataFrame, leading: str, names: Names) -> str:
    """How p-values are corrected, and for how many."""
    count = int(first["p_adjusted"].notna().sum())
    row = f"row {OVERALL}" + (f" of class {leading}" if others["class"].nunique() > 1 else "")
    said = (
        f"On {row}, {names.compared}, p is corrected by Holm's method over all {count}."
        if count > 1
        else f"On {row}, {names.compared}, there is one test, so that its p needs no correction."
        if count
        else f"On {row}, {names.compared}, nothing is tested."
    )
    if others["p_adjusted"].notna().any():
        said += " In all others, which are exploration, p is corrected by Benjamini's and Hochberg's method."
    return said


def caption_full(tests: pd.DataFrame, study: Study, names: Names) -> str:
    """What the columns of the full table are."""
    adjusted = (
        " adjusted: the interval at the level of the corrected test: it excludes 0 where corrected p is below "
        f"{ALPHA}, and nowhere else."
        if "ci_low_adjusted" in tests
        else ""
    )
    return (
        f"95 % interval: for new {names.units} with new seeds, of this comparison alone.{adjusted} df: degrees of "
        f"freedom "
        "of the F test. equal: corrected p of the two one-sided tests that the difference is within "
        f"±{study.margin:g}, {names.margin}. d: the difference over the standard deviation of a difference of two new "
        f"runs on one new {names.image}. wins: chance that a new run of the arm beats one of the reference on a new "
        f"{names.image}. detectable: the difference that so many seeds and {names.images} find four times in five, "
        f"before "
        "correction." + (f" d and wins are of the mean of one of the {names.units}." if names.grouped else "")
    )


def caption_interaction(corner: str, comparisons: int, left_out: int, least: int, names: Names) -> str:
    """What the F test of arm x subgroup is, of so many comparisons and with so many subgroups left out."""
    return (
        f"F: test that the arm's difference is the same for all values of {corner}, seeds and {names.images} being "
        f"drawn "
        "anew"
        + ("; p is corrected by Holm's method over these arms. " if comparisons > 1 else ". ")
        + (f"{left_out} values with fewer than {least} {names.units} are left out. " if left_out else "")
        + "spread: standard deviation of the true differences among them, sampling noise taken off. Below: each "
        "difference, drawn towards the mean by as much as it is noise (best linear unbiased prediction), ± its "
        "standard "
        "error."
    )


def caption_controls(controls: pd.DataFrame, study: Study, macro: bool) -> str:
    """What the networks were told, and what the numbers are."""
    columns = [column for column in dict.fromkeys(controls["column"]) if column]
    told = ["zeros: metadata zeroed at test time."] if (controls["control"] == ZEROED).any() else []
    for column in columns:
        told.append(f"wrong {column}: told another value than the image's, the mean over all others.")
        told.append(f"worst {column}: the swap (true as told) of the lowest F1, on its images.")
    averaged = "" if study.average == "images" else ", by subgroups as in row Average but for the worst swap"
    return (
        f"The same weights, told something else at test time. Numbers are mean F1{' (macro)' if macro else ''} over "
        f"images and seeds{averaged}, and the difference from F1 as trained of the same images. {' '.join(told)}"
    )


def caption_swapped(matrices: pd.DataFrame) -> str:
    """The worst swap of each arm, below the heat map."""
    wrong = matrices[matrices["true"] != matrices["given"]]
    worst = wrong.loc[wrong.groupby(["column", "arm"], sort=False)["f1"].idxmin()]
    listed = [
        f"{arm}, {true} as {given}: {f1:.3f}"
        for arm, true, given, f1 in worst[["arm", "true", "given", "f1"]].itertuples(index=False, name=None)
    ]
    return f"F1 where networks are told each value (swapped.csv). Worst swaps: {'; '.join(listed)}."


def caption_response(told: pd.DataFrame) -> str:
    """What the curves are."""
    columns = ", ".join(told["column"].unique())
    return (
        f"How predictions follow {columns} as told, with the image held fixed (response.csv). Above: the predicted "
        "area of all images over their true area; thin lines are single images that hold the class. Below: F1 minus F1 "
        "told the truth, against how far the value told is from the truth."
    )


def caption_difficulty(found: pd.DataFrame, baseline: str) -> tuple[str, str]:
    """One line that says how much, and a paragraph that says what of."""
    listed = []
    for _, row in found.iterrows():
        categorical = row["kind"] == "categorical"
        share = max(row["corrected"], 0) if categorical else row["explained"]
        sign = "" if categorical else f", rank correlation {row['correlation']:+.2f}"
        known = f"{100 * share:.0f} % ({format_p(row['p'])}{sign})"
        listed.append(f"{row['column']} {known if pd.notna(row['explained']) else 'nothing: all scores are equal'}")
    line = (
        f"Difficulty: how much of the variance of {baseline}'s F1 metadata alone explains, without any network: "
        f"{'; '.join(listed)}."
    )
    words = (
        "F1 of images (macro over classes, mean over seeds), averaged within groups. explained: eta squared of a "
        "one-way analysis of variance, or Spearman's correlation squared; corrected: epsilon squared, which is 0 in "
        "the mean where the column says nothing (negative values are printed as 0 % above); p: of 9999 permutations. "
        "A column that explains much tells which images are hard, which isn't the same as helping to segment them."
    )
    return line, words
