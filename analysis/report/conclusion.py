"""A report's result in a few sentences, each of which follows from a row of its table."""

from collections.abc import Sequence
from math import nan

import pandas as pd

from analysis.results.declaration import Study
from analysis.stats.comparisons import FEWEST_UNITS, UNTESTED, leading_class
from analysis.stats.interaction import Interaction
from analysis.wording import NAMES, Names, format_p, listed
from metaseg.schema import ALPHA, MACRO, OVERALL


def conclude(
    tests: pd.DataFrame,
    interactions: Sequence[Interaction],
    study: Study,
    subgroup_column: str,
    names: Names = NAMES,
    uncounted: Sequence[str] = (),
) -> list[str]:
    """Sentences on the declared comparisons: on all images, for arms without metadata, and by subgroup.

    Args:
        tests: of `analysis.stats.comparisons.compare`.
        interactions: of the class that is concluded on, by comparison; may be empty.
        study: the study.
        subgroup_column: name of the column of subgroups, e.g. "cell_line".
        names: what scores and images are called, and what wasn't declared.
        uncounted: arms with scores that don't count, as they lack too many images.
    """
    tests = tests[
        (tests["class"] == leading_class(tests["class"].unique(), study.endpoint))
        & (tests["reference"] == study.baseline)
    ]
    overall = tests[tests["subgroup"] == OVERALL]
    told, untold = overall[overall["claim"] == "differs"], overall[overall["claim"] == "equal"]
    if overall.empty:
        return [f"No conclusion: {needed(study, names, uncounted)}"]
    if (overall["verdict"] == "incomplete").all():
        return ["No conclusion: arms are compared once they have finished runs of a common fold."]
    if (overall["verdict"] == "no look").all():
        return ["No conclusion: the study is tested at its declared looks, and the first is still to come."]
    if (overall["verdict"] == "one seed").all():
        folds = f" and {overall['n_folds'].max()} folds" if overall["n_folds"].max() > 1 else ""
        return [f"No conclusion: with one seed{folds} in an arm, any difference may be due to that seed alone."]
    if overall["verdict"].isin(UNTESTED).all():
        most, effective = overall["n_units"].max(), overall["n_effective"].max()
        unit = names.several(most < overall["n_images"].max())
        worth = f", worth {effective:.2g} of equal weight," if effective < most else ""
        return [f"No conclusion: {most} {unit}{worth} are too few for a test, which needs {FEWEST_UNITS}."]
    sentences = [said] if len(told) and (said := _of_told(told, study, names)) else []
    if len(untold):
        sentences.append(_of_untold(untold, study, names))
    arm = _most_telling(tests[tests["arm"].isin(told["arm"])])
    own = tests[(tests["arm"] == arm) & (tests["subgroup"] != OVERALL) & tests["difference"].notna()]
    if len(own):
        found = next((each for each in interactions if each.arm == arm and each.reference == study.baseline), None)
        sentences.append(_by_subgroup(str(arm), own, found, subgroup_column))
    return sentences


def needed(study: Study, names: Names, uncounted: Sequence[str]) -> str:
    """Reason why nothing can be compared: runs are missing, or most of the images of arms that have some."""
    if uncounted:
        verb = "lacks" if len(uncounted) == 1 else "lack"
        return (
            f"{listed(list(uncounted))} {verb} more than half of the {names.images}, or all of a {names.subgroup}; "
            f"runs of {study.baseline} and of another arm that have the others are needed."
        )
    return f"finished runs of {study.baseline} and of another arm are needed."


def _most_telling(tests: pd.DataFrame) -> str | None:
    """The arm that gains most of those that help on the whole; else of those that help or hurt on a subgroup."""
    ordered = tests.sort_values("difference", ascending=False)
    for rows, verdicts in (
        (ordered[ordered["subgroup"] == OVERALL], ["helps"]),
        (ordered[ordered["subgroup"] != OVERALL], ["helps", "hurts"]),
    ):
        found = rows.loc[rows["verdict"].isin(verdicts), "arm"]
        if len(found):
            return str(found.iloc[0])
    return None


