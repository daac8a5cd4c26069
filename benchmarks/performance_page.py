"""Writes the tables and figures of `docs/performance.md` from the committed figures.

    python -m benchmarks.performance_page

A table stands between `<!-- NAME -->` and `<!-- end -->`; what is around it is written by hand.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS
from benchmarks.performance_figures import draw_growth, draw_throughput

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
FIGURES = PAGE.parent / "figures" / "performance"
Figures = dict[str, Any]


OTHER = "amd"
"""Word after a table's name, where it is of the second machine."""


def load() -> Figures:
    """Committed figures of CPUs: each part of `benchmarks.training`, those of a second machine, and `scale`."""
    names = ("training_cpu", "training_cpu_amd", "scale", "kept_memory")
    first, other, scale, kept = (json.loads((RESULTS / f"{name}.json").read_text()) for name in names)
    return {**first, OTHER: other, "scale": scale, "memory": kept}


def spread(value: dict[str, float] | None, digits: int = 2) -> str:
    """Median and quartiles, with so many significant digits."""
    if value is None:
        return ""
    median, low, high = (_number(value[key], digits) for key in ("median", "low", "high"))
    return median if low == high else f"{median} ({low} to {high})"


def _number(value: float, digits: int) -> str:
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{decimals}f}"


def ratio(value: dict[str, float] | None) -> str:
    """Median and quartiles, with two decimals."""
    return "" if value is None else "{median:.2f} ({low:.2f} to {high:.2f})".format(**value)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, the first column's text at the left and numbers at the right."""
    lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def throughput(figures: Figures) -> str:
    """Bare loops, ours and peers."""
    rows, network = [], figures["throughput"]["figures"][0]["parameters"]
    for row in figures["throughput"]["figures"]:
        if "not_measured" in row:
            rows.append((row["name"], f"not measured: {row['not_measured']}", "", "", "", ""))
            continue
        name = f"**{row['name']}**" if row["name"] == "ours" else row["name"]
        # Of another network than the bare loop's, a ratio to it would say nothing of the loop.
        limit = row.get("limit", "") if row["parameters"] == network else ""
        rows.append(
            (
                name, f"{row['parameters']:,}", spread(row["images_per_second"], 3),
                ratio(row["ratio"]) if limit else "", limit.removeprefix("bare "), ratio(row["ours_is_faster_by"]),
            )
        )  # fmt: skip
    columns = ("training", "parameters", "crops per second", "ratio to its bare loop", "bare loop", "ours is faster by")
    return table(columns, rows)


def evaluation(figures: Figures) -> str:
    """Bare forward passes and ours."""
    rows = [
        (row["name"], spread(row["images_per_second"], 3), ratio(row["ratio"]) if "limit" in row else "")
        for row in figures["evaluation"]["figures"]
    ]
    return table(("evaluation", "images per second", "ratio to the bare forward pass"), rows)


def blocks(figures: Figures) -> str:
    """The cost of each block."""
    rows = [
        (row["name"], f"{row['parameters']:,}", spread(row["images_per_second"], 3), ratio(row["ratio_to_none"]))
        for row in figures["blocks"]["figures"]
    ]
    return table(("block", "parameters", "crops per second", "ratio to `none`"), rows)


def operators(figures: Figures) -> str:
    """The share of each operator in the time of a step."""
    rows = [
        (f"{row['of']}: `{row['operator']}`", f"{100 * row['share']:.1f} %", f"{row['calls']:,}")
        for row in figures["profile"]["figures"]
        if row["share"] >= 0.01
    ]
    return table(("operator", "share", "calls"), rows)


def arithmetic(figures: Figures) -> str:
    """Bare loops of every number and memory format, and ours, for each network."""
    rows = []
    for row in figures["arithmetic"]["figures"]:
        name = f"**{row['name']}**, which chose {row['chosen']}" if "chosen" in row else row["name"]
        rows.append((row["network"], name, spread(row["images_per_second"], 3), ratio(row["ratio"])))
    return table(("network", "loop", "crops per second", "ratio to the fastest loop"), rows)


def step(figures: Figures) -> str:
    """Parts of a step, the largest first."""
    rows = sorted(figures["step"]["figures"], key=lambda row: -row["share"]["median"])
    shown = []
    for row in rows:
        percent = {key: 100 * value for key, value in row["share"].items()}
        shown.append((row["part"], "{median:.1f} % ({low:.1f} to {high:.1f})".format(**percent)))
    return table(("part", "share of an epoch's training"), shown)


def memory(figures: Figures) -> str:
    """Steps with memory that is kept, and without."""
    rows = []
    for row in figures["memory"]["figures"]:
        usual, kept = row["usual"], row["kept"]
        rows.append(
            (
                f"width {row['width']}, depth {row['depth']}, {row['batch']} x {row['crop']}²", row["arithmetic"],
                spread({key: 1000 * value for key, value in usual["seconds"].items()}, 3),
                spread({key: 1000 * value for key, value in kept["seconds"].items()}, 3),
                f"{usual['seconds']['median'] / kept['seconds']['median']:.2f}",
                f"{usual['faults']['median']:,.0f}", f"{kept['faults']['median']:,.0f}",
                f"{usual['bytes'] / 1e9:.1f}", f"{kept['bytes'] / 1e9:.1f}",
            )
        )  # fmt: skip
    columns = (
        "network", "arithmetic", "usual, ms", "kept, ms", "faster by", "page faults, usual", "kept", "peak, usual, GB",
        "kept",
    )  # fmt: skip
    return table(columns, rows)


