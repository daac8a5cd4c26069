"""The words around the tables: what was compared, what the numbers are, and what they can't say."""

import pandas as pd

from analysis.collect import AS_TRAINED, Collected
from analysis.comparisons import ALPHA, FEWEST_UNITS, leading_class
from analysis.controls import ZEROED
from analysis.record import Study
from analysis.scores import MACRO, OVERALL
from analysis.words import FORMULAS, format_p, metric_name

CAPTION_FULL = (
    "df: degrees of freedom of the F test. equal: corrected p of the two one-sided tests that the difference is "
    "within ±{margin}. d: the difference over the standard deviation of a difference of two new runs on one new "
    "image. wins: chance that a new run of the arm beats one of the reference on a new image. detectable: the "
    "difference that so many seeds and images find four times in five, before correction. Where images are in "
    "groups, d and wins are of a group's mean."
)
CAPTION_INTERACTION = (
    "F: test that the arm's difference is the same for all values of {corner}, seeds and images being drawn anew; p is "
    "corrected by Holm's method over these arms. Values with fewer than {least} units are left out. "
    "spread: standard deviation of the true differences among them, sampling noise taken off. Below: each difference,"
    " drawn towards the mean by as much as it is noise (best linear unbiased prediction), ± its standard error."
)
CAPTION_ROBUSTNESS = (
    "bootstrap: 95 % interval, seeds and images resampled. runs exchanged: p of permuting runs between the two arms, "
    "given these images; with few seeds it can't be small (least). signs flipped: p of flipping the sign of each "
    "image's difference, given these networks. Each leaves one source of variance out; the F test takes both for "
    "random, so its p is usually above both."
)
CAPTION_POWER = (
    "From this study's variances, taken for known: the difference of mean {score} found four times in five at "
    "p < 0.05, before correction for several comparisons. The sentences ask for {margin}, the study's margin."
)


def describe(collected: Collected) -> list[str]:
    """Paragraphs before the tables: dataset, arms, runs, and above all which runs are missing."""
    study, missing = collected.study, collected.missing
    tested = collected.images[collected.images["evaluation"] == AS_TRAINED]
    images, groups, subgroups = (tested[column].nunique() for column in ("image", "group", "subgroup"))
    grouped = f" in {groups} groups" if groups < images else ""
    spread = f", {subgroups} values of {collected.subgroup_column}" if subgroups > 1 else ""
    about = f"Dataset {study.dataset}: {images} test images{grouped}{spread}. "
    about += f"{len(study.runs) - len(missing)} of {len(study.runs)} runs are finished."
    networks = tested.drop_duplicates(["arm", "part"])
    listed = []
    for arm in study.arms:
        own = networks[networks["arm"] == arm]
        if len(own):
            listed.append(arm if from_elsewhere(collected) else f"{arm} ({_network(own)})")
    paragraphs = [about, f"Arms: {'; '.join(listed)}."]
    if missing:
        paragraphs.insert(
            0,
            f"INCOMPLETE: {len(missing)} of {len(study.runs)} runs are missing: {', '.join(map(str, missing))}. "
            "All numbers are without them; start the study again to compute them.",
        )
    return paragraphs


def _network(rows: pd.DataFrame) -> str:
    first, parts = rows.iloc[0], [part for part in rows["part"] if part]
    each = f", one network each for {', '.join(parts)}" if parts else ""
    return f"block {first['block']}, metadata {first['metadata_mode']}, {first['parameters']:,.0f} parameters{each}"


def from_elsewhere(collected: Collected) -> bool:
    """Whether the rows come from tables that say nothing of the networks."""
    return not (collected.images["block"] != "").any()


