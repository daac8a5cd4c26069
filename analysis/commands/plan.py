"""`analysis plan`: from a pilot, or from standard deviations, to the designs that decide."""

import sys
from collections.abc import Sequence

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.commands.collect import warn
from analysis.commands.options import Plan
from analysis.commands.pilot import Found, pilot_of
from analysis.results.declaration import ResultsError
from analysis.stats.advice import Plan as Advice
from analysis.stats.advice import duration
from analysis.stats.mrmc import Components
from analysis.stats.planning import Cost, plan_designs
from metaseg.config import ConfigError
from metaseg.schema import MARGIN
from metaseg.store.storage import open_storage
from metaseg.terminal import Terminal, visible

TESTED = 0.2
"""Share of the images that a split tests, where nothing else is said."""


def plan_command(options: Plan) -> int:
    """Print the designs and what they find; the exit status is 1 where the pilot can't be used."""
    try:
        found = stated(options) if options.where is None else pilot_of(open_storage(options.where), options, warn)
        table = table_of(found, options)
        if options.out:
            table.to_csv(options.out, index=False)
    except (ConfigError, OSError, ResultsError, ValueError) as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 1
    _print(found, options, table)
    return 0


def stated(options: Plan) -> Found:
    """Standard deviations that the options state, in place of a pilot."""
    sds = (*options.seed_sd, *options.seed_sd)[:2]
    arm_image, residual = options.arm_image_sd or 0.0, options.residual_sd or 0.0
    pair = (
        Components(sds[0] ** 2, 0.0, arm_image**2, residual**2),
        Components(sds[1] ** 2, 0.0, arm_image**2, residual**2),
    )
    tested = options.tested or max(round(TESTED * (options.images or 0)), 2)
    share = tested / options.images if options.images else TESTED
    cost = Cost(60 * options.minutes, share, device="") if options.minutes else None
    return Found(
        Advice(pair, tested, options.images, options.folds, options.arms or 2, cost),
        options.margin or MARGIN,
        ("From the standard deviations that were given.",),
    )


def table_of(found: Found, options: Plan) -> pd.DataFrame:
    """The designs (`analysis.stats.planning.plan_designs`)."""
    plan = found.plan
    return plan_designs(
        plan.components,
        options.difference or found.margin,
        plan.tested,
        plan.units,
        margin=found.margin,
        folds=plan.folds,
        seeds=options.seeds,
        arms=plan.arms,
        cost=plan.cost,
        crossed=plan.crossed,
    )


def _print(found: Found, options: Plan, table: pd.DataFrame) -> None:
    console, plan = Terminal(), found.plan
    effect = options.difference or found.margin
    for sentence in found.about:
        console.print(Text(sentence), soft_wrap=True)
    if len(table):
        console.print(_drawn(table, plan, effect, found.margin))
    for sentence in (*plan.on_finding(effect), *plan.on_equality(found.margin)):
        console.print(Text(sentence), soft_wrap=True)
    for sentence in _caveats(plan):
        console.print(Text(sentence, "dim"), soft_wrap=True)


def _drawn(table: pd.DataFrame, plan: Advice, effect: float, margin: float) -> Table:
    """A row a design."""
    headings = ["design", "seeds", "runs", plan.noun, f"finds {effect:.2g}", "detects", f"equal ±{margin:.2g}"]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in [*headings, *(["cost"] if plan.cost else [])]:
        drawn.add_column(heading, justify="left" if heading == "design" else "right")
    before = None
    for _, row in table.iterrows():
        folds = int(row["folds"])
        cells = [
            ("one split" if folds == 1 else f"{folds} folds") if folds != before else "",
            f"{row['seeds']:.0f}", f"{row['runs']:.0f}", f"{row['units']:.0f}", f"{100 * row['power']:.0f} %",
            f"{row['detectable']:.4f}", f"{100 * row['power_equal']:.0f} %",
        ]  # fmt: skip
        cells += [duration(row["hours"]).removeprefix("about ")] if plan.cost else []
        decides = row["power"] >= 0.8
        drawn.add_row(*cells, style="bold" if decides else "")
        before = folds
    return drawn


def _caveats(plan: Advice) -> Sequence[str]:
    """Assumptions behind the numbers."""
    cost = ""
    if plan.cost:
        device = plan.cost.device
        kind = {"": "time", "cpu": "CPU time"}.get(device, f"time on {device}")
        cost = f" cost: {kind} of all runs, one after the other, without evaluation and start-up."
    return (
        "finds: chance of p < 0.05. detects: the difference that is found with 80 %. equal: chance that equal arms are "
        "shown to differ by less than the margin. Before correction for several comparisons; seeds are an arm's, in "
        f"each fold.{cost}",
        "Standard deviations are taken for known, and for as large in folds as on one split. Variances over folds are "
        "widened, because folds share training images, as reports do.",
    )
