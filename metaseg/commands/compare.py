"""`metaseg compare`: two studies side by side."""

from collections.abc import Sequence
from typing import Annotated

import tyro

from metaseg.commands.arguments import StoreArgument
from metaseg.config import ConfigError
from metaseg.terminal import Terminal, visible

StudyArgument = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="STUDY")]


def compare(store: StoreArgument, first: StudyArgument, second: StudyArgument, other_store: str | None = None) -> None:
    """Show what two studies differ in, and the scores and verdicts of both side by side. Nothing is tested.

    metaseg compare STORE STUDY STUDY

    metaseg compare STORE STUDY STUDY --other-store STORE

    Args:
        store: Folder or bucket (s3://..., gs://...) of the runs, or a bundle.
        first: A study of this store.
        second: Another study of this store, or of --other-store.
        other_store: Store or bundle of the second study, if it isn't in the first store.
    """
    from analysis.results.declaration import ResultsError
    from metaseg.keeping import comparison
    from metaseg.store.runs import Store

    opened = Store.at(store)
    other = opened if other_store is None else Store.at(other_store)
    if (opened.where, first) == (other.where, second):
        raise ConfigError(f"study {first!r} is given twice; expected two studies")
    try:
        one, two = comparison.facts_of(opened, first), comparison.facts_of(other, second)
    except ResultsError as error:
        raise ConfigError(str(error)) from None
    console = Terminal()
    for letter, each in (("A", one), ("B", two)):
        line = f"{letter}: {each.study.name} in {each.where}, {each.done} of {len(each.study.runs)} runs finished"
        console.print(visible(line), soft_wrap=True)
    console.print("\n" + comparison.caution(one, two), soft_wrap=True)
    _table(console, "What differs", ("", "A", "B"), comparison.differences(one, two))
    console.print(f"{comparison.agreements(one, two)} settings are the same.")
    title = "Mean F1 of each arm ± SD between seeds, as in the reports"
    _table(console, title, ("arm", "A", "B", "B - A"), comparison.score_rows(one, two))
    verdicts = comparison.verdict_rows(one, two)
    title = "Verdicts of each study's last report: difference [95 % interval]"
    _table(console, title, ("comparison", "A", "B"), verdicts)
    for each in (each for each in (one, two) if each.verdicts.empty):
        told = "'s last report isn't of the runs that are finished now; `analysis report` writes it anew."
        said = told if each.outdated else " has no report; `analysis report` makes one."
        console.print(visible(f"{each.study.name}{said}"), soft_wrap=True)


def _table(console: Terminal, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns; those with long cells as a line for each cell."""
    from metaseg.keeping.run_table import aligned

    console.print(f"\n{title}", style="bold")
    shown = [[visible(cell) for cell in row] for row in rows]
    short = [row for row in shown if max(map(len, row[1:])) <= 48]
    for line in aligned([head, *short], [False] * len(head)) if short else []:
        console.print(line, soft_wrap=True)
    for row in (row for row in shown if row not in short):
        console.print(row[0])
        for name, cell in zip(head[1:], row[1:], strict=True):
            console.print(f"  {name}: {cell}", soft_wrap=True)
    if not rows:
        console.print("-")
