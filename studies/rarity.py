"""Rare tasks: does one gain from sharing a network with a common task, and from which rarity on?

Repeats the study of tasks (studies/anomalies.py) with fewer and fewer masks of the rare task for training, and tests on
all of them: one network a task (`baseline-stratified`), a network that is told the task (`sme`) and one that isn't
(`sme-dummy`). All networks take about as many steps, however few masks they see. Beside the reports of these studies
it draws F1 against the number of masks: `rarity.png`, with its numbers in `rarity.csv`.

    python studies/rarity.py                                                                  # simulated images
    python studies/rarity.py --manifest table.csv --task cytoplasm --counts 64 32 16 8 --folds 5 --seeds 2

A table has columns image, mask and task; an image with both masks has two rows. Counts are numbers of masks of the rare
task for training and validation together, in each fold.
"""

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from metaseg.cli.options import Preset, parse
from metaseg.cli.process import guarded, open_store
from metaseg.cli.study_page import launch, named, study_name, with_folds
from studies import anomalies
from studies.anomalies import BASELINE, Anomalies

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Rarity(Anomalies):
    """Options of the page."""

    arms: tuple[str, ...] = (BASELINE, "sme-dummy", "sme")
    equal_steps: bool = True

    task: str = "anomaly"
    """The rare task: a value of the column task."""

    counts: tuple[int, ...] = (32, 16, 8, 4)
    """Numbers of its masks for training and validation together, in each fold: a study for each."""

    def at(self, count: int) -> Anomalies:
        """Options of the study with `count` masks of the rare task."""
        shared = {field.name: getattr(self, field.name) for field in fields(Anomalies)}
        others = tuple(item for item in self.data.limit_training if item.rpartition("=")[0] != self.task)
        data = replace(self.data, limit_training=(*others, f"{self.task}={count}"))
        return Anomalies(**shared | {"data": data})


PRESETS: Mapping[Preset, Rarity] = {
    name: Rarity(
        **{field.name: getattr(options, field.name) for field in fields(Anomalies)}
        | {"arms": Rarity.arms, "equal_steps": True}
    )
    for name, options in anomalies.PRESETS.items()
}


def run(options: Rarity, console: "Console") -> int:
    """Train the studies, one after the other, and draw the curve; returns the exit code."""
    studies: dict[int, str] = {}
    for count, asked in {count: options.at(count) for count in options.counts}.items():  # all, before one trains
        if code := launch(anomalies.page, asked):
            return code
        studies[count] = study_name(anomalies.page(asked), asked)
    if options.dry_run:
        return 0
    # Only now: a wrong option doesn't have to wait for matplotlib's import.
    import pandas as pd

    from analysis.figures.rarity import draw_rarity, rarity_curve
    from analysis.figures.scores import Title
    from analysis.report.study import report_folder

    storage = open_store(options.storage).storage

    def table(study: str, name: str) -> pd.DataFrame:
        return pd.read_csv(io.BytesIO(storage.read(f"{report_folder(study, 'f1')}{name}.csv")))

    reports = {count: (table(study, "table"), table(study, "tests")) for count, study in studies.items()}
    curve = rarity_curve(reports, options.task, BASELINE)
    folder = report_folder(with_folds(named("rarity", options.manifest), options), "f1")
    title = Title(f"How rare may {options.task} be?")
    storage.write(f"{folder}rarity.csv", curve.to_csv(index=False).encode())
    storage.write(f"{folder}rarity.png", draw_rarity(curve, options.task, BASELINE, title))
    console.print(f"Curve: {storage.locate(f'{folder}rarity.png')}, numbers in rarity.csv beside it", soft_wrap=True)
    return 0


def main() -> int:
    """Run what the command line says; returns the process's exit code."""
    options = parse(PRESETS, __doc__)
    return guarded(lambda console: run(options, console))


if __name__ == "__main__":
    sys.exit(main())
