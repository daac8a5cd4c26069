"""A report's result in a few sentences, each of which follows from a row of its table."""

from collections.abc import Sequence

import pandas as pd

from analysis.comparisons import ALPHA, leading_class
from analysis.interaction import Interaction
from analysis.record import Study
from analysis.scores import OVERALL
from analysis.words import format_p, listed


def conclude(tests: pd.DataFrame, interactions: Sequence[Interaction], study: Study, subgroup_column: str) -> list[str]:
    """What the declared comparisons say, on the whole, of arms told nothing, and by subgroup.

    Args:
        tests: of `analysis.comparisons.compare`.
        interactions: of the class that is concluded on, by comparison; may be empty.
        study: the study.
        subgroup_column: what subgroups are.
    """
    tests = tests[
        (tests["class"] == leading_class(tests["class"].unique(), study.endpoint))
        & (tests["reference"] == study.baseline)
    ]
    overall = tests[tests["subgroup"] == OVERALL]
    told, untold = overall[overall["claim"] == "differs"], overall[overall["claim"] == "equal"]
    if overall.empty:
        return [f"Nothing is concluded: finished runs of {study.baseline} and of another arm are needed."]
    if (overall["verdict"] == "one seed").all():
        return ["Nothing is concluded: with one seed an arm, any difference may be the seed's alone."]
    sentences = [_of_told(told, study.baseline)] if len(told) else []
    if len(untold):
        sentences.append(_of_untold(untold, study))
    best = told[told["verdict"] == "helps"].sort_values("difference", ascending=False)
    if len(best):
        arm = best["arm"].iloc[0]
        own = tests[(tests["arm"] == arm) & (tests["subgroup"] != OVERALL)]
        if len(own):
            found = next((each for each in interactions if each.arm == arm), None)
            sentences.append(_by_subgroup(str(arm), own, found, subgroup_column))
    return sentences


def _of_told(rows: pd.DataFrame, baseline: str) -> str:
    order = rows.reindex(rows["difference"].abs().sort_values(ascending=False).index)
    first = order.iloc[0]
    data = f"{_seeds(first)}, {first['n_images']} images" + (
        f" in {first['n_units']} groups" if first["n_units"] < first["n_images"] else ""
    )
    found = order[order["verdict"].isin(["helps", "hurts"])]
    if found.empty:
        return (
            f"No arm is shown to differ from {baseline} on new images with new seeds ({data}). The largest "
            f"difference is that of {first['arm']}, {_numbers(first)}; {_detectable(first)}."
        )
    parts = [f"{row['arm']} {_numbers(row)}" for _, row in found.iterrows()]
    others = [str(arm) for arm in order.loc[~order.index.isin(found.index), "arm"]]
    rest = f" There is no such evidence for {listed(others)}." if others else ""
    return f"Against {baseline}, on new images with new seeds ({data}): {'; '.join(parts)}.{rest}"


def _seeds(row: pd.Series) -> str:
    ours, theirs = row["n_seeds"], row["n_seeds_reference"]
    return f"{ours} seeds an arm" if ours == theirs else f"{ours} seeds against {theirs}"


def _numbers(row: pd.Series) -> str:
    if pd.isna(row["ci_low"]):
        return f"{row['difference']:+z.3f}"
    interval = f"{row['ci_low']:+z.3f} to {row['ci_high']:+z.3f}"
    return f"{row['difference']:+z.3f} (95 % interval {interval}, corrected {format_p(row['p_adjusted'])})"


def _detectable(row: pd.Series) -> str:
    if pd.isna(row["detectable"]):
        return "how large a difference would be found isn't known"
    return f"one of {row['detectable']:.3f} would be found four times in five"


def _of_untold(rows: pd.DataFrame, study: Study) -> str:
    said = []
    for verdict, words in (
        ("equal", f"{{}} {{is}} as good as equal to it, within ±{study.margin:g}"),
        ("helps", "{} {is} better"),
        ("hurts", "{} {is} worse"),
    ):
        arms = [str(arm) for arm in rows.loc[rows["verdict"] == verdict, "arm"]]
        if arms:
            said.append(words.format(listed(arms), **{"is": "is" if len(arms) == 1 else "are"}))
    open_ = [str(arm) for arm in rows.loc[~rows["verdict"].isin(["equal", "helps", "hurts"]), "arm"]]
    if open_:
        said.append(f"for {listed(open_)} neither a difference nor equality is shown")
    return f"Of arms that are told nothing, {'; '.join(said)}."


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
    text = f"By {subgroup_column}, {arm} {'; it '.join(parts)}."
    if found is not None and pd.notna(found.p):
        differs = (
            "the gain differs among them" if found.p < ALPHA else "it isn't shown that the gain differs among them"
        )
        text += f" On the whole, {differs} ({format_p(found.p)})."
    return text