def caption_scores(cells: pd.DataFrame, scores: pd.DataFrame, collected: Collected, best: str, second: str) -> str:
    """What the table of scores shows, and the conventions for empty masks and images that lack.

    `best` and `second` say how ranks look.
    """
    study = collected.study
    overall = "all test images" if study.average == "images" else "the unweighted mean of the subgroups' means"
    few, many = cells["n_seeds"].min(), cells["n_seeds"].max()
    seeds = f"{few}" if few == many else f"{few} to {many}"
    spread = "± the SD of these means across seeds" if many > 1 else "one seed, so no spread is known"
    columns = f"{OVERALL}: {overall}; subgroups in alphabetical order. " if cells["subgroup"].nunique() > 1 else ""
    shown = cells.groupby("class", observed=True)
    if any(len(part) < part["arm"].nunique() * part["subgroup"].nunique() for _, part in shown):
        columns += "A dash: no run of the arm covers all images of the column. "
    counted = "tp" in collected.images
    what = f"{FORMULAS[collected.metric] if counted else metric_name(collected.metric)} of each image"
    return (
        f"{what}. A cell is the mean over images, averaged over seeds "
        f"({seeds} an arm; {spread}). {columns}Best of a column {best}, second {second}; equal printed values share a "
        f"rank. {_partial(cells)}{_empty(scores, study) if counted else 'Scores are as they were given.'}"
    )


def _partial(cells: pd.DataFrame) -> str:
    """Says what runs lack and what stands there instead; nothing where nothing lacks."""
    most = int(cells.groupby(["class", "subgroup"], observed=True)["n_partial"].sum().max())
    if not most:
        return ""
    said = (
        f"{most} {'run lacks' if most == 1 else 'runs lack'} some images of a column (half at most); each missing "
        "score is estimated from other runs on the image, so that all means are over the same images. "
    )
    overall = cells[(cells["subgroup"] == OVERALL) & (cells["n_lacking"] > 0)]
    lacking = overall.groupby("arm", observed=True)[["n_lacking", "n_images"]].max()
    if len(lacking):
        arms = " and ".join(f"{arm} lacks {row.n_lacking} of {row.n_images} images" for arm, row in lacking.iterrows())
        said += (
            f"{arms} in all its runs: it is compared on the others, and its mean assumes the same difference from the "
            "other arms where it lacks them. "
        )
    return said


def _empty(scores: pd.DataFrame, study: Study) -> str:
    own = scores[scores["class"] != MACRO]
    if study.empty == "left out":
        return "Images whose reference lacks a class are left out of its scores."
    return (
        "An image whose reference and prediction are both empty counts as 1: "
        f"{own['empty'].sum()} of {len(own)} scores here."
    )


def caption_tests(tests: pd.DataFrame, study: Study, score: str) -> list[str]:
    """What the verdicts are; `score` is what scores are called."""
    if tests.empty:
        return [f"No comparison: finished runs of {study.baseline} and of another arm are needed."]
    unit = "groups of images" if (tests["n_units"] < tests["n_images"]).any() else "images"
    weighted = (
        f" In row {OVERALL} each subgroup counts the same."
        if study.average == "subgroups" and (tests["subgroup"] != OVERALL).any()
        else ""
    )
    classes = tests["class"].unique()
    of = f" of {leading_class(classes, study.endpoint)}" if len(classes) > 1 else ""
    paragraphs = [
        f"Numbers are differences of mean {score}, and p of an F test for which runs of other seeds and other "
        f"{unit} might have been drawn as well: it is about new images with new seeds. On row {OVERALL}, which is "
        f"what the study declares, p is corrected by Holm's method over all comparisons{of}; in all others, which are "
        f"exploration, by Benjamini's and Hochberg's.{weighted}",
        f"helps, hurts: corrected p < {ALPHA}. equal: shown to differ by less than {study.margin:g} (two one-sided "
        f"tests, corrected p < {ALPHA}). no evidence: neither, which isn't evidence of no effect.",
    ]
    if (tests["verdict"] == "one seed").any():
        paragraphs.append("one seed: an arm has one, so any difference may be the seed's alone. Nothing is tested.")
    few = tests[tests["verdict"] == "too few"]
    if len(few):
        names = ", ".join(few["subgroup"].astype(str).unique())
        uneven = " (those of unequal size count as fewer: n_effective in tests.csv)" if unit != "images" else ""
        paragraphs.append(
            f"too few: below {FEWEST_UNITS} {unit}{uneven} p-values aren't reliable and aren't shown: {names}."
        )
    return paragraphs


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
