"""Where does this sweep's report come from?"""

from importlib.metadata import version

from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section
from analysis.report.sweep_data import SweepData
from analysis.sweeps.wording import options_line, range_of, short


def section(data: SweepData) -> Section | None:
    """The command, the space, and the trials that the report was made from."""
    sweep = data.sweep
    rows = []
    for name, kind in sweep.space.items():
        other = sweep.conditions.get(name)
        only = f"{other[0]} is {' or '.join(map(short, other[1]))}" if other else ""
        rows.append((name, (Cell(range_of(kind)), Cell(only))))
    table = Grid("The space as it is now", "setting", ("searched", "only where"), tuple(rows))
    fixed = options_line({k: v for k, v in {**sweep.network, **sweep.schedule}.items() if k not in sweep.space})
    words = (
        f"Command: {sweep.command}",
        f"Settings that weren't searched: {fixed}",
        f"Trials: {data.path}. Importances: Optuna {version('optuna')}.",
    )
    return Section("Provenance", (Part((table,), words, (), False),))