def _of_told(rows: pd.DataFrame, study: Study, names: Names) -> str:
    baseline = study.baseline
    untested = rows["verdict"].isin(UNTESTED)
    lack = "runs" if (rows["verdict"] == "incomplete").any() else f"seeds or {names.images}"
    rows, left = rows[~untested], [str(arm) for arm in rows.loc[untested, "arm"]]
    aside = f" Not tested, for lack of {lack}: {listed(left)}." if left else ""
    if rows.empty:
        return aside.strip()
    order = rows.reindex(rows["difference"].abs().sort_values(ascending=False).index)
    first = order.iloc[0]
    units = names.several(first["n_units"] < first["n_images"])
    data = f"{_seeds(order)}, {first['n_images']} {names.images}" + (
        f" in {first['n_units']} {names.groups}" if first["n_units"] < first["n_images"] else ""
    )
    data += f", class {first['class']}" if first["class"] in (MACRO, study.endpoint) else ""
    found = order[order["verdict"].isin(["helps", "hurts"])]
    if found.empty:
        return (
            f"No arm was shown to differ from {baseline} on new {units} with new seeds ({data}). The largest "
            f"difference is that of {first['arm']}, {_numbers(first)}; "
            f"{_detectable(first)}.{_equal(order, study, names)}{aside}"
        )
    parts = [f"{row['arm']} {_numbers(row)}" for _, row in found.iterrows()]
    others = [str(arm) for arm in order.loc[~order["verdict"].isin(["helps", "hurts", "equal"]), "arm"]]
    rest = _equal(order, study, names) + (f" There is no such evidence for {listed(others)}." if others else "")
    return f"Compared with {baseline}, on new {units} with new seeds ({data}): {'; '.join(parts)}.{rest}{aside}"


def _equal(rows: pd.DataFrame, study: Study, names: Names) -> str:
    arms = [str(arm) for arm in rows.loc[rows["verdict"] == "equal", "arm"]]
    verb = "is" if len(arms) == 1 else "are"
    return f" {listed(arms)} {verb} equivalent to {study.baseline}, {_within(study, names)}." if arms else ""


def _within(study: Study, names: Names) -> str:
    """The margin, and whose it is where it isn't the study's."""
    return f"within ±{study.margin:g}" + ("" if names.margin == NAMES.margin else f" ({names.margin})")


def _seeds(rows: pd.DataFrame) -> str:
    counts = rows[["n_seeds", "n_seeds_reference"]].to_numpy()
    few, many = counts.min(), counts.max()
    folds = int(rows["n_folds"].max())
    said = f"{few} {'seed' if many == 1 else 'seeds'} an arm" if few == many else f"{few} to {many} seeds an arm"
    return said + (f" in each of {folds} folds" if folds > 1 else "")


def _numbers(row: pd.Series) -> str:
    if pd.isna(row["p_adjusted"]):
        return f"{row['difference']:+z.3f}"
    interval = f"{row['ci_low']:+z.3f} to {row['ci_high']:+z.3f}"
    adjusted = f"{row.get('ci_low_adjusted', nan):+z.3f} to {row.get('ci_high_adjusted', nan):+z.3f}"
    also = f", adjusted {adjusted}" if "nan" not in adjusted and adjusted != interval else ""
    return f"{row['difference']:+z.3f} (95 % interval {interval}{also}, corrected {format_p(row['p_adjusted'])})"


def _detectable(row: pd.Series) -> str:
    if pd.isna(row["detectable"]):
        return "the detectable difference isn't known"
    return f"a difference of {row['detectable']:.3f} would be detected with 80 % power, before correction"


def _of_untold(rows: pd.DataFrame, study: Study, names: Names) -> str:
    said = []
    for verdict, words in (
        ("equal", f"equivalent to {study.baseline}, {_within(study, names)}"),
        ("helps", f"better than {study.baseline}"),
        ("hurts", f"worse than {study.baseline}"),
    ):
        arms = [str(arm) for arm in rows.loc[rows["verdict"] == verdict, "arm"]]
        if arms:
            said.append(f"{listed(arms)} {'is' if len(arms) == 1 else 'are'} {words}")
    open_ = [str(arm) for arm in rows.loc[~rows["verdict"].isin(["equal", "helps", "hurts"]), "arm"]]
    if open_:
        said.append(f"for {listed(open_)} neither a difference nor equivalence is shown")
    return f"Among the {names.equal}: {'; '.join(said)}."


def _by_subgroup(arm: str, rows: pd.DataFrame, found: Interaction | None, subgroup_column: str) -> str:
    by = {
        verdict: [f"{row['subgroup']} ({row['difference']:+z.3f})" for _, row in part.iterrows()]
        for verdict, part in rows.groupby("verdict", sort=False)
    }
    words = {"helps": "helps on", "hurts": "hurts on", "equal": "changes little on"}
    parts = [f"{words[verdict]} {listed(by[verdict])}" for verdict in words if verdict in by]
    rest = [name for verdict, names in by.items() if verdict not in words for name in names]
    if rest:
        parts.append(f"is undecided on {listed(rest)}")
    text = f"By {subgroup_column} (exploratory): {arm} {'; it '.join(parts)}."
    if found is not None and pd.notna(found.p):
        compared = [each.subgroup for each in found.differences]
        among = listed(compared) if compared and set(compared) < set(map(str, rows["subgroup"])) else "them"
        differs = "The gain differs" if found.p < ALPHA else "The gain isn't shown to differ"
        text += f" {differs} among {among} (corrected {format_p(found.p)})."
    return text