def time_to_f1(figures: Figures) -> str:
    """Seconds of training until the target is reached, each seed."""
    found: dict[str, list[Figures]] = {}
    for row in figures["time-to-f1"]["figures"]:
        found.setdefault(row["name"], []).append(row)
    rows = []
    for name, seeds in found.items():
        if "not_measured" in seeds[0]:
            rows.append((name, f"not measured: {seeds[0]['not_measured']}", "", ""))
            continue
        times = ["not reached" if row["seconds"] is None else f"{row['seconds']:.0f}" for row in seeds]
        lengths = ["-" if row["epochs"] is None else str(row["epochs"]) for row in seeds]
        last = [f"{list(row['f1_by_epochs'].values())[-1]:.3f}" for row in seeds]
        rows.append((name, ", ".join(times), ", ".join(lengths), ", ".join(last)))
    return table(("training", "seconds", "epochs", "F1 in the end"), rows)


def parallel(figures: Figures) -> str:
    """One worker and two."""
    found = figures["parallel"]["figures"]
    if "not_measured" in found:
        return f"Not measured: {found['not_measured']}"
    names = {
        "one": "one worker", "side by side": "two runs side by side, one worker each",
        "halves": "two runs side by side, batches of half the size",
        "strong": "two workers share a batch of 16", "weak": "two workers, a batch of 16 each",
    }  # fmt: skip
    rows = [
        (
            text, spread(found[name], 3), ratio(found.get(f"{name} of ideal")),
            ratio(found.get(f"{name} of side by side")),
        )
        for name, text in names.items()
        if name in found
    ]  # fmt: skip
    return table(("training", "crops per second", "ratio to twice one worker", "ratio to two runs side by side"), rows)


def accuracy(figures: Figures) -> str:
    """Final scores."""
    rows = []
    for row in figures["accuracy"]["figures"]:
        if "not_measured" in row:
            rows.append((row["name"], f"not measured: {row['not_measured']}", "", ""))
        else:
            scores = ", ".join(f"{score:.3f}" for score in row["f1_by_seed"])
            rows.append((row["name"], f"{row['f1']:.3f}", f"{row['sd']:.3f}", scores))
    return table(("training", "mean validation F1", "SD", "by seed"), rows)


CURVES = {
    "images": (
        "images",
        {"prepare": "prepare, s", "prepare_again": "again, s", "open": "open, s", "crop": "cut a crop, s"},
    ),
    "sides": ("side", {"crop": "cut a crop of 128², s", "evaluate": "evaluate one image, s"}),
    "runs": ("runs", {"plan": "plan, s", "commit_one": "commit one, s", "missing": "find what is missing, s"}),
    "rows": ("rows", {"collect_to_test": "from collecting to testing, s"}),
}


def growth(name: str) -> Callable[[Figures], str]:
    """A curve's table; its last row has the exponents."""

    def write(figures: Figures) -> str:
        found, (number, columns) = figures["scale"][name], CURVES[name]
        rows = [
            (f"{point[number]:,}", *(spread(point[each]) for each in columns), *_memory(point))
            for point in found["points"]
        ]
        exponents = (found["exponents"].get(each) for each in columns)
        rows.append(("*exponent*", *("" if each is None else f"*{each:.2f}*" for each in exponents)))
        return table((number, *columns.values(), *(["peak memory, GB"] if name == "rows" else [])), rows)

    return write


def _memory(point: Figures) -> list[str]:
    return [f"{point['peak_gb']:.1f}"] if "peak_gb" in point else []


def beginnings(figures: Figures) -> str:
    """The cost of starting up."""
    rows = [
        (row["what"], f"`{row['code']}`", spread(row["seconds"]), ", ".join(row.get("brings", [])))
        for row in figures["scale"]["beginnings"]
    ]
    return table(("start of", "command", "seconds", "also imports"), rows)


TABLES: dict[str, Callable[[Figures], str]] = {
    "throughput": throughput,
    "arithmetic": arithmetic,
    "step": step,
    "memory": memory,
    "time-to-f1": time_to_f1,
    "evaluation": evaluation,
    "blocks": blocks,
    "operators": operators,
    "parallel": parallel,
    "accuracy": accuracy,
    **{f"growth of {name}": growth(name) for name in CURVES},
    "beginnings": beginnings,
}
"""The function that writes each table."""


def written(page: str, figures: Figures) -> str:
    """The page with its tables as the figures have them; an unknown one is a `ValueError`."""

    def fill(found: re.Match[str]) -> str:
        name = found[1].removesuffix(f" {OTHER}")
        if name not in TABLES:
            raise ValueError(f"the page has a table {found[1]!r}; known: {', '.join(TABLES)}")
        return f"<!-- {found[1]} -->\n{TABLES[name](figures if name == found[1] else figures[OTHER])}\n<!-- end -->"

    return re.sub(r"<!-- (.+?) -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


def main() -> None:
    """Write the page and its figures."""
    figures = load()
    PAGE.write_text(written(PAGE.read_text(), figures))
    FIGURES.mkdir(exist_ok=True, parents=True)
    (FIGURES / "throughput.png").write_bytes(draw_throughput(figures["throughput"]))
    (FIGURES / "growth.png").write_bytes(draw_growth(figures["scale"]))
    print(f"Written: {PAGE}, {FIGURES}")


if __name__ == "__main__":
    main()
