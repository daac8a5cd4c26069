"""Fills the tables of `evidence.md`, and the one in README, from the studies' tables beside this file.

    python docs/evidence/make_evidence.py                 # after a change of evidence.md or studies.toml
    python docs/evidence/make_evidence.py --store STORE   # after studies were run: copies their tables first

`studies.toml` names the studies: the folder of a study's tables, its reports in a store, its command and the
comparisons that the page shows. Verdicts, differences and intervals come from the tables alone.
"""

import argparse
import re
import shutil
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
PAGE = HERE.parent / "evidence.md"
README = HERE.parents[1] / "README.md"
TABLES = (
    "table", "tests", "controls", "swapped", "labels", "looks", "distribution", "response", "humans", "rarity",
)  # fmt: skip
MARKED = re.compile(r"(<!-- (\w+)(?: ([^>]*?))? -->\n).*?(\n<!-- end -->)", re.S)
"""A table of the page: its maker, the maker's arguments, and what stood there."""

Row = dict[str, Any]


def studies() -> list[Row]:
    """The studies, in the order of the page."""
    listed: list[Row] = tomllib.loads((HERE / "studies.toml").read_text())["study"]
    return listed


def read(folder: str, table: str) -> pd.DataFrame:
    """A table of a study; values of text columns that are empty are empty text."""
    frame = pd.read_csv(HERE / folder / f"{table}.csv")
    text = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{name: frame[name].fillna("").astype(str) for name in text})


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """A table in Markdown; columns from `numbers_from` on are aligned to the right."""
    rule = ["---" if place < numbers_from else "---:" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def comparison(study: Row, row: Row) -> pd.Series:
    """The test that a row of the page shows."""
    tests = read(study["folder"], "tests")
    own = tests[(tests["arm"] == row["arm"]) & (tests["reference"] == row["reference"])]
    own = own[own["subgroup"] == row.get("subgroup", "Average")]
    own = own[own["class"] == row["class"]] if "class" in row else own
    if len(own) != 1:
        raise ValueError(f"{study['folder']}: {len(own)} tests fit {row}; expected 1")
    return own.iloc[0]


def interval(test: pd.Series) -> str:
    """Difference of F1 and the interval that the verdict rests on: corrected for several comparisons and looks."""
    return f"{test['difference']:+.3f} ({test['ci_low_adjusted']:+.3f} to {test['ci_high_adjusted']:+.3f})"


def summary() -> str:
    """Every claim and data set: a row for each comparison that the page rests on."""
    rows = []
    for study in studies():
        for row in study["row"]:
            test = comparison(study, row)
            groups = f" in {test['n_units']:g} groups" if test["n_units"] != test["n_images"] else ""
            rows.append(
                (
                    study["claim"],
                    f"[{study['data']}](#{study['section']})",
                    row["question"],
                    f"{test['n_images']:g}{groups}",
                    interval(test),
                    f"**{test['verdict']}**" if test["verdict"] in ("helps", "hurts") else test["verdict"],
                    f"{study['minutes']}",
                )
            )
    header = ("claim", "data", "comparison", "tested", "difference of F1 (95 % interval)", "verdict", "minutes")
    return markdown(header, rows, 4)


def brief() -> str:
    """The comparisons that README shows: those of `studies.toml` that say so."""
    rows = [
        (row["readme"], interval(test), f"**{test['verdict']}**" if test["verdict"] == "helps" else test["verdict"])
        for study in studies()
        for row in study["row"]
        if "readme" in row
        for test in [comparison(study, row)]
    ]
    return markdown(("real images", "difference of F1 (95 % interval, corrected)", "verdict"), rows, 1)


def scores(folder: str, *, name: str = "") -> str:
    """Mean F1 of each arm by subgroup, of one class where there are several."""
    cells = read(folder, "table")
    cells = cells[cells["class"] == name] if name else cells
    subgroups, arms = cells["subgroup"].unique(), cells["arm"].unique()
    mean = cells.set_index(["arm", "subgroup"])["mean"]
    count = cells.groupby("subgroup")["n_images"].max()
    header = ["F1", *(f"{'all' if group == 'Average' else group} ({count[group]})" for group in subgroups)]
    rows = [[f"`{arm}`", *(_number(mean.get((arm, group))) for group in subgroups)] for arm in arms]
    return markdown(header, rows)


def matrix(folder: str, arm: str, column: str) -> str:
    """Mean F1 of an arm by the true value of a column and the value that it is told."""
    swapped = read(folder, "swapped")
    swapped = swapped[(swapped["arm"] == arm) & (swapped["column"] == column)]
    values = sorted(swapped["true"].unique())
    given = [value for value in sorted(swapped["given"].unique()) if value in values]
    score = swapped.set_index(["true", "given"])["f1"]
    header = [f"`{arm}`, scored on", *(f"told {value}" for value in given)]
    return markdown(header, [[value, *(_number(score.get((value, told))) for told in given)] for value in values])


def rarity(folder: str) -> str:
    """F1 of a rare task by arm and number of masks, and the difference from one network a task."""
    curve = read(folder, "rarity")
    rows = []
    for count, own in curve.groupby("samples", sort=False):
        cells = [_number(value) for value in own["mean"]]
        tested = own.dropna(subset=["difference"]).set_index("arm").loc["sme"]
        difference = f"{tested['difference']:+.3f} ({tested['ci_low']:+.3f} to {tested['ci_high']:+.3f})"
        rows.append([str(count), *cells, difference])
    first = curve[curve["samples"] == curve["samples"].iloc[0]]
    reference = first.loc[first["difference"].isna(), "arm"].iloc[0]
    return markdown(("masks", *(f"`{arm}`" for arm in first["arm"]), f"`sme` minus `{reference}`"), rows, 0)


def humans(folder: str, *arms: str) -> str:
    """F1 of the networks of some arms and of the other humans, against each annotator."""
    found = read(folder, "humans")
    found = found[found["arm"].isin(arms)]
    rows = [
        [f"`{row['arm']}`", "all" if row["annotator"] == "Average" else row["annotator"], f"{row['n_images']}",
         _number(row["network"]), _number(row["human"]),
         f"{row['difference']:+.3f} ({row['ci_low']:+.3f} to {row['ci_high']:+.3f})", row["verdict"]]
        for _, row in found.iterrows()
    ]  # fmt: skip
    header = ("arm", "scored on", "masks", "network", "other human", "difference (95 % interval)", "verdict")
    return markdown(header, rows, 2)


def commands(folder: str) -> str:
    """The command that made a study's tables."""
    study = next(study for study in studies() if study["folder"] == folder)
    return f"```bash\n{study['command'].strip()}\n```"


def _number(value: float | None) -> str:
    return "" if value is None or pd.isna(value) else f"{value:.3f}"


MAKERS: dict[str, Callable[..., str]] = {
    "summary": summary,
    "brief": brief,
    "scores": scores,
    "class": lambda folder, name: scores(folder, name=name),
    "matrix": matrix,
    "rarity": rarity,
    "humans": humans,
    "command": commands,
}


def make_page(text: str) -> str:
    """The page with all of its tables made anew."""

    def made(found: re.Match[str]) -> str:
        arguments = (found[3] or "").split()
        return f"{found[1]}{MAKERS[found[2]](*arguments)}{found[4]}"

    return MARKED.sub(made, text)


def copy_tables(store: Path) -> None:
    """Copy the tables and named figures of each study that a store has a report of."""
    for study in studies():
        for report in study["reports"]:
            source, target = store / "reports" / report, HERE / study["folder"]
            if not source.is_dir():
                continue
            target.mkdir(exist_ok=True)
            files = [f"{name}.csv" for name in TABLES] + study.get("figures", [])
            for name in files:
                if (source / name).is_file():
                    shutil.copyfile(source / name, target / name)
            print(f"{report} -> {target}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="folder of a store in which studies were run")
    given = parser.parse_args()
    if given.store:
        copy_tables(given.store)
    for page in (PAGE, README):
        page.write_text(make_page(page.read_text()))
