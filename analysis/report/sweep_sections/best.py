"""Best settings: the best trial beside what was searched, and the trials that come next."""

import pandas as pd

from analysis.report.grid import Cell, Grid
from analysis.report.section import Part, Section, to_csv
from analysis.report.sweep_data import SweepData
from analysis.sweeps.trials import CURVES, SCORE, Sweep, best_trial, settings_of
from analysis.sweeps.wording import objective_name, options_line, range_of, short

TOP = 10


def section(data: SweepData) -> Section | None:
    """The best trial's settings beside what was searched, and as options; the best trials."""
    trials, sweep = data.trials, data.sweep
    best = best_trial(trials)
    files = {"trials.csv": to_csv(trials.drop(columns=list(CURVES)), digits=None)}
    if best is None:
        return Section("Best settings", (Part(files=files),))
    found = settings_of(best, sweep)
    base = {**sweep.network, **sweep.schedule}
    rows = tuple(
        (
            name,
            (
                Cell(short(found[name]) if name in found else "-", emphasis="best"),
                Cell(range_of(kind)),
                Cell(short(base[name]) if name in base else "-"),
            ),
        )
        for name, kind in sweep.space.items()
    )
    table = Grid("The best settings", "setting", ("best", "searched", "before"), rows)
    words = (
        "before: what the sweep's page would have used. As options of a page of studies/, other settings being those "
        f"of its preset: {options_line(found)}",
        f"All settings of the network and its schedule: {options_line(base | found)}",
    )
    return Section("Best settings", (Part((table, _top(trials, sweep)), words, words[:1], files=files),))


def _top(trials: pd.DataFrame, sweep: Sweep) -> Grid:
    """The trials with the highest validation F1, pruned ones apart."""
    known = trials[(trials["state"] == "complete") & trials["feasible"].astype(bool)]
    complete = len(known)
    known = known.sort_values([SCORE, "number"], ascending=[False, True]).head(TOP)
    others = [each.name for each in sweep.objectives if each.name != SCORE]
    rows = []
    for _, trial in known.iterrows():
        found = settings_of(trial, sweep)
        cells = [Cell(f"{trial[SCORE]:.4f}"), *(Cell(f"{trial[name]:,.6g}") for name in others)]
        cells += [Cell(short(found[name]) if name in found else "-") for name in sweep.space]
        cells += [Cell(f"{trial['epochs']}"), Cell(str(trial["run_id"]))]
        rows.append((f"{trial['number']}{' (reused)' if trial['reused'] else ''}", tuple(cells)))
    columns = (objective_name(SCORE), *map(objective_name, others), *sweep.space, "epochs trained", "run id")
    return Grid(f"The best of {complete} complete trial{'' if complete == 1 else 's'}", "trial", columns, tuple(rows))
